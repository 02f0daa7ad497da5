"""Some generated programs and mistakes, really run."""

from pathlib import Path

import pytest
from rich.console import Console

from tests.proof.generated import proof


def test_right_programs_pass_and_mistakes_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "LEDGER", tmp_path / "found.jsonl")
    outcome = proof.prove(Console(quiet=True), programs=20, mistakes=20)
    assert outcome.false_fails == {}
    assert outcome.survivors == []
    assert outcome.killed >= 15
    monkeypatch.setattr(proof, "run", lambda *arguments: {})  # what is stored is not run again
    assert proof.prove(Console(quiet=True), programs=20, mistakes=20).findings == outcome.findings
