"""Repetitions of the whole corpus: compared letter by letter, kept, and dropped when what they follow from changes."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.proof.validity import ledger, rounds
from tests.proof.validity.rounds import Round

CHECKS = ("run.completes", "step1.count_function")
USED = SimpleNamespace(checkpoint=SimpleNamespace(sha256="c" * 64), reviews=SimpleNamespace(sha256="r" * 64))


def one(seed: int, circumstances: str = "here", **letters: str) -> Round:
    return Round(seed=seed, circumstances=circumstances, letters=letters)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        pytest.param([], (), id="nothing repeated"),
        pytest.param([one(1, alive="F·"), one(2, alive="F·")], (), id="identical"),
        pytest.param(
            [one(1, alive="F·"), one(2, alive="··")], ("seed 2, alive: run.completes is ·, not F",), id="one flip"
        ),
        pytest.param(
            [one(1, alive="·F")],
            ("seed 1, alive: run.completes is ·, not F", "seed 1, alive: step1.count_function is F, not ·"),
            id="two flips",
        ),
    ],
)
def test_flips(others: list[Round], expected: tuple[str, ...]) -> None:
    assert rounds.find_flips([one(0, alive="F·"), *others], CHECKS) == expected


def test_rounds_are_kept_and_belong_to_their_circumstances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "locate_ledger", lambda name: tmp_path / "deep" / name)
    for played in (one(2, alive="F·"), one(1, alive="F·"), one(3, "elsewhere", alive="··")):
        rounds.keep(played)
    assert [found.seed for found in rounds.load_known("here")] == [1, 2]


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    ledger.append(path, one(1))
    path.write_text(path.read_text(encoding="utf-8") + '{"seed": 2, "circ', encoding="utf-8")
    ledger.append(path, one(3))
    assert ledger.read(path, Round) == (one(1), one(3))


@pytest.mark.parametrize(
    ("file", "matters"),
    [
        pytest.param("tests/hidden/test_lora.py", True, id="suite"),
        pytest.param("tests/corpus/mutants/lora.toml", True, id="corpus"),
        pytest.param("grader/kernel/probes.py", True, id="witness"),
        pytest.param("grader/reporting/page.py", False, id="report"),
        pytest.param("tests/hidden/__pycache__/test_lora.pyc", False, id="compiled"),
    ],
)
def test_circumstances(tmp_path: Path, file: str, matters: bool) -> None:
    before = rounds.digest_conditions(USED, tmp_path)
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("changed", encoding="utf-8")
    assert (rounds.digest_conditions(USED, tmp_path) != before) is matters
