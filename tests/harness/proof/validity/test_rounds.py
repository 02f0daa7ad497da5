"""Repetitions of the whole corpus: compared letter by letter, kept, and dropped when what they follow from changes."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from grader.closure import Tree
from grader.paths import ROOT
from tests.proof.validity import ledger, rounds
from tests.proof.validity.rounds import Round

CHECKS = ("run.completes", "step1.count_function")
USED = SimpleNamespace(checkpoint=SimpleNamespace(sha256="c" * 64), reviews=SimpleNamespace(sha256="r" * 64))


def one(seed: int, letters: str, conditions: str = "here") -> Round:
    return Round(seed=seed, conditions=conditions, letters={"alive": letters})


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        pytest.param([], (), id="nothing repeated"),
        pytest.param(["F·", "F·"], (), id="identical"),
        pytest.param(["F·", "··"], ("seed 2, alive: run.completes is ·, not F",), id="one flip"),
        pytest.param(
            ["·F"],
            ("seed 1, alive: run.completes is ·, not F", "seed 1, alive: step1.count_function is F, not ·"),
            id="two flips",
        ),
    ],
)
def test_flips(others: list[str], expected: tuple[str, ...]) -> None:
    assert rounds.find_flips([one(seed, letters) for seed, letters in enumerate(["F·", *others])], CHECKS) == expected


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        pytest.param((2, 0, 1), [0, 1, 2], id="the usual one first"),
        pytest.param((2, 1), [], id="none without the usual one"),
    ],
)
def test_rounds_are_kept_and_belong_to_their_circumstances(
    seeds: tuple[int, ...], expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "LEDGER", tmp_path / "deep" / "rounds.jsonl")
    for played in (*(one(seed, "F·") for seed in seeds), one(3, "··", "elsewhere")):
        ledger.append(rounds.LEDGER, played)
    assert [found.seed for found in rounds.load_known("here")] == expected


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    ledger.append(path, one(1, "F·"))
    path.write_text(path.read_text(encoding="utf-8") + '{"seed": 2, "circ', encoding="utf-8")
    ledger.append(path, one(3, "F·"))
    assert ledger.read(path, Round) == (one(1, "F·"), one(3, "F·"))


@pytest.mark.parametrize(
    ("file", "matters"),
    [
        pytest.param("tests/hidden/test_lora.py", True, id="suite"),
        pytest.param("tests/corpus/mutants/lora.toml", True, id="corpus"),
        pytest.param("reference/solution.ipynb", True, id="reference"),
        pytest.param("grader/kernel/probes/lora.py", True, id="witness"),
        pytest.param("grader/sandbox/zygote.py", True, id="a program of its own"),
        pytest.param("tests/proof/validity/fork_server.py", True, id="what executes the corpus"),
        pytest.param("grader/reporting/page.py", False, id="report"),
        pytest.param("tests/harness/needs.py", False, id="a test of the grader"),
    ],
)
def test_circumstances(file: str, matters: bool) -> None:
    tree = Tree(ROOT)
    changed = tree.replace(file, tree.read(file) + b"\n")
    assert (rounds.digest_conditions(USED, changed) != rounds.digest_conditions(USED, tree)) is matters
