"""The command from the first round to the page, with verdicts that are made up."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from grader.errors import GraderError
from grader.judging.runner import Judgement
from grader.model import Verdict, Visibility
from tests.proof.validity import corpus_run, rounds
from tests.proof.validity.corpus import Base, CorpusCase
from tests.proof.validity.verdicts import CaseResult

CHECKS = ("run.completes", "step3.lora_forward")
ASSET = SimpleNamespace(sha256="c" * 64, name="made-up reviews")
USED = SimpleNamespace(checkpoint=ASSET, reviews=ASSET)


def examine(base: Base, cases: Sequence[CorpusCase], used: Any) -> Iterator[CaseResult]:
    """Every case gets the verdicts that it has to get, but `scale_none`, which passes."""
    for case in reversed(cases):
        failed = () if case.id == "scale_none" else case.failed
        verdicts = {check: Verdict.FAILED if check in failed else Verdict.PASSED for check in CHECKS}
        said = " ".join(case.says)
        yield CaseResult(case, tuple(Judgement(n, "", Visibility.PUBLIC, v, said) for n, v in verdicts.items()))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[CorpusCase]:
    """Some real cases, and no real run."""
    base, corpus = corpus_run.load()
    named = ("reference", "scale_alpha", "scale_none", *corpus_run.REPEATED_VARIANTS)
    chosen = [replace(case, blocked=frozenset()) for case in corpus if case.id in named]
    for name, found in {"load": (base, tuple(chosen)), "load_notebooks": (), "find_rates": (), "repeat": ()}.items():
        monkeypatch.setattr(corpus_run, name, lambda *arguments, found=found: found)
    monkeypatch.setattr(corpus_run, "examine", examine)
    monkeypatch.setattr(corpus_run.pipeline, "open_setup", lambda *arguments, **options: nullcontext(USED))
    monkeypatch.setattr(corpus_run.scoring, "load_rubric", lambda path: dict.fromkeys(CHECKS, 1.0))
    monkeypatch.setattr(rounds, "LEDGER", tmp_path / "rounds.jsonl")
    monkeypatch.setattr(corpus_run, "CASES", tmp_path / "cases.md")
    return chosen


def test_page_and_cases_are_written_and_a_survivor_is_named(few: list[CorpusCase], tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    assert not corpus_run.validate(console, tmp_path, repeat_rounds=2)
    page = (tmp_path / "validity.md").read_text(encoding="utf-8")
    assert "| Mutants killed with exactly the expected checks | 1 of 2 |" in page
    assert "| LoRA checks on 5 right layers, 400 other seeds: verdicts that flipped | 0 |" in page
    assert "| Repetitions of the corpus with other seeds, 2: verdicts that flipped | 0 |" in page
    assert "scale_none: step3.lora_forward is not failed" in page
    assert "scale_none: step3.lora_forward is not failed" in console.export_text()
    assert "**`scale_alpha`**" in (tmp_path / "cases.md").read_text(encoding="utf-8")


def test_rounds_are_not_run_twice(few: list[CorpusCase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus_run.validate(Console(quiet=True), tmp_path, repeat_rounds=1)
    before = (tmp_path / "validity.md").read_text(encoding="utf-8")
    monkeypatch.setattr(corpus_run, "examine", None)  # would raise
    corpus_run.replay(Console(quiet=True), corpus_run.load()[0], few, 1)
    corpus_run.publish(Console(quiet=True), tmp_path)
    assert (tmp_path / "validity.md").read_text(encoding="utf-8") == before


def test_named_cases_are_printed_and_nothing_is_written(few: list[CorpusCase], tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    assert corpus_run.validate_named(console, ["scale_alpha", "refer"])
    assert "**`scale_alpha`**" in console.export_text()
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_no_case_has(few: list[CorpusCase]) -> None:
    with pytest.raises(GraderError, match="no case whose name begins with nothing"):
        corpus_run.validate_named(Console(quiet=True), ["nothing"])
