"""Exit codes and sentences: 1 for bad input, without a traceback, and 2 for a fault of the grader."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import pytest
from nbformat import v4

from grader import pipeline
from grader.cli import app
from grader.errors import GraderError, StopRequestError
from grader.execution import setup
from grader.judging.result import GradingResult
from grader.model import RunStatus, ScoreStatus, StaffDetails
from grader.paths import ROOT
from tests.harness import results

Main = Callable[..., tuple[int, str]]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Main:
    """Run the command line; its exit code and everything that it wrote."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["grader", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            app.main()
        captured = capfd.readouterr()
        return int(ended.value.code or 0), captured.out + captured.err

    return run


R = {"name": "ir", "display_name": "R", "language": "R"}
NOTEBOOK, OF_R = (
    v4.new_notebook(cells=[v4.new_code_cell("x = 1")], metadata=about) for about in ({}, {"kernelspec": R})
)
BAD_INPUT = [  # every kind of it: see intake/test_notebook.py
    pytest.param(None, "does not exist", id="no file"),
    pytest.param("folder", "is a folder", id="a folder"),
    pytest.param("", "is an empty file", id="an empty file"),
    pytest.param(json.dumps(OF_R), "is written for R", id="R"),
]


@pytest.mark.parametrize("command", ["grade", "check"])
@pytest.mark.parametrize(("content", "words"), BAD_INPUT)
def test_bad_input_is_one_sentence(
    command: str, content: str | None, words: str, main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content == "folder":
        (tmp_path / "work.ipynb").mkdir()
    elif content is not None:
        (tmp_path / "work.ipynb").write_text(content, encoding="utf-8")
    code, text = main(command, tmp_path / "work.ipynb")
    assert (code, words in text, text.strip().count("\n")) == (1, True, 0)
    for home in ("HOME", "USERPROFILE"):  # where a path may begin
        monkeypatch.setenv(home, str(tmp_path))
    assert words in main(command, "~/work.ipynb")[1]


def test_a_file_that_cannot_be_checked_is_answered_before_libraries_load(tmp_path: Path) -> None:
    program = "import sys; from grader.cli import app\n"
    program += (
        "try: app.main()\nfinally: print(*sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)), 'end')"
    )
    command = [sys.executable, "-c", program, "check", str(tmp_path / "x.ipynb")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (1, ["end"])


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["grade", "x.ipynb", "--profile", "nonsense"], id="an unknown profile"),
        pytest.param(["grade", "x.ipynb", "--seed", "-1"], id="a negative seed"),
        pytest.param(["grade", "x.ipynb", "--cell-limit", "0"], id="no time"),
        pytest.param(["grade"], id="no notebook"),
        pytest.param(["nonsense"], id="an unknown command"),
        pytest.param(["calibrate", "--seeds", "2"], id="too few seeds"),
        pytest.param(["batch", "x.zip", "--dry-run"], id="a job script without Slurm"),
        pytest.param(["batch", "x.zip", "--slurm", "--scheduler", "tcp://x:1"], id="two schedulers"),
    ],
)
def test_wrong_use(arguments: list[str], main: Main) -> None:
    code, text = main(*arguments)
    assert (code, "Usage:" in text, "Traceback" in text) == (2, True, False)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A notebook that may be graded."""
    path = tmp_path / "work.ipynb"
    path.write_text(json.dumps(NOTEBOOK), encoding="utf-8")
    return path


def test_results_that_cannot_be_written_are_found_out_first(main: Main, work: Path, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file", encoding="utf-8")
    code, text = main("grade", work, "--out", tmp_path / "results")
    assert (code, "choose another folder (--out" in text, text.strip().count("\n")) == (2, True, 0)


@pytest.mark.parametrize(
    ("raised", "words", "traced"),
    [
        pytest.param(GraderError("No model; run make setup."), "No model; run make setup.", False, id="foreseen"),
        pytest.param(KeyboardInterrupt(), "Stopped.", False, id="ctrl-C"),
        pytest.param(StopRequestError("SIGTERM"), "Stopped by SIGTERM,", False, id="SIGTERM"),
        pytest.param(ZeroDivisionError(), "fault of the grader", True, id="what nobody foresaw"),
    ],
)
def test_a_fault_of_the_grader_is_one_sentence_and_traced_if_nobody_foresaw_it(
    raised: BaseException, words: str, traced: bool, main: Main, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "open_setup", Mock(side_effect=raised))
    code, text = main("grade", work, "--out", work.parent / "results")
    assert (code, words in text) == (2, True)
    assert ["Traceback" in text, "ZeroDivisionError" in text] == [traced, traced]


@pytest.mark.parametrize("name", ["train.csv", "no folder"])
def test_data_that_is_not_there(name: str, main: Main, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("resolve_checkpoint", "prepare_metrics"):
        monkeypatch.setattr(setup, part, lambda *arguments: None)
    monkeypatch.setattr(setup, "open_sandbox", lambda *arguments, **options: nullcontext())
    (work.parent / "data").mkdir()
    monkeypatch.setenv("A4_DATA", str(work.parent / ("data" if name == "train.csv" else "nowhere")))
    code, text = main("grade", work, "--out", work.parent / "results")
    assert (code, "train.csv" in text, "Traceback" in text) == (2, True, False)


@pytest.mark.parametrize(
    ("run", "score", "code"),
    [
        pytest.param(RunStatus.OK, ScoreStatus.GRADED, 0, id="graded, whatever the score"),
        pytest.param(RunStatus.STUDENT_ERROR, ScoreStatus.GRADED, 0, id="cells that raised"),
        pytest.param(RunStatus.TIMEOUT, ScoreStatus.GRADED, 0, id="too slow"),
        pytest.param(RunStatus.KERNEL_DIED, ScoreStatus.GRADED, 1, id="the kernel died"),
        pytest.param(RunStatus.MEMORY, ScoreStatus.GRADED, 1, id="too much memory"),
        pytest.param(RunStatus.OUTPUT_LIMIT, ScoreStatus.GRADED, 1, id="too much output"),
        pytest.param(RunStatus.PROTOCOL_VIOLATION, ScoreStatus.GRADED, 1, id="malformed evidence"),
        pytest.param(RunStatus.OK, ScoreStatus.UNGRADED, 2, id="a check could not be judged"),
        pytest.param(RunStatus.INFRA_ERROR, ScoreStatus.UNGRADED, 2, id="the grader could not run it"),
    ],
)
def test_exit_code_of_a_result(run: RunStatus, score: ScoreStatus, code: int) -> None:
    points = None if score is ScoreStatus.UNGRADED else 0
    result = results.result(run=results.run(run), score=results.graded(points, 100))
    assert app.choose_exit_code(GradingResult(result, StaffDetails())) == code


FORKED = """
import multiprocessing, time
from grader.cli.app import stop_as_ctrl_c_does

def work(wait):
    try:
        time.sleep(wait)
    except BaseException:
        time.sleep(100)  # as a worker that takes the command's way to stop for an error of its task

stop_as_ctrl_c_does()
with multiprocessing.get_context("fork").Pool(2) as pool:
    pool.map_async(work, [100, 100])
    time.sleep(0.5)
print("ended")
"""


def test_workers_that_were_forked_end_with_their_pool() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("ended\n", 0), done.stderr
