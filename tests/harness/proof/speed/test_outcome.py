"""The benchmark's own arithmetic: bounds, the count of operations, what stays in the file, what the page says."""

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from grader.errors import GraderError
from grader.execution import profiles
from grader.intake.notebook import read_submission
from grader.model import Method, Precision, Profile, Verdict
from grader.paths import REFERENCE
from tests.proof.speed import __main__ as command
from tests.proof.speed import batches, classes, extrapolation, floor, machine, outcome, parts, plot, precisions, report
from tests.proof.speed.floor import compute_forward_gflop, compute_step_gflop
from tests.proof.speed.outcome import BoundLine, Part
from tests.proof.speed.parts import BenchOptions
from tests.proof.speed.precisions import Run, compare
from tests.proof.speed.stages import ARITHMETIC


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    """A file for figures that is not there yet."""
    return tmp_path / "figures.json"


def render(figures: Path, *measured: Part) -> str:
    """The page of these parts, once they are stored."""
    for part in measured:
        outcome.save(part, figures)
    kept = outcome.load(figures)
    return "\n".join(report.render_page(kept, outcome.collect_lines(kept.values())))


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
    line = BoundLine("seconds", value, 10, "s", at_most)
    assert line.holds is holds
    assert str(line).startswith("pass" if holds else "MISS")


def test_arithmetic_is_six_operations_per_weight_and_token_and_falls_with_what_is_frozen() -> None:
    full, head, lora = (compute_step_gflop(method, 16, 128) for method in Method)
    weights, tokens = 6 * 7_077_888, 16 * 128  # of the six layers' products
    attention = 3 * 2 * 6 * 2 * 768 * 128 * tokens / 1e9
    assert full == pytest.approx(6 * weights * tokens / 1e9 + attention)
    assert head == pytest.approx(full / 3)
    assert lora == pytest.approx(2 * full / 3, rel=0.02)
    assert compute_forward_gflop(16, 512) > 4 * compute_forward_gflop(16, 128), "attention grows with the square"


@pytest.mark.parametrize(
    ("words", "expected"), [pytest.param(7, 7, id="short reviews"), pytest.param(500, 64, id="long ones are cut")]
)
def test_arithmetic_is_counted_for_the_reviews_at_hand(words: int, expected: int) -> None:
    def tokenizer(texts: list[str], truncation: bool, max_length: int) -> dict[str, list[list[int]]]:
        return {"input_ids": [[1] * min(max_length, len(text.split())) for text in texts]}

    limits = profiles.get_budget(Profile.QUICK, bfloat16=False)
    assert limits is not None
    assert floor.estimate_padded_tokens(["word " * words] * 20, tokenizer, limits) == expected


def test_what_is_extrapolated_is_the_reference() -> None:
    sources = "\n".join(cell.source for cell in read_submission(REFERENCE).notebook.cells)
    numbers = dict(reversed(re.findall(r"\b(\w+)\s*=\s*(\d+)", sources)))  # the first one of a name counts
    assert int(numbers["num_train_epochs"]) == extrapolation.EPOCHS
    assert int(numbers["per_device_train_batch_size"]) == extrapolation.BATCH
    assert int(numbers["per_device_eval_batch_size"]) == extrapolation.EVAL_BATCH
    assert int(numbers["RANK"]) == extrapolation.RANK


def test_a_head_for_the_checkpoint_fits_it() -> None:
    tensors = parts.make_blank_head()
    assert sum(t.numel() for t in tensors.values()) == 592_130
    assert not any(bool(t.any()) for t in tensors.values())
    assert all(t.dtype is torch.float32 for t in tensors.values())


def test_parts_are_added_and_replaced(figures: Path) -> None:
    for part in (Part("one", {"a": 1}), Part("two", lines=(BoundLine("x", 1, 2),)), Part("one", {"a": 3})):
        outcome.save(part, figures)
    kept = outcome.load(figures)
    assert (kept["one"]["figures"], outcome.collect_lines([kept["two"]])) == ({"a": 3}, [BoundLine("x", 1, 2)])


