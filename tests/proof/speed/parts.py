"""The parts of the benchmark. Each measures both sides of its ratios in the same run."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final
from unittest import mock

import torch
from transformers import AutoTokenizer

from grader import pipeline
from grader.assets.reviews import read_reviews
from grader.errors import GraderError
from grader.execution import profiles
from grader.execution.job import Setup
from grader.model import Precision, Profile
from grader.oracle.accuracy import AccuracyMeter
from grader.protocol.checkpoint import load_base_tensors
from grader.protocol.tensor_names import HEAD_LINEARS
from grader.sandbox import Backend
from tests.proof.speed import batches, extrapolation, fixed_cost, floor, gpu, growth, peers, precisions, stages
from tests.proof.speed.outcome import BoundLine, Part, measure_time


@dataclass(frozen=True)
class BenchOptions:
    """Thoroughness of the measurements."""

    rounds: int = 5
    batch: int = 20
    batch_rounds: int = 3  # each a batch with one worker and one with two
    sizes: tuple[int, ...] = (1, 10, 100, 1000)
    steps: int = 20  # at full length, to extrapolate from
    seeds: int = 20  # that both precisions train with


QUICKLY: Final = BenchOptions(rounds=1, batch=4, batch_rounds=1, sizes=(1, 10), steps=3, seeds=1)


def measure_fixed(wish: BenchOptions) -> Part:
    """A notebook that trains nothing, warm and cold, beside nbclient alone."""
    warm = fixed_cost.measure(wish.rounds, None)
    try:
        cold = fixed_cost.measure(wish.rounds, Backend.BUBBLEWRAP)
    except GraderError as error:
        cold = {"skipped": str(error)}
    line = BoundLine(
        "a notebook that trains nothing: time of grading it warm, divided by that of nbclient alone", warm["ratio"], 0.2
    )
    return Part("fixed", {"warm": warm, "cold": cold}, (line,))


def measure_structure(wish: BenchOptions) -> Part:
    """The reference in profile `structure`, by stages."""
    found = measure(Profile.STRUCTURE, Precision.AUTO, wish.rounds)
    line = BoundLine("structure on the reference, warm", found["stages_s"]["total"], 10, "s")
    return Part("structure", found, (line,))


def measure_quick(wish: BenchOptions, precision: Precision = Precision.AUTO) -> Part:
    """The reference in profile `quick`, by stages, beside the floor and beside a training as submitted."""
    found = measure(Profile.QUICK, precision, 1)
    bfloat16, stages_s = found["precision"] == "bfloat16 autocast", found["stages_s"]
    found |= compute_possible(stages_s, bfloat16, found["padded_tokens"])
    name = f"quick in {found['precision'].split()[0]}"
    share = sum(stages_s[stage] for stage in stages.TRAINING) / stages_s["total"]
    lines = (
        BoundLine(name, stages_s["total"], 210 if bfloat16 else 360, "s"),
        BoundLine(f"{name}: share of the time in training steps", share, 0.6, at_most=False),
    )
    return Part(f"quick-{'bfloat16' if bfloat16 else 'float32'}", found, lines)


def measure(profile: Profile, precision: Precision, rounds: int) -> dict[str, Any]:
    """The stages of the median run. Where there are several, one before them is not counted. No accuracy is cached."""
    with (
        tempfile.TemporaryDirectory(prefix="a4-bench-") as name,
        pipeline.open_setup(profile, 0, precision=precision) as used,
        disable_cache(used, Path(name) / "accuracy"),
    ):
        used.sandbox.wait()
        seen = [stages.grade(used, Path(name) / "run", str(i)) for i in range(rounds + (rounds > 1))][-rounds:]
        spent, result = sorted(seen, key=lambda run: run[0]["total"])[rounds // 2]
        evidence, folders = Path(name) / "run" / "evidence", pipeline.list_suite_folders()
        limits = profiles.get_budget(used.profile, used.bfloat16)
        texts = [review.text for review in read_reviews(used.reviews.train)]
        tokenizer = AutoTokenizer.from_pretrained(used.checkpoint.weights.parent)
        tokens = limits and round(floor.estimate_padded_tokens(texts, tokenizer, limits), 1)  # None: nothing is cut
        again_s, _ = measure_time(lambda: pipeline.judge(evidence, used, folders))  # as after a change of rubric
        return {
            "stages_s": {stage: round(seconds, 3) for stage, seconds in spent.items()},  # which add up to the total
            "judged_again_s": round(again_s, 3), "rounds": rounds, "precision": result.environment["precision"],
            "reviews": used.reviews.name, "padded_tokens": tokens,
            "points": result.score.points, "possible": result.score.possible,
            "peak_memory_mib": max(run.run.peak_memory_mib for _, run in seen),
            "accuracy": {m.value: s.accuracy for m, s in result.methods.items()},
        }  # fmt: skip


@contextmanager
def disable_cache(used: Setup, folder: Path) -> Iterator[None]:
    """Measure accuracies anew: the same training gives the same weights, whose accuracy is known from before.

    What the checkpoint's own encoder makes of the held-out reviews is known, as after a machine's first grading.
    """
    original = pipeline.make_meter

    def meter(used: Setup, profile: Profile) -> AccuracyMeter:
        return replace(original(used, profile), cache=folder)

    if used.profile is not Profile.STRUCTURE:
        weights = load_base_tensors(str(used.checkpoint.weights))
        meter(used, used.profile).measure(make_blank_head(), weights, "a blank head")
    with mock.patch.object(pipeline, "make_meter", meter):
        yield


def make_blank_head() -> dict[str, torch.Tensor]:
    """An export of a model that differs from the checkpoint in a head of zeros."""
    outputs = dict(zip(HEAD_LINEARS, (768, 2), strict=True))
    weights = {f"w:{path}.weight": torch.zeros(rows, 768) for path, rows in outputs.items()}
    return weights | {f"w:{path}.bias": torch.zeros(rows) for path, rows in outputs.items()}


def compute_possible(stages_s: Mapping[str, float], bfloat16: bool, tokens: float) -> dict[str, Any]:
    """The trainings' arithmetic, and how near the machine comes to what it can do."""
    limits = profiles.get_budget(Profile.QUICK, bfloat16)
    assert limits is not None
    rates = floor.measure_rates()
    gflop = floor.compute_trainings_gflop(limits, extrapolation.EVALUATIONS, tokens)
    rate = rates["bfloat16"] if bfloat16 else rates["float32, oneDNN"]
    spent_s = sum(stages_s[stage] for stage in stages.ARITHMETIC)
    return {
        "gflop": round(gflop), "rates_gflops": rates, "floor_s": round(gflop / rate, 1),
        "achieved_gflops": round(gflop / spent_s), "achieved_of_possible": round(gflop / spent_s / rate, 3),
    }  # fmt: skip


