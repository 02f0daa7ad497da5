"""Gradescope: results in its schema, and an archive that it can build and run."""

import json
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from grader.errors import GraderError
from grader.gradebook import gradescope
from grader.gradebook.gradescope import HiddenChecks, build_autograder, format_result
from grader.model import FailedCell, Verdict, Visibility
from tests.harness import needs

from .classes import check, result

TEXT, NUMBER = {"type": "string"}, {"type": "number"}
SEEN = {"enum": ["visible", "hidden", "after_due_date", "after_published"]}
FORMAT = {"enum": ["text", "html", "simple_format", "md", "ansi"]}


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


BOTH = {"score": NUMBER, "output": TEXT, "output_format": FORMAT, "visibility": SEEN}
TAGS = {"type": "array", "items": TEXT}
TEST = closed(**BOTH, name=TEXT, max_score=NUMBER, status={"enum": ["passed", "failed"]}, tags=TAGS)
TIME = {"type": "integer", "minimum": 0}
WHOLE = {"extra_data": {"type": "object"}, "tests": {"type": "array", "items": TEST}}
SCHEMA = closed(**BOTH, **WHOLE, execution_time=TIME, stdout_visibility=SEEN)  # without what the grader never writes

PASSED, FAILED, BLOCKED, ERROR, NOT_JUDGED = Verdict
GRADED = result(
    check(PASSED, "one"),
    check(FAILED, "two", Visibility.HIDDEN, rationale="Expected 1\x1b[31m, got 2."),
    check(BLOCKED, "three"),
    check(NOT_JUDGED, "four"),
    cells=(FailedCell(index=2, error="ValueError", message="wrong\n\x1b[2J"),),
)
UNGRADED = result(check(PASSED, "one"), check(ERROR, "two"), points=None)


def valid(answer: dict[str, Any]) -> dict[str, Any]:
    jsonschema.validate(answer, SCHEMA)
    return answer


@pytest.mark.parametrize("hidden", HiddenChecks)
def test_a_graded_result(hidden: HiddenChecks) -> None:
    assert format_result(GRADED) == format_result(GRADED, HiddenChecks.AFTER_PUBLISHED)
    answer = valid(format_result(GRADED, hidden))
    assert (answer["score"], answer["execution_time"]) == (4.0, 13)
    assert [(t["name"], t["status"], t["score"], t["max_score"], t["visibility"]) for t in answer["tests"]] == [
        ("Title of one", "passed", 4.0, 4.0, "visible"),
        ("Title of two", "failed", 0.0, 4.0, str(hidden)),
        ("Title of three", "failed", 0.0, 4.0, "visible"),
    ]
    assert answer["stdout_visibility"] == "hidden"
    assert "Cell 3 ended with ValueError" in answer["output"]
    assert ("4 of 8 points" in answer["output"]) is (hidden is HiddenChecks.VISIBLE)  # the total tells hidden points
    assert "\x1b" not in json.dumps(answer, ensure_ascii=False)


# run_autograder, with a stand-in for `python -m grader grade`

