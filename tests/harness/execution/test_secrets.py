"""A notebook sees nothing of the grader that is hidden from students."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from safetensors.torch import save_file

from grader import paths
from grader.assets.cache import locate_cache
from grader.assets.hub import Checkpoint
from grader.assets.reviews import ReviewData
from grader.errors import GraderError
from grader.execution.driver import Limits
from grader.execution.job import Setup
from grader.execution.run import execute
from grader.intake import read_submission
from grader.model import Profile, RunStatus
from grader.sandbox import Backend, Sandbox, SandboxPolicy, Warmup, select

CANARY = "wf7c2kq9"  # in everything that is hidden
LOOK = '''
import gc, json, os, sys
from pathlib import Path

def parts(thing):
    """List the content of a container; containers in it are objects of their own."""
    if type(thing) is dict:  # isinstance() would wake modules that are loaded when they are looked at
        return list(thing.values())
    return list(thing) if type(thing) in (list, tuple, set, frozenset) else []

canary = "wf7c2" + "kq9"
strings = (part for thing in gc.get_objects() for part in parts(thing) if type(part) is str)
in_memory = sorted({text[:200] for text in strings if canary in text and text is not canary})
files = [p for p in Path.cwd().rglob("*") if p.is_file()]
proc = Path("/proc/self")
print(json.dumps({
    "environ": dict(os.environ),
    "argv": sys.argv,
    "command": proc.joinpath("cmdline").read_bytes().decode() if proc.exists() else "",
    "path": sys.path,
    "modules": sorted(name for name in sys.modules if name.split(".")[0] in ("grader", "tests")),
    "files": sorted(str(p.relative_to(Path.cwd())) for p in files),
    "in_files": sorted(str(p) for p in files if canary.encode() in p.read_bytes()),
    "in_memory": in_memory,
}))
'''


@pytest.fixture
def hub() -> Iterator[Path]:
    """A folder that sandboxed kernels can be shown: readable by everyone, and not in /tmp: they have their own."""
    cache = locate_cache(paths.ROOT, os.environ)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        Path(name).chmod(0o755)
        yield Path(name).resolve()


def opened(backend: Backend | None, shown: Path) -> Sandbox:
    """The plain process, or the best sandbox of this machine."""
    try:
        return select(SandboxPolicy(wall_s=300, memory_mib=3_000, read_only=(shown,)), warmup=Warmup(), only=backend)
    except GraderError as error:
        pytest.skip(f"needs a sandbox: {error}".partition("\n")[0])


@pytest.mark.parametrize("backend", [None, Backend.NONE], ids=["best sandbox", "no sandbox"])
def test_nothing_hidden_is_in_sight(
    backend: Backend | None, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / f"data-{CANARY}"
    secret.mkdir()
    for name in ("train", "eval", "heldout"):
        hidden = CANARY if name == "heldout" else "public"
        (secret / f"{name}.csv").write_text(f"review,label\n{hidden} film,1\n", encoding="utf-8")
    monkeypatch.setenv("A4_DATA", str(secret))
    save_file({"distilbert.x.weight": torch.zeros(1)}, hub / "model.safetensors")
    (hub / "model.safetensors").chmod(0o644)
    notebook = tmp_path / "work.ipynb"
    notebook.write_text(json.dumps(new_notebook(cells=[new_code_cell(LOOK)])), encoding="utf-8")
    checkpoint = Checkpoint("none", hub / "model.safetensors", hub, "0")
    reviews = ReviewData("given", *(secret / f"{n}.csv" for n in ("train", "eval", "heldout")), False, "0")
    limits = Limits(cell_s=120, notebook_s=120)
    with opened(backend, hub) as sandbox:
        used = Setup(Profile.STRUCTURE, 0, checkpoint, reviews, hub, False, sandbox)
        record = execute(read_submission(notebook), used, tmp_path / "evidence", limits=limits)
    assert record.summary.status is RunStatus.OK, record.reason
    seen = json.loads(record.cells[0].output)
    assert CANARY not in json.dumps([seen[part] for part in ("environ", "argv", "command", "path")])
    assert "A4_DATA" not in seen["environ"]
    assert str(paths.ROOT) not in [os.path.realpath(folder) for folder in seen["path"] if folder]
    assert (seen["in_memory"], seen["in_files"]) == ([], [])
    assert {"train.csv", "eval.csv"} <= set(seen["files"])
    assert not [name for name in seen["files"] if "heldout" in name or "hidden" in name or "test_" in name]
    others = set(seen["modules"]) - {"grader", "grader.kernel", "grader.protocol", "grader.student"}
    assert [name for name in others if not name.startswith(("grader.kernel.", "grader.protocol."))] == []
