"""Exit codes and sentences: 1 for bad input, without a traceback, and 2 for a fault of the grader."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from nbformat import v3, v4

from grader import pipeline
from grader.cli import app
from grader.errors import GraderError
from grader.execution import setup
from grader.judging.result import GradingResult
from grader.model import RunStatus, ScoreStatus, StaffDetails
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


def notebook(*sources: str, **metadata: Any) -> bytes:
    document = v4.new_notebook(cells=[v4.new_code_cell(source) for source in sources], metadata=metadata)
    return json.dumps(document).encode()


def format_3() -> bytes:
    sheet = v3.new_worksheet(cells=[v3.new_text_cell("markdown", source="no code")])
    return json.dumps(v3.new_notebook(worksheets=[sheet])).encode()


R = {"name": "ir", "display_name": "R", "language": "R"}
BAD_INPUT = [
    pytest.param(None, "does not exist", id="no file"),
    pytest.param("folder", "is a folder", id="a folder"),
    pytest.param(b"", "is an empty file", id="an empty file"),
    pytest.param(b"{", "is not JSON", id="not JSON"),
    pytest.param(b"[]", "JSON but not a notebook", id="other JSON"),
    pytest.param(b"%PDF-1.7", "is a PDF", id="a PDF"),
    pytest.param(notebook(), "is an empty notebook", id="no cells"),
    pytest.param(notebook("", " "), "has no code cell", id="no code"),
    pytest.param(format_3(), "has no code cell", id="format 3 without code"),
    pytest.param(notebook("x <- 1", kernelspec=R), "is written for R", id="R"),
]


@pytest.mark.parametrize("command", ["grade", "check"])
@pytest.mark.parametrize(("content", "words"), BAD_INPUT)
def test_bad_input_is_one_sentence(
    command: str, content: bytes | str | None, words: str, main: Main, tmp_path: Path
) -> None:
    path = tmp_path / "work.ipynb"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    code, text = main(command, path)
    assert code == 1
    assert words in text
    assert text.strip().count("\n") == 0


def test_a_path_may_begin_at_home(main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "work.ipynb").write_bytes(notebook())
    assert "is an empty notebook" in main("grade", "~/work.ipynb")[1]


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
    assert code == 2
    assert "Usage:" in text
    assert "Traceback" not in text


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A notebook that may be graded."""
    path = tmp_path / "work.ipynb"
    path.write_bytes(notebook("x = 1"))
    return path


def test_results_that_cannot_be_written_are_found_out_first(main: Main, work: Path, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file", encoding="utf-8")
    code, text = main("grade", work, "--out", tmp_path / "results")
    assert code == 2
    assert "choose another folder (--out" in text
    assert text.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("raised", "words", "traced"),
    [
        pytest.param(GraderError("No model; run make setup."), "No model; run make setup.", False, id="foreseen"),
        pytest.param(KeyboardInterrupt(), "Stopped.", False, id="ctrl-C"),
        pytest.param(ZeroDivisionError(), "fault of the grader", True, id="what nobody foresaw"),
    ],
)
def test_a_fault_of_the_grader_is_one_sentence_and_traced_if_nobody_foresaw_it(
    raised: BaseException, words: str, traced: bool, main: Main, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "open_setup", Mock(side_effect=raised))
    code, text = main("grade", work, "--out", work.parent / "results")
    assert code == 2
    assert words in text
    assert ["Traceback" in text, "ZeroDivisionError" in text] == [traced, traced]


@pytest.mark.parametrize("name", ["train.csv", "no folder"])
def test_data_that_is_not_there(
    name: str, main: Main, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("resolve_checkpoint", "prepare_metrics"):
        monkeypatch.setattr(setup, part, lambda *arguments: None)
    monkeypatch.setattr(setup, "open_sandbox", lambda *arguments, **options: nullcontext())
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("A4_DATA", str(tmp_path / ("data" if name == "train.csv" else "nowhere")))
    code, text = main("grade", work, "--out", tmp_path / "results")
    assert code == 2
    assert "train.csv" in text
    assert "Traceback" not in text


def graded(run: RunStatus, score: ScoreStatus) -> GradingResult:
    points = None if score is ScoreStatus.UNGRADED else 0
    result = results.result(run=results.run(run), score=results.graded(points, 100))
    return GradingResult(result, StaffDetails())


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
    assert app.choose_exit_code(graded(run, score)) == code