STANDIN = """
import os, sys
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1]) / "a"
if os.environ.get("STANDIN_RESULT"):
    out.mkdir(parents=True)
    text = os.environ["STANDIN_RESULT"]
    if "better" in sys.argv[2]:
        text = text.replace('"points":4.0,"possible":8.0', '"points":6.0,"possible":8.0')
    (out / "result.json").write_text(text)
    (out / "arguments").write_text(" ".join(sys.argv))
print(os.environ.get("STANDIN_STDERR", ""), file=sys.stderr)
sys.exit(int(os.environ["STANDIN_CODE"]))
"""
NOTEBOOK, MADE = ["a.ipynb"], GRADED.model_dump_json()
SEEN_LATER = "Not all checks are shown"
RUNS = {  # what was handed in; the stand-in's exit code, result, sentence; exit code, score and words for the student
    "ended well": (NOTEBOOK, 0, MADE, "", 0, 4.0, SEEN_LATER),
    "ended badly": (NOTEBOOK, 1, MADE, "", 0, 4.0, SEEN_LATER),
    "refused": (NOTEBOOK, 1, "", "'a.ipynb' is a PDF.", 0, 0.0, "'a.ipynb' is a PDF."),
    "a fault of the grader": (NOTEBOOK, 2, "", "", 2, None, "no fault of yours"),
    "a fault of the grader after a result": (NOTEBOOK, 2, MADE, "", 2, None, "no fault of yours"),
    "no result": (NOTEBOOK, 0, "", "", 2, None, "no fault of yours"),
    "ungraded": (NOTEBOOK, 0, UNGRADED.model_dump_json(), "", 2, None, "no fault of yours"),
    "killed": (NOTEBOOK, 137, "", "", 2, None, "no fault of yours"),
    "nothing": ([], 2, "", "", 0, 0.0, "holds no notebook; hand in"),
    "no notebook": (["a.py"], 2, "", "", 0, 0.0, "'a.py' is a Python script; hand in"),
    "two": (["a.ipynb", "better.ipynb", "r.pdf"], 0, MADE, "", 0, 6.0, "the best one counts: 'better.ipynb'"),
    "two, a fault of the grader": (["a.ipynb", "b.ipynb"], 2, "", "", 2, None, "no fault of yours"),
}


