"""The parts of the benchmark. Each measures both sides of its ratios in the same run."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final
from unittest import mock

from bench import batches, fixed_cost, floor, growth, peers, precisions, several, stages, submitted
from bench.outcome import Line, Part, median_of
from grader import grading, profiles
from grader.errors import GraderError
from grader.execution.job import Setup
from grader.model import Precision, Profile
from grader.oracle.accuracy import Meter
from grader.sandbox import Backend

EVALUATIONS: Final = 3  # of the reference in each training: after two epochs, and once more at the end


@dataclass(frozen=True)
class Wish:
    """How thoroughly to measure."""

    rounds: int = 5
    batch: int = 20
    sizes: tuple[int, ...] = (1, 10, 100, 1000)
    steps: int = 20  # at full length, to extrapolate from
    seeds: int = 20  # that both precisions train with


QUICKLY: Final = Wish(rounds=1, batch=4, sizes=(1, 10), steps=3, seeds=1)


def fixed(wish: Wish) -> Part:
    """A notebook that trains nothing, warm and cold, beside nbclient alone."""
    warm = fixed_cost.measured(wish.rounds, None)
    try:
        cold = fixed_cost.measured(min(2, wish.rounds), Backend.BUBBLEWRAP)
    except GraderError as error:
        cold = {"skipped": str(error)}
    line = Line("definitions only, warm, of nbclient alone", warm["ratio"], 0.2)
    return Part("fixed", {"warm": warm, "cold": cold}, (line,))


def structure(wish: Wish) -> Part:
    """The reference in profile `structure`, by stages."""
    found = measured(Profile.STRUCTURE, Precision.AUTO, wish.rounds)
    return Part("structure", found, (Line("structure on the reference, warm", found["stages_s"]["total"], 10, "s"),))


def quick(wish: Wish, precision: Precision = Precision.AUTO) -> Part:
    """The reference in profile `quick`, by stages, beside the floor and beside a training as submitted."""
    found = measured(Profile.QUICK, precision, 1)
    bfloat16, stages_s = found["precision"] == "bfloat16 autocast", found["stages_s"]
    share = stages.arithmetic_s(stages_s) / stages_s["total"]
    found |= possible(stages_s, bfloat16)
    limit_s = 210 if bfloat16 else 360
    name = f"quick in {found['precision'].split()[0]}"
    lines = (
        Line(name, stages_s["total"], limit_s, "s"),
        Line(f"{name}: arithmetic's share of the time", share, 0.6, at_most=False),
    )
    return Part(f"quick-{'bfloat16' if bfloat16 else 'float32'}", found, lines)


def quick32(wish: Wish) -> Part:
    """The same in float32, as on a processor without matrix units."""
    return quick(wish, Precision.FLOAT32)


def measured(profile: Profile, precision: Precision, rounds: int) -> dict[str, Any]:
    """Medians of the stages. Where there are several rounds, one before them is not counted. No accuracy is cached."""
    with (
        tempfile.TemporaryDirectory(prefix="a4-bench-") as name,
        grading.setup(profile, 0, precision=precision) as used,
        uncached(used, Path(name) / "accuracy"),
    ):
        used.sandbox.wait()
        seen = [stages.graded(used, Path(name) / "run", str(i)) for i in range(rounds + (rounds > 1))]
        seen, result = seen[-rounds:], seen[-1][1]
        return {
            "stages_s": median_of([spent for spent, _ in seen]),
            "rounds": rounds,
            "precision": result.environment["precision"],
            "reviews": used.reviews.name,
            "points": result.score.points,
            "possible": result.score.possible,
            "peak_memory_mib": result.run.peak_memory_mib,
            "accuracy": {m.value: s.accuracy for m, s in result.methods.items()},
        }


@contextmanager
def uncached(used: Setup, folder: Path) -> Iterator[None]:
    """Measure accuracies anew: the same training gives the same weights, whose accuracy is known from before.

    What the checkpoint's own encoder makes of the held-out reviews stays known, as after a machine's first grading.
    """
    original = grading.make_meter
    folder.mkdir(parents=True)
    for features in original(used, used.profile).cache.glob("*.safetensors"):
        shutil.copy(features, folder)

    def meter(used: Setup, profile: Profile) -> Meter:
        return replace(original(used, profile), cache=folder)

    with mock.patch.object(grading, "make_meter", meter):
        yield


def possible(stages_s: Mapping[str, float], bfloat16: bool) -> dict[str, Any]:
    """The trainings' arithmetic, and how near the machine comes to what it can do."""
    limits = profiles.budget(Profile.QUICK, bfloat16)
    assert limits is not None
    rates = floor.rates()
    gflop = floor.trainings_gflop(limits, EVALUATIONS)
    rate = rates["bfloat16"] if bfloat16 else rates["float32, oneDNN"]
    spent_s = stages.arithmetic_s(stages_s)
    return {
        "gflop": round(gflop),
        "rates_gflops": rates,
        "achieved_gflops": round(gflop / spent_s),
        "achieved_of_possible": round(gflop / spent_s / rate, 3),
        "floor_s": round(gflop / rate, 1),
    }


def both_precisions(wish: Wish) -> Part:
    """Verdicts of the reference in float32 and in bfloat16, over many seeds."""
    found = precisions.measured(range(wish.seeds))
    name = f"seeds of {found['seeds']} with the same verdicts in float32 and bfloat16"
    return Part("precisions", found, (Line(name, found["same"], found["seeds"], at_most=False),))


def batch(wish: Wish) -> Part:
    """A class of notebooks that differ, with one worker and with two."""
    found = batches.measured(wish.batch)
    gain = found[str(batches.ONE)]["wall_s"] / found[str(batches.TWO)]["wall_s"]
    line = Line(f"batch of {wish.batch}: throughput of 2 workers beside 1, a core each", gain, 1.7, at_most=False)
    return Part("batch", found, (line,))


def judging(wish: Wish) -> Part:
    """Judging and reports alone, of evidence that is stored."""
    found = several.judged(max(10, 2 * wish.rounds))
    return Part("judging", found, (Line("judging and reports per submission", found["both_s"], 1, "s"),))


def grown(wish: Wish) -> Part:
    """Intake, plan and dashboard by the number of submissions that are stored."""
    found = {str(size): growth.measured(size) for size in wish.sizes}
    most = found[str(max(wish.sizes))]
    name = f"dashboard of {max(wish.sizes):,} submissions"
    lines = (Line(name, most["dashboard_s"], 10, "s"), Line(name, most["dashboard_mb"], 10, "MB"))
    return Part("growth", found, lines)


def as_submitted(wish: Wish) -> Part:
    """What the reference would take as it is submitted, extrapolated from some measured steps of each method.

    In a process of its own: it takes gigabytes, which would count as memory of the parts after it.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        return Part("as-submitted", apart.submit(submitted.extrapolated, wish.steps).result())


def gpu(wish: Wish) -> Part:
    """Several kernels on one GPU, as submitted; nothing where there is none."""
    return several.on_gpu()


def beside(wish: Wish) -> Part:
    """otter-grader and nbgrader on the same notebook, in an environment of their own."""
    return peers.measured(wish.rounds)


PARTS: Final[dict[str, Callable[[Wish], Part]]] = {
    "fixed": fixed,
    "structure": structure,
    "judging": judging,
    "growth": grown,
    "batch": batch,
    "as-submitted": as_submitted,
    "quick": quick,
    "quick-float32": quick32,
    "gpu": gpu,
}
OPTIONAL: Final[dict[str, Callable[[Wish], Part]]] = {  # they take minutes to hours
    "peers": beside,
    "precisions": both_precisions,
}
