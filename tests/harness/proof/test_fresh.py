"""The proof on fresh machines tells right from wrong: a row that always passes would show nothing."""

import pytest

from tests.proof.fresh.roots import CommandResult
from tests.proof.fresh.tries import BUBBLEWRAP, FIRST, LATER, TESTS, Try
from tests.proof.fresh.tries import ExpectedEnding as Ending

POINTS, PART, NONE = "85 of 85 points", "26 of 85 points", "0 of 85 points"
SENTENCE = "This process has too little of: files"
TRACEBACK = "Traceback (most recent call last):"


@pytest.mark.parametrize(
    ("ending", "code", "text", "faults"),
    [
        pytest.param(Ending.POINTS, 0, POINTS, [], id="all points"),
        pytest.param(Ending.POINTS, 0, PART, ["exit code 0 with 26 of 85 points"], id="some points"),
        pytest.param(Ending.POINTS, 0, NONE, ["exit code 0 with 0 of 85 points"], id="a false zero"),
        pytest.param(Ending.POINTS, 0, "", ["exit code 0 with no points"], id="nothing"),
        pytest.param(Ending.POINTS, 0, f"{POINTS}\n{TRACEBACK}", ["a traceback"], id="points and a traceback"),
        pytest.param(Ending.POINTS, 2, SENTENCE, ["exit code 2"], id="a sentence where points are wanted"),
        pytest.param(Ending.SENTENCE, 2, SENTENCE, [], id="the sentence"),
        pytest.param(Ending.SENTENCE, 2, "Stopped.", ["nothing about 'files'"], id="another sentence"),
        pytest.param(Ending.SENTENCE, 0, POINTS, ["no sentence"], id="points where a sentence is wanted"),
        pytest.param(Ending.SENTENCE, 1, SENTENCE, ["exit code 1 in place of 2"], id="blamed on the student"),
        pytest.param(Ending.SENTENCE, 2, f"{TRACEBACK}\n{SENTENCE}", ["a traceback"], id="a traceback before it"),
        pytest.param(Ending.EITHER, 0, POINTS, [], id="either: points"),
        pytest.param(Ending.EITHER, 2, SENTENCE, [], id="either: a sentence"),
        pytest.param(Ending.EITHER, 0, PART, ["exit code 0 with 26 of 85 points"], id="either: some points"),
        pytest.param(Ending.PASSED, 0, "", [], id="passed"),
        pytest.param(Ending.PASSED, 1, "", ["exit code 1"], id="not passed"),
        pytest.param(Ending.POINTS, 124, "", ["exit code 124"], id="too late"),
    ],
)
def test_faults(ending: Ending, code: int, text: str, faults: list[str]) -> None:
    words = "" if ending in (Ending.POINTS, Ending.PASSED) else "files"
    assert list(Try("a try", ending=ending, words=words).find_faults(CommandResult(code, text, 1))) == faults


def test_the_last_line_with_points_counts() -> None:
    assert list(Try("twice").find_faults(CommandResult(0, f"{POINTS}\n{PART}", 1))) != []
    assert list(Try("twice").find_faults(CommandResult(0, f"{PART}\n{POINTS}", 1))) == []


def test_names_are_unique() -> None:
    names = [one.name for one in (*FIRST, *LATER, *BUBBLEWRAP, *TESTS)]
    assert len(set(names)) == len(names)
