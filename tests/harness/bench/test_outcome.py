"""The benchmark's own arithmetic: bounds, the count of operations, what stays in the file, what the page says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import outcome, parts, report
from bench.__main__ import bounds
from bench.floor import forward_gflop, step_gflop
from bench.outcome import Line, Part
from bench.parts import Wish
from bench.precisions import Run, compared
from bench.stages import ARITHMETIC
from grader import profiles
from grader.model import Method, Precision, Profile, Verdict


@pytest.mark.parametrize(
    ("value", "at_most", "holds"),
    [
        pytest.param(9.9, True, True, id="below an upper bound"),
        pytest.param(10.0, True, True, id="on an upper bound"),
        pytest.param(10.1, True, False, id="above an upper bound"),
        pytest.param(10.1, False, True, id="above a lower bound"),
        pytest.param(9.9, False, False, id="below a lower bound"),
    ],
)
def test_line(value: float, at_most: bool, holds: bool) -> None:
    line = Line("seconds", value, 10, "s", at_most)
    assert line.holds is holds
    assert str(line).startswith("pass" if holds else "MISS")


def test_arithmetic_is_six_operations_per_weight_and_token() -> None:
    weights, tokens = 6 * 7_077_888, 16 * 128  # of the six layers' products
    dense = 6 * weights * tokens / 1e9
    attention = 3 * 2 * 6 * 2 * 768 * 128 * tokens / 1e9
    assert step_gflop(Method.FULL, 16, 128) == pytest.approx(dense + attention)


def test_arithmetic_falls_with_what_is_frozen() -> None:
    full, lora, head = (step_gflop(method, 16, 128) for method in (Method.FULL, Method.LORA, Method.HEAD))
    assert head == pytest.approx(full / 3)
    assert lora == pytest.approx(2 * full / 3, rel=0.02)
    assert forward_gflop(16, 512) > 4 * forward_gflop(16, 128), "attention grows with the square"


def test_parts_are_added_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    outcome.save([Part("one", {"a": 1}), Part("two", lines=(Line("x", 1, 2),))], path)
    outcome.save([Part("one", {"a": 3})], path)
    kept = json.loads(path.read_text())["parts"]
    assert (kept["one"]["figures"], outcome.lines(kept["two"])) == ({"a": 3}, [Line("x", 1, 2)])


def stages(total: float) -> dict[str, Any]:
    return {"stages_s": {"kernel start": 1.0, "forward and backward": total - 1, "total": total}, "reviews": "made up"}


@pytest.mark.parametrize(
    ("reviews", "expected"),
    [pytest.param("made up", [True], id="same data"), pytest.param("others", [], id="other data is not compared")],
)
def test_gain_over_as_submitted(reviews: str, expected: list[bool]) -> None:
    parts = {
        "quick-bfloat16": {"figures": stages(100.0), "lines": []},
        "as-submitted": {"figures": {"reviews": reviews, "total_s": 2_000.0}, "lines": []},
    }
    assert [line.holds for line in bounds({"parts": parts})] == expected


def test_page_says_what_was_missed_and_what_was_not_measured(tmp_path: Path) -> None:
    figures = stages(12.0) | {"points": 90, "possible": 90, "peak_memory_mib": 2_000, "precision": "float32"}
    missed = Line("structure", 12, 10, "s")
    path = tmp_path / "figures.json"
    whole = outcome.save([Part("structure", figures, (missed,)), Part("gpu", skipped="No GPU is at hand.")], path)
    report.write(whole, [missed], tmp_path)
    text = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert "| structure | 12 s | ≤ 10 s | **miss** |" in text
    assert "Not measured: No GPU is at hand." in text
    assert (tmp_path / "performance.svg").stat().st_size > 1_000


def run(seed: int, precision: Precision, lora: float, **verdicts: Verdict) -> Run:
    accuracies: dict[Method, float | None] = {Method.FULL: 0.9, Method.HEAD: None, Method.LORA: lora}
    return Run(seed=seed, precision=precision, circumstances="", verdicts=verdicts, accuracies=accuracies)


def test_seeds_whose_verdicts_differ_are_named(tmp_path: Path) -> None:
    one = [run(seed, Precision.BFLOAT16, 0.8, a=Verdict.PASSED, b=Verdict.PASSED) for seed in (0, 1)]
    other = [run(0, Precision.FLOAT32, 0.85, a=Verdict.PASSED, b=Verdict.PASSED)]
    other += [run(1, Precision.FLOAT32, 0.7, a=Verdict.PASSED, b=Verdict.FAILED)]
    found = compared(one, other)
    assert (found["seeds"], found["same"], found["passed"], found["differing"]) == (2, 1, 3, {"1": ["b"]})
    assert found["apart"] == {"full": 0, "head": 0, "lora": 0.1}
    report.write({"machine": outcome.machine(), "parts": {"precisions": {"figures": found}}}, [], tmp_path)
    assert "Seed 1: b." in (tmp_path / "performance.md").read_text(encoding="utf-8")


def test_the_same_figures_give_the_same_plot(tmp_path: Path) -> None:
    path, written = tmp_path / "plot.svg", set[str]()
    for _ in range(2):
        report.plot({"structure": {"total": 2.0, "cells": 2.0}}, path)
        written.add(path.read_text(encoding="utf-8"))
    assert len(written) == 1


@pytest.mark.parametrize("part", [parts.structure, parts.quick, parts.quick32], ids=lambda part: part.__name__)
def test_parts_ask_for_precisions_that_their_profile_trains_in(
    part: Callable[[Wish], Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(profile: Profile, precision: Precision, rounds: int) -> dict[str, Any]:
        profiles.require_fit(profile, precision)
        spent = dict.fromkeys((*ARITHMETIC, "total"), 1.0)
        return {"precision": "float32", "stages_s": spent}

    monkeypatch.setattr(parts, "measured", measured)
    monkeypatch.setattr(parts, "possible", lambda *arguments: {})
    assert part(Wish()).lines