def measure_batch(wish: BenchOptions) -> Part:
    """A class of notebooks that differ, with one worker and with two."""
    found = batches.measure(wish.batch, wish.batch_rounds)
    gain = sorted(found["gains"])[len(found["gains"]) // 2]
    line = BoundLine(f"batch of {wish.batch}: throughput of 2 workers beside 1, a core each", gain, 1.7, at_most=False)
    return Part("batch", found, (line,))


def measure_judging(wish: BenchOptions) -> Part:
    """Judging and reports alone, of evidence that is stored."""
    found = batches.measure_judging(max(10, 2 * wish.rounds))
    name = "judging and reports per submission of a batch, where no accuracy is to be measured"
    return Part("judging", found, (BoundLine(name, found["both_s"], 1, "s"),))


def measure_growth(wish: BenchOptions) -> Part:
    """Intake, plan, dashboard and everything else that is handed out, by the number of submissions."""
    found = {str(size): growth.measure(size, wish.rounds if size < max(wish.sizes) else 1) for size in wish.sizes}
    most = found[str(max(wish.sizes))]
    name = f"dashboard of {max(wish.sizes):,} submissions"
    lines = (BoundLine(name, most["dashboard_s"], 10, "s"), BoundLine(name, most["dashboard_mb"], 10, "MB"))
    return Part("growth", found, lines)


def estimate_as_submitted(wish: BenchOptions) -> Part:
    """Seconds of the reference as it is submitted, extrapolated from some measured steps of each method.

    In a process of its own: it takes gigabytes, which would count as memory of the parts after it.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        return Part("as-submitted", apart.submit(extrapolation.extrapolate, wish.steps).result())


PARTS: Final[dict[str, Callable[[BenchOptions], Part]]] = {
    "fixed": measure_fixed,
    "structure": measure_structure,
    "judging": measure_judging,
    "growth": measure_growth,
    "batch": measure_batch,
    "as-submitted": estimate_as_submitted,
    "quick": measure_quick,
    "quick-float32": partial(measure_quick, precision=Precision.FLOAT32),  # as without matrix units
    "gpu": lambda wish: gpu.measure(),
}
OPTIONAL: Final[dict[str, Callable[[BenchOptions], Part]]] = {  # they take minutes to hours
    "peers": lambda wish: peers.measure(wish.rounds),
    "precisions": lambda wish: precisions.measure(range(wish.seeds)),
}
