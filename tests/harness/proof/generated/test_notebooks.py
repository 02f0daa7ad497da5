"""The ledger of generated programs that are run as whole notebooks."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from grader.paths import REFERENCE
from tests.proof.generated import notebooks
from tests.proof.generated.programs import Program
from tests.proof.validity.corpus import Base, read_base

PROGRAMS = [Program(name, {}) for name in ("g0", "g1", "g2")]
QUIET = Console(quiet=True)


@pytest.fixture
def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the programs that are executed from here on; `g1` does not pass, and `g2` stops the first run."""
    executed: list[str] = []

    def run(programs: Iterable[Program], base: Base) -> Iterator[tuple[str, str]]:
        for program in programs:
            executed.append(program.id)
            if executed.count("g2") == 1:
                raise KeyboardInterrupt
            yield program.id, "step1.parameters failed" if program.id == "g1" else ""

    monkeypatch.setattr(notebooks, "LEDGER", tmp_path / "notebooks.jsonl")
    monkeypatch.setattr(notebooks, "run_notebooks", run)
    return executed


def test_a_stopped_run_goes_on_where_it_was(executed: list[str]) -> None:
    base = read_base(REFERENCE)
    with pytest.raises(KeyboardInterrupt):
        notebooks.prove_notebooks(QUIET, PROGRAMS, base)
    found = notebooks.prove_notebooks(QUIET, PROGRAMS, base)
    assert found == {"g0": "", "g1": "step1.parameters failed", "g2": ""}
    assert executed == ["g0", "g1", "g2", "g2"]


def test_what_other_code_found_counts_for_nothing(executed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    base = read_base(REFERENCE)
    notebooks.prove_notebooks(QUIET, PROGRAMS[:2], base)
    monkeypatch.setattr(notebooks, "digest_conditions", lambda run_by: "other code")
    notebooks.prove_notebooks(QUIET, PROGRAMS[:2], base)
    assert executed == ["g0", "g1"] * 2
