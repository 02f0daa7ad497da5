"""Cells in a real shell: what they open, draw and define, and what the witness sees of it."""

import json
import subprocess
import sys
from typing import Any

import pytest

DOTDICT = """
class Config(dict):
    __getattr__ = dict.__getitem__
configuration = Config(rank=12)
"""
DEFINES = "def named_{}(): ..."
OPENED = "print(open('/content/drive/MyDrive/a4/train.csv').read())"
REVIEW = "a review,1"

CELLS = {  # run one after the other
    "opens": OPENED,
    "writes": "with open('/content/drive/MyDrive/out.txt', 'w') as file: file.write('x')",
    "after reset": f"%reset -f\n{OPENED}",
    "widget": "%matplotlib widget\nprint('below')",
    "unknown": "%matplotlib something\nprint('below')",
    "inline": "%matplotlib inline\nprint('below')",
    "dotdict": DOTDICT + DEFINES.format("beside_a_dotdict"),
    "no attributes": (
        "class Odd:\n    def __getattribute__(self, name): raise KeyError(name)\n"
        f"odd = Odd()\n{DEFINES.format('beside_odd')}"
    ),
    "yes to all": (
        "class Any:\n    def __getattr__(self, name): return self\n    def __eq__(self, other): raise TypeError\n"
        f"    def __bool__(self): raise ValueError\nanything = Any()\n{DEFINES.format('beside_anything')}"
    ),
    "a class's own": (
        "class Kind(type):\n    def __getattribute__(cls, name): raise KeyError(name)\n"
        f"class Mine(metaclass=Kind): ...\n{DEFINES.format('beside_mine')}"
    ),
    "demands a GPU": "import torch\nassert torch.cuda.is_available(), 'choose a GPU'\nprint('below')",
    "raises without a GPU": (
        "device = 'cuda' if torch.cuda.is_available() else 'cpu'\nassert device == 'cuda'\n"
        "if not torch.cuda.is_available():\n    print('no GPU')\n    raise RuntimeError\nprint('below')"
    ),
    "other demands": (
        "try:\n    assert 1 == 2\nexcept AssertionError:\n    print('kept')\n"
        "try:\n    if 1 < 2: raise ValueError\nexcept ValueError:\n    print('below')"
    ),
    "set-up as text": (
        "import subprocess\n"
        "print([subprocess.check_output(['nvidia-smi'], text=True), subprocess.check_output('wget x'),"
        " subprocess.run(['pip', 'install', 'x']).stdout, subprocess.run(['git'], capture_output=True).stderr])"
    ),
    "a program that is not here": "print(subprocess.run(['no-such-program']).returncode)",
    "a library's program": (
        "import matplotlib.font_manager as fonts, os\nfound, os.environ['PATH'] = os.environ['PATH'], '/nowhere'\n"
        "fonts._get_fontconfig_fonts.cache_clear()\nprint(fonts._get_fontconfig_fonts())\n"
        "os.environ['PATH'] = found"
    ),
    "a module of the notebook's": (
        "open('helper.py', 'w').write('import os, subprocess\\ndef go(): return subprocess.call([\"pip\", \"x\"])')\n"
        "import sys; sys.path.insert(0, '.'); import helper\nprint(helper.go(), os.system('apt install x'))"
    ),
    "an error": f"{DEFINES.format('before_an_error')}\n1 / 0",
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of each cell."""
    folder = tmp_path_factory.mktemp("cells")
    (folder / "train.csv").write_text(REVIEW, encoding="utf-8")
    command = [sys.executable, "-m", "tests.harness.kernel.cells_here", str(folder)]
    given = json.dumps(list(CELLS.values()))
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(CELLS, json.loads((folder / "ran.json").read_text(encoding="utf-8")), strict=True))


@pytest.mark.parametrize("name", [name for name in CELLS if name != "an error"])
def test_no_cell_fails(ran: dict[str, Any], name: str) -> None:
    assert ran[name]["error"] == ""


@pytest.mark.parametrize("name", ["opens", "after reset"])
def test_open_finds_data_files(ran: dict[str, Any], name: str) -> None:
    assert REVIEW in ran[name]["printed"]


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        pytest.param("set-up as text", "['', b'', None, b'']\n", id="output of the kind that was asked for"),
        pytest.param("a program that is not here", "0\n", id="a program that is not here"),
        pytest.param("a library's program", "[]\n", id="a library's own, which copes"),
        pytest.param("a module of the notebook's", "0 0\n", id="a module that the notebook wrote"),
    ],
)
def test_programs(ran: dict[str, Any], name: str, printed: str) -> None:
    """Programs that the notebook calls and this machine lacks are shown; what libraries call stays as it is."""
    assert ran[name]["printed"].endswith(printed)
    assert ("[grading] not run: " in ran[name]["printed"]) is (name != "a library's program")


GOES_ON = ["widget", "unknown", "inline", "demands a GPU", "raises without a GPU"]


def test_other_demands_stay(ran: dict[str, Any]) -> None:
    assert ran["other demands"]["printed"] == "kept\nbelow\n"


@pytest.mark.parametrize("name", GOES_ON)
def test_lines_below_what_is_not_here_are_run(ran: dict[str, Any], name: str) -> None:
    assert ran[name]["printed"].endswith("below\n")


NOTED = [
    pytest.param("dotdict", "named_beside_a_dotdict", id="attributes that are items"),
    pytest.param("no attributes", "named_beside_odd", id="attributes that are errors"),
    pytest.param("yes to all", "named_beside_anything", id="every attribute"),
    pytest.param("a class's own", "named_beside_mine", id="a class that is odd itself"),
    pytest.param("an error", "named_before_an_error", id="a cell that fails"),
]


@pytest.mark.parametrize(("cell", "definition"), NOTED)
def test_definitions_are_noted_beside(ran: dict[str, Any], cell: str, definition: str) -> None:
    assert definition in ran[cell]["noted"]
    assert not {"configuration", "odd", "anything"} & set(ran[cell]["noted"])


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_ends_for_the_witness(ran: dict[str, Any], name: str) -> None:
    assert ran[name]["ends"] == 1