@pytest.mark.parametrize("measured", [{"device": "H100"}, {}], ids=["stays", "nothing was measured"])
def test_a_part_that_is_skipped_takes_nothing_away(measured: dict[str, str], figures: Path) -> None:
    outcome.save(Part("gpu", measured, skipped="" if measured else "no driver"), figures)
    outcome.save(Part("gpu", skipped="No GPU is at hand."), figures)
    assert outcome.load(figures)["gpu"]["figures"] == measured


@pytest.mark.parametrize(
    ("code", "note"),
    [pytest.param("", "", id="today's code"), pytest.param("older", ", of 2026-01-01, other code", id="other code")],
)
def test_lines_of_other_code_say_so(code: str, note: str, figures: Path) -> None:
    outcome.save(Part("one", lines=(BoundLine("x", 1, 2),), measured="2026-01-01", code=code), figures)
    (line,) = outcome.collect_lines(outcome.load(figures).values())
    assert str(line) == f"pass  x: 1 (≤ 2){note}"


@pytest.mark.parametrize("content", ["{", "[]", "{}"], ids=["cut off", "a list", "without parts"])
def test_figures_that_are_damaged_are_named(content: str, figures: Path) -> None:
    figures.write_text(content, encoding="utf-8")
    with pytest.raises(GraderError, match="no figures of this benchmark"):
        outcome.load(figures)


def stages(total: float) -> dict[str, Any]:
    return {"stages_s": {"kernel start": 1.0, "forward and backward": total - 1, "total": total}, "reviews": "made up"}


@pytest.mark.parametrize(
    ("reviews", "where", "expected"),
    [
        pytest.param("made up", "here", [True], id="same data, same machine"),
        pytest.param("others", "here", [], id="other data is not compared"),
        pytest.param("made up", "elsewhere", [], id="another machine is not compared"),
    ],
)
def test_gain_over_as_submitted(reviews: str, where: str, expected: list[bool]) -> None:
    stamp = {"lines": [], "code": machine.digest_code(), "measured": ""}
    found = {
        "quick-bfloat16": {"name": "quick", "figures": stages(100.0), "machine": "here", **stamp},
        "as-submitted": {"figures": {"reviews": reviews, "total_s": 2_000.0}, "machine": where, **stamp},
    }
    assert [line.holds for line in command.collect_bounds(found)] == expected


def test_page_says_what_was_missed_and_what_was_not_measured(figures: Path) -> None:
    found = {"points": 90, "possible": 90, "peak_memory_mib": 2_000, "precision": "float32", "judged_again_s": 0.5}
    missed = BoundLine("structure", 12, 10, "s")
    render(figures, Part("structure", stages(12.0) | found, (missed,)), Part("gpu", skipped="No GPU is at hand."))
    report.write(outcome.load(figures), [missed], figures.with_name("performance.md"), figures)
    text = (figures.parent / "performance.md").read_text(encoding="utf-8")
    assert "| structure | 12 s | ≤ 10 s | **miss** |" in text
    assert "not measured. No GPU is at hand. `make bench ONLY=gpu` measures it." in text
    assert "older code" not in text
    assert (figures.parent / "performance.svg").stat().st_size > 1_000


def test_page_shows_batches_on_a_gpu(figures: Path) -> None:
    one = {"points": 100, "train_s": {"full": 33.0, "head": 15.0, "lora": None}, "judging_s": 12.0}
    together = {"precision": "tf32", "kernels": 8, "per_submission_s": 25.0, "one": one}
    text = render(figures, Part("gpu", {"device": "H100", "batches": [together]}))
    assert "on H100: 8 at once, TF32: 25.0 s each (training 33 + 15 + 0 s, judging 12 s, 100 points)" in text


def test_page_says_what_is_of_other_code(figures: Path) -> None:
    line = BoundLine("structure", 8, 10, "s")
    text = render(figures, Part("other", lines=(line,), measured="2026-01-01", code="older"))
    assert "**Measured on older code, that of 2026-01-01:** all figures of this page." in text
    assert "| structure | 8 s | ≤ 10 s | pass † |" in text


