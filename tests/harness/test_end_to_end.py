"""One real grading, from the command to the files: the reference gets every point that profile `structure` judges."""

import json
import subprocess
from pathlib import Path

import pytest

from grader.paths import ROOT

JUDGED = 85.0  # accuracies are worth 15 points and not judged in this profile


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the terminal shows, and the folder of results."""
    folder = tmp_path_factory.mktemp("results")
    command = [ROOT / "autograder", "grade", "reference/solution.ipynb", "--profile", "structure", "--out", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, folder / "solution"


def test_the_reference_gets_every_point(graded: tuple[str, Path]) -> None:
    result = json.loads((graded[1] / "result.json").read_text(encoding="utf-8"))
    assert result["score"] == {"points": JUDGED, "possible": JUDGED, "status": "graded"}
    assert {check["verdict"] for check in result["checks"]} == {"passed", "not_judged"}


def test_the_terminal_says_so(graded: tuple[str, Path]) -> None:
    assert f"{JUDGED:g} of {JUDGED:g} points" in graded[0]


@pytest.mark.parametrize("name", ["result.json", "feedback.html", "staff.html", "evidence/run.json"])
def test_the_files_are_there(graded: tuple[str, Path], name: str) -> None:
    assert (graded[1] / name).stat().st_size > 0
