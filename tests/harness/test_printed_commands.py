"""Every command that a page or a message prints is one that this checkout has, with these options and variables.

Pages are read for blocks of code and for `inline code`; sources for inline code, which is how messages print commands.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest
from typer.main import get_command

from grader.cli.app import app
from grader.paths import ROOT
from tests.harness import needs

PAGES: Final = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("student_template/*.md")})
SOURCES: Final = sorted(
    path for folder in ("grader", "tests/public", "tests/proof") for path in (ROOT / folder).rglob("*.py")
)
MAKEFILE: Final = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS: Final = frozenset(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))

BLOCK: Final = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE: Final = re.compile(r"`([^`\n]+)`")
PROMPT: Final = re.compile(r"^\w*\$ +")
OUR_PYTHON: Final = r"(?:\S*\.venv[/\\]bin/python|\S*\.venv[/\\]Scripts[/\\]python|python3?)"
COMMAND: Final = re.compile(rf"(?:^|&& |\|\| |; )((?:make|\S*\./autograder|{OUR_PYTHON})(?: [^&|;]*)?)")
COMMENT: Final = re.compile(r"\s#.*")
NEEDED: Final = {
    "SUBMISSION": "x.ipynb",
    "NOTEBOOK": "x.ipynb",
    "SUBMISSIONS": "x.zip",
    "CLASS": "results/x",
    "COURSE": "1",
    "ASSIGNMENT": "2",
}
ANY_PYTHON: Final = ("venv", "tests.proof.fresh")  # what needs nothing that the environment holds
FETCHED: Final = ("jupyterlab",)  # only the kit has it


def list_commands(text: str) -> Iterator[tuple[str, bool]]:
    """Commands in lines or in inline code, and whether they are whole: a name in a sentence may lack its options."""
    blocks = "\n".join(BLOCK.findall(text)).replace("\\\n", "")
    for line in blocks.splitlines():
        yield from ((found.strip(), True) for found in COMMAND.findall(COMMENT.sub("", PROMPT.sub("", line))))
    for line in INLINE.findall(BLOCK.sub("", text)):
        yield from ((found.strip(), False) for found in COMMAND.findall(line))


def collect(paths: list[Path]) -> list[Any]:
    """A parameter for each command of these files, named after the first file that prints it."""
    found: dict[tuple[str, bool], str] = {}
    for path in paths:
        for command in list_commands(path.read_text(encoding="utf-8")):
            found.setdefault(command, f"{path.relative_to(ROOT).as_posix()}: {command[0]}")
    return [pytest.param(*command, id=name) for command, name in found.items()]


def find_fault(command: str, whole: bool) -> str:
    """What is wrong with a command; nothing where it is right."""
    words = [word for word in shlex.split(command.replace("\\", "/")) if word not in ("…", "...")]
    program, *arguments = words
    if not arguments:
        return ""
    if program == "make":
        return find_fault_of_make(tuple(arguments), whole)
    if program.endswith("./autograder"):
        return find_fault_of_autograder(arguments, whole)
    return find_fault_of_python(program, arguments)


@cache
def find_fault_of_make(arguments: tuple[str, ...], whole: bool) -> str:
    """Unknown targets and variables, and what `make -n` says."""
    variables = {name for name, equals, _ in (word.partition("=") for word in arguments) if equals}
    unknown = {word for word in arguments if "=" not in word} - TARGETS
    unknown |= {name for name in variables if not re.search(rf"\$[({{]*{name}\b", MAKEFILE)}
    if unknown:
        return f"the Makefile has no {', '.join(sorted(unknown))}"
    given = [] if whole else [f"{name}={value}" for name, value in NEEDED.items() if name not in variables]
    there = [re.sub(r"^NOTEBOOK=.+", "NOTEBOOK=README.md", word) for word in (*arguments, *given)]  # make looks for it
    command = ["make", "-n", "--no-print-directory", "SYSTEM=Linux", "MACHINE=x86_64", *there]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def find_fault_of_autograder(arguments: list[str], whole: bool) -> str:
    """What the command line says of a command, its options and their values; nothing is run."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    if arguments == ["--help"]:
        return ""
    name, *rest = arguments
    if name not in commands:
        return f"there is no command {name}"
    try:
        commands[name].make_context(name, rest, resilient_parsing=not whole)
    except Exception as error:
        return str(error)
    return ""


def find_fault_of_python(program: str, arguments: list[str]) -> str:
    """A module or file that is not there, or an interpreter that a fresh machine has not installed anything for."""
    if arguments[0] != "-m":
        return "" if (ROOT / arguments[0]).is_file() else f"there is no {arguments[0]}"
    module, *rest = arguments[1:]
    if ".venv" not in program and module not in ANY_PYTHON:
        return "this Python has nothing of ours: use ./autograder, make, or .venv/bin/python"
    if module == "grader":
        return find_fault_of_autograder(rest, whole=True)
    return "" if module in FETCHED or find_spec(module) else f"there is no module {module}"


@needs.programs("make")
@pytest.mark.parametrize(("command", "whole"), collect(PAGES))
def test_commands_of_pages(command: str, whole: bool) -> None:
    assert find_fault(command, whole) == ""


@needs.programs("make")
@pytest.mark.parametrize(
    ("command", "whole"), [p for p in collect(SOURCES) if str(p.values[0]).startswith(("make", "./autograder"))]
)
def test_commands_of_messages(command: str, whole: bool) -> None:
    assert find_fault(command, whole) == ""


@needs.programs("make")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        pytest.param("make hostil", "no hostil", id="target"),
        pytest.param("make grade SUBMISSION=x PROFIL=quick", "no PROFIL", id="variable"),
        pytest.param("make grade", "Say which notebook", id="what has to be given"),
        pytest.param("make upload CLASS=x COURSE=123", "Give both numbers", id="the assignment's address"),
        pytest.param("./autograder grde x.ipynb", "no command grde", id="command"),
        pytest.param("./autograder grade x.ipynb --profil quick", "--profil", id="option"),
        pytest.param("./autograder grade x.ipynb --profile quik", "quik", id="value"),
        pytest.param("./autograder grade", "submission", id="argument"),
        pytest.param("python -m grader doctor", "nothing of ours", id="any Python"),
        pytest.param(".venv/bin/python -m grader.nothing", "no module", id="module"),
        pytest.param(".venv/bin/python tests/nothing.py", "no tests/nothing.py", id="file"),
    ],
)
def test_wrong_commands_are_seen(command: str, words: str) -> None:
    assert words in find_fault(command, whole=True)


def test_commands_are_found_where_they_are_printed() -> None:
    block = "$ make a \\\n  B=1  # c\nout make\nnode1$  ./autograder b\n0 6 * * * cd d && make e\n"
    text = f"Run `make x`, not `x`.\n```console\n{block}```\n"
    found = [("make a   B=1", True), ("./autograder b", True), ("make e", True), ("make x", False)]
    assert list(list_commands(text)) == found
