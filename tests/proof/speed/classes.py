"""The cost of a class on machines of several kinds: measured where a figure is there, otherwise computed from them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from grader.execution.profiles import count_measured_tokens
from grader.model import Precision, Profile
from tests.proof.speed.batches import TWO
from tests.proof.speed.floor import compute_forward_gflop

CLASS: Final = 60
SERVER_CORES, GPU_CORES, SLURM_GPUS = 16, 16, 8
WORKER_CORES: Final = 2
WORKER_GIB: Final = 4
SHARING: Final = 8  # kernels on one GPU
# Seconds of the three methods as submitted, and of one-epoch trainings alone and eight at a time: a plain Trainer on
# one H100, float32, batches of 8 reviews of 512 tokens. Measured once, without this program, on another machine.
H100_TRAININGS_S: Final = 33 + 15 + 25
H100_ALONE_S: Final = 22.4
H100_SHARED_S: Final = 8.4


@dataclass(frozen=True)
class Cost:
    """Minutes of one machine for the class."""

    machine: str
    profile: str
    minutes: float
    how: str


def list_costs(parts: Mapping[str, Any]) -> Iterator[Cost]:
    """Every machine that there are figures for."""
    batch = parts.get("batch", {}).get("figures")
    if batch:  # start-up counts once more than it would
        minutes = CLASS * batch["staff"][str(TWO)]["per_submission_s"] / 60
        yield Cost("2 cores", "structure", minutes, f"batch of {batch['size']} measured, scaled")
    for name, kind in (("quick-bfloat16", "with bfloat16 units"), ("quick-float32", "without bfloat16 units")):
        if name in parts and batch:  # throughput of two workers, of what twice the throughput of one would be
            efficient = sorted(batch["gains"])[len(batch["gains"]) // 2] / 2
            yield from _estimate_quick(parts[name]["figures"]["stages_s"]["total"], kind, efficient)
    if "quick-float32" in parts:
        yield _estimate_full(parts, 1, "one GPU")
        yield _estimate_full(parts, SLURM_GPUS, f"Slurm, {SLURM_GPUS} GPUs")


def _estimate_quick(each_s: float, kind: str, efficient: float) -> Iterator[Cost]:
    """One worker on two cores after the other; on a server as many as it has cores for, each a little slower."""
    workers = SERVER_CORES // WORKER_CORES
    yield Cost(f"2 cores {kind}", "quick", CLASS * each_s / 60, f"{CLASS} × {each_s:.0f} s, one after the other")
    minutes = ceil(CLASS / workers) * each_s / efficient / 60
    how = f"{workers} workers, {WORKER_CORES} cores and {WORKER_GIB} GiB each, {efficient:.0%} as fast as alone"
    yield Cost(f"{SERVER_CORES} cores {kind}", "quick", minutes, how)


def _estimate_full(parts: Mapping[str, Any], gpus: int, name: str) -> Cost:
    """Eight kernels on each GPU at a time; those of one wave are judged side by side when it is trained."""
    measured = parts.get("gpu", {}).get("figures", {}).get("batches", ())
    shared = next((b for b in measured if (b["precision"], b["kernels"]) == (Precision.AUTO, SHARING)), None)
    if shared:
        wave_s, how = SHARING * shared["per_submission_s"], "measured above, scaled"
    else:  # judged on two cores in float32, as in `quick`, whose reviews are cut to fewer tokens
        full, quick = (compute_forward_gflop(1, count_measured_tokens(p)) for p in (Profile.FULL, Profile.QUICK))
        judged_s = parts["quick-float32"]["figures"]["stages_s"]["judging"] * full / quick
        wave_s = SHARING * H100_TRAININGS_S * H100_SHARED_S / H100_ALONE_S + judged_s
        how = f"{SHARING} on a GPU with {GPU_CORES} cores: trainings as on an H100, then {judged_s:.0f} s of judging"
    waves = ceil(CLASS / (gpus * SHARING))
    return Cost(name, "full", waves * wave_s / 60, f"{waves} × {how}")