def test_the_page_in_docs_is_short() -> None:
    assert len(command.PAGE.read_text(encoding="utf-8").splitlines()) <= 80


COSTS = {
    "batch": {"size": 20, "gains": [1.6, 1.8, 1.7], "staff": {str(batches.TWO): {"per_submission_s": 6.0}}},
    "quick-float32": {"stages_s": {"total": 300.0, "judging": 50.0}},
    "gpu": {"batches": [{"precision": Precision.AUTO.value, "kernels": 8, "per_submission_s": 45.0}]},
}
WAVE_MIN = (8 * 73 * 8.4 / 22.4 + 50 * compute_forward_gflop(1, 512) / compute_forward_gflop(1, 64)) / 60
SERVER = "16 cores without bfloat16 units"


@pytest.mark.parametrize(
    ("measured", "machine_name", "minutes"),
    [
        pytest.param(["batch"], "2 cores", 6.0, id="60 at 6 s"),
        pytest.param(["batch", "quick-float32"], "2 cores without bfloat16 units", 300.0, id="60 at 300 s"),
        pytest.param(["batch", "quick-float32"], SERVER, 8 * 300 / 0.85 / 60, id="8 rounds of 8 workers, 85 % as fast"),
        pytest.param(["quick-float32"], "one GPU", 8 * WAVE_MIN, id="8 waves, trained and judged"),
        pytest.param(["quick-float32"], "Slurm, 8 GPUs", WAVE_MIN, id="one wave: 64 seats"),
        pytest.param(["quick-float32", "gpu"], "one GPU", 8 * 8 * 45 / 60, id="a measured GPU"),
    ],
)
def test_costs_of_a_class(measured: list[str], machine_name: str, minutes: float) -> None:
    costs = {c.machine: c.minutes for c in classes.list_costs({name: {"figures": COSTS[name]} for name in measured})}
    assert costs[machine_name] == pytest.approx(minutes)


def run(seed: int, precision: Precision, lora: float, b: Verdict = Verdict.PASSED, measured: str = "") -> Run:
    found = {"verdicts": {"a": Verdict.PASSED, "b": b}, "accuracies": dict(zip(Method, (0.9, None, lora), strict=True))}
    return Run(seed=seed, precision=precision, conditions="", measured=measured, **found)


def test_seeds_whose_verdicts_differ_are_named(figures: Path) -> None:
    one = [run(seed, Precision.BFLOAT16, 0.8) for seed in (0, 1)]
    other = [run(0, Precision.FLOAT32, 0.85), run(1, Precision.FLOAT32, 0.7, Verdict.FAILED)]
    found = compare(one, other)
    assert (found["seeds"], found["same"], found["passed"], found["differing"]) == (2, 1, 3, {"1": ["b"]})
    assert found["apart"] == {"full": 0, "head": 0, "lora": 0.1}
    text = render(figures, Part("precisions", {**found, "reviews": "made up"}))
    assert "Seed 1: b." in text
    assert "made up" in text


def test_runs_that_are_kept_are_of_their_own_day_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    days = {Precision.BFLOAT16: "2026-01-02", Precision.FLOAT32: "2026-01-01"}
    monkeypatch.setattr(precisions, "_runs", lambda kind, seeds: [run(0, kind, 0.8, measured=days[kind])])
    part = precisions.measure([0])
    assert (part.measured, part.code) == ("2026-01-01", "older")