@pytest.mark.parametrize("case", RUNS.values(), ids=RUNS)
def test_run(case: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, code, found, stderr, exit_code, score, words = case
    for path, text in (("root/grader/__init__.py", ""), ("root/grader/__main__.py", STANDIN)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "submission").mkdir()
    for name in names:
        (tmp_path / "submission" / name).write_text(f'{{"cells": [], "name": "{name}"}}')
    monkeypatch.setattr(gradescope, "ROOT", tmp_path / "root")
    for key, value in (("RESULT", found), ("STDERR", stderr), ("CODE", str(code))):
        monkeypatch.setenv(f"STANDIN_{key}", value)
    target = tmp_path / "results" / "results.json"
    assert gradescope.run("structure", "0", HiddenChecks.HIDDEN, 10, tmp_path / "submission", target) == exit_code
    answer = valid(json.loads(target.read_bytes()))
    assert (answer.get("score"), words in answer["output"]) == (score, True)
    assert ("tests" in answer) is bool(score)
    assert [test["visibility"] for test in answer.get("tests", [])] == ["visible", "hidden", "visible"] * bool(score)


@pytest.mark.parametrize(("timeout_min", "cells_s"), [(10, "485"), (20, "1085"), (3, "65")])
def test_a_notebook_is_stopped_before_gradescope_stops_the_run(
    timeout_min: int, cells_s: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(gradescope.time, "monotonic", lambda: 0.0)

    def give_up(command: list[str], timeout: float, **options: object) -> None:
        ran.append(command)
        assert timeout < 60 * timeout_min
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(gradescope.subprocess, "run", give_up)
    (tmp_path / "submission").mkdir()
    (tmp_path / "submission" / "a.ipynb").write_text('{"cells": []}')
    target = tmp_path / "results.json"
    assert gradescope.run("quick", "0", HiddenChecks.VISIBLE, timeout_min, tmp_path / "submission", target) == 2
    assert "score" not in json.loads(target.read_bytes())
    assert ran[0][ran[0].index("--run-limit") + 1] == cells_s


# The archive


@pytest.fixture
def project(tmp_path: Path) -> Path:
    needs.require_programs("git")
    root = tmp_path / "project"
    for name in ("Makefile", "grader/a.py", "tests/hidden/t.py", "tests/harness/t.py", "grader/__pycache__/a.pyc"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / ".gitignore").write_text("__pycache__/\n")
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=root, check=True, env=environ)
    return root


def test_the_archive_holds_what_grading_needs_and_scripts_of_shell(project: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "a.zip"
    with zipfile.ZipFile(build_autograder(target, hidden=HiddenChecks.HIDDEN, root=project)) as archive:
        names = {".gitignore", "Makefile", "grader/a.py", "tests/hidden/t.py", "setup.sh", "run_autograder"}
        assert set(archive.namelist()) == names
        modes = {info.filename: stat.S_IMODE(info.external_attr >> 16) for info in archive.infolist()}
        assert (modes["setup.sh"], modes["run_autograder"], modes["Makefile"]) == (0o755, 0o755, 0o644)
        assert archive.read("grader/a.py") == b"grader/a.py"
        assert "chmod -R go-rwx tests/hidden\n" in archive.read("setup.sh").decode()
        for name in ("setup.sh", "run_autograder"):
            subprocess.run(["bash", "-n"], input=archive.read(name), check=True)
        assert archive.read("run_autograder").rstrip().endswith(b"gradescope quick secret hidden 10")


def test_other_users_read_no_hidden_test_in_the_image(project: Path, tmp_path: Path) -> None:
    """Kernels run as one of them."""
    for name in ("train.csv", "eval.csv"):
        (tmp_path / name).write_text("review,label\n", encoding="utf-8")
    with zipfile.ZipFile(build_autograder(tmp_path / "a.zip", reviews=tmp_path, root=project)) as archive:
        archive.extractall(tmp_path / "source")
        (closing,) = [line for line in archive.read("setup.sh").decode().splitlines() if line.startswith("chmod")]
    subprocess.run(["bash", "-c", closing], cwd=tmp_path / "source", check=True)
    for name in ("tests/hidden", "tests/hidden/t.py", "data/imdb", "data/imdb/train.csv"):
        assert not (tmp_path / "source" / name).stat().st_mode & 0o077
    assert (tmp_path / "source" / "grader").stat().st_mode & 0o055


def test_equal_files_make_an_equal_archive(project: Path, tmp_path: Path) -> None:
    first = build_autograder(tmp_path / "a.zip", root=project).read_bytes()
    os.utime(project / "Makefile", (1e9, 1e9))
    assert build_autograder(tmp_path / "b.zip", root=project).read_bytes() == first


@pytest.mark.parametrize("names", [("train.csv", "eval.csv"), ("train.csv", "eval.csv", "heldout.csv")], ids=len)
def test_the_courses_reviews_can_be_packed_in(names: tuple[str, ...], project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reviews"
    folder.mkdir()
    for name in names:
        (folder / name).write_text("review,label\n", encoding="utf-8")
    with zipfile.ZipFile(build_autograder(tmp_path / "a.zip", reviews=folder, root=project)) as archive:
        assert {name for name in archive.namelist() if "imdb" in name} == {f"data/imdb/{name}" for name in names}


@pytest.mark.parametrize(
    ("target", "changes", "part"),
    [
        pytest.param("a.zip", {}, "'link' is not inside", id="a link that leads out"),
        pytest.param("a.zip", {"reviews": ""}, r"Cannot read .*train\.csv", id="no reviews"),
        pytest.param("file/a.zip", {}, r"Cannot write .*a\.zip", id="target"),
        pytest.param("a.zip", {"root": "nowhere"}, "is no git checkout", id="a folder without git"),
    ],
)
def test_impossible_archives(project: Path, tmp_path: Path, target: str, changes: dict[str, str], part: str) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    if "link" in part:
        (project / "link").symlink_to(tmp_path / "file")
        subprocess.run(["git", "add", "link"], cwd=project, check=True)
    with pytest.raises(GraderError, match=part):
        build_autograder(tmp_path / target, **{"root": project, **{key: tmp_path / at for key, at in changes.items()}})


def test_the_module_runs(tmp_path: Path) -> None:
    """As run_autograder calls it: the arguments are understood."""
    command = [sys.executable, "-m", "grader.gradebook.gradescope", "quick", "0", "never", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "'never' is not a valid HiddenChecks" in done.stderr