def test_the_same_figures_give_the_same_plot(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "plot.svg" for folder in ("one", "other")]
    for path in paths:
        path.parent.mkdir()
        plot.plot({"structure": {"total": 2.0, "cells": 2.0}}, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_bars_are_whole() -> None:
    shown = {"a": {"long": 9.0, "short": 0.05, "total": 10.0}, "b": {"long": 0.1, "middle": 9.9, "total": 10.0}}
    shares = plot.compute_shares(shown)
    assert set(shares) == {"long", "middle", "other"}
    assert [sum(run) for run in zip(*shares.values(), strict=True)] == pytest.approx([1, 1])


@pytest.mark.parametrize("name", ["structure", "quick", "quick-float32"])
def test_parts_ask_for_precisions_that_their_profile_trains_in(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(profile: Profile, precision: Precision, rounds: int) -> dict[str, Any]:
        profiles.require_fit(profile, precision)
        spent = dict.fromkeys((*ARITHMETIC, "total"), 1.0)
        return {"precision": "float32", "stages_s": spent, "padded_tokens": 128}

    monkeypatch.setattr(parts, "measure", measured)
    monkeypatch.setattr(parts, "compute_possible", lambda *arguments: {})
    assert parts.PARTS[name](BenchOptions()).lines


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, figures: Path) -> Callable[..., int]:
    """The command, with three parts: one holds its bound, one fails, one misses its bound."""

    def measured(name: str, wish: BenchOptions) -> Part:
        if name == "failing":
            raise GraderError("Nothing can be measured here.")
        return Part(name, {"a": 1}, (BoundLine(name, {"good": 1, "slow": 3}[name], 2),))

    monkeypatch.setattr(command, "PARTS", {name: partial(measured, name) for name in ("good", "failing", "slow")})
    monkeypatch.setattr(command, "OPTIONAL", {})
    monkeypatch.setattr(command.signal, "signal", lambda *arguments: None)

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["bench", "--out", str(figures), *arguments])
        return command.main()

    return call


@pytest.mark.parametrize(
    ("arguments", "code", "kept"),
    [
        pytest.param(("--only", "good"), 0, {"good"}, id="every bound holds"),
        pytest.param(("--only", "good", "slow"), 1, {"good", "slow"}, id="one is missed"),
        pytest.param(("--only", "good", "--only", "slow"), 1, {"good", "slow"}, id="asked for twice"),
        pytest.param((), 2, {"good", "slow"}, id="one part fails and the next is measured"),
        pytest.param(("--report",), 0, set(), id="a page of nothing"),
    ],
)
def test_exit_codes(
    arguments: tuple[str, ...], code: int, kept: set[str], bench: Callable[..., int], figures: Path
) -> None:
    assert bench(*arguments) == code
    assert set(outcome.load(figures)) == kept


def test_a_part_that_fails_is_named(bench: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    bench()
    said = capsys.readouterr()
    assert "failed: Nothing can be measured here." in said.err
    assert said.err.endswith("Not measured, see above: failing.\n")
    assert "MISS  slow: 3 (≤ 2)" in said.out


@pytest.mark.parametrize(
    "arguments", [("--seeds", "0"), ("--only", "nothing"), ("--quick",)], ids=["no seeds", "unknown part", "no file"]
)
def test_arguments_that_cannot_be_meant(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2


def test_a_batch_ends_with_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[psutil.Process] = []

    class Interrupted(batches.SparseMemorySampler):
        def __enter__(self) -> "Interrupted":
            started.append(self.root)
            raise KeyboardInterrupt

    sleeper = partial(subprocess.Popen, [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(batches, "SparseMemorySampler", Interrupted)
    monkeypatch.setattr(batches.subprocess, "Popen", lambda command, **options: sleeper(**options))
    with pytest.raises(KeyboardInterrupt):
        batches.carry_out(["nothing"])
    assert not started[0].is_running()


def test_runs_on_other_machines_are_remembered(tmp_path: Path) -> None:
    kept = tmp_path / "performance.jsonl"
    kept.write_text(
        '{"measured": "2026-01-01", "machine": {"processor": "a fast one", "cores": 2, "torch": "2"}, "rates_gflops": '
        '{"bfloat16": 805}, "lines": [{"what": "quick", "value": 188.0, "bound": 210, "unit": "s", "at_most": true}]}',
        encoding="utf-8",
    )
    (read,) = report.read_earlier(kept)
    text = report.render_before(read)
    assert "bfloat16 805 GFLOP/s" in text
    assert "quick 188 s" in text
    assert list(report.read_earlier(tmp_path / "nothing")) == []
