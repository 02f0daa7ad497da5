"""What a class costs on machines of several kinds: measured where a figure is there, otherwise computed from them."""

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
    """What one machine takes for the class."""

    machine: str
    profile: str
    minutes: float
    how: str


def list_costs(parts: Mapping[str, Any]) -> Iterator[Cost]:
    """Every machine that there are figures for."""
    batch = parts.get("batch", {}).get("figures")
    if batch:
        yield estimate_structure(batch)
    for name, kind in (("quick-bfloat16", "with bfloat16 units"), ("quick-float32", "without bfloat16 units")):
        if name in parts and batch:
            yield from estimate_quick(parts[name]["figures"]["stages_s"]["total"], kind, compute_efficiency(batch))
    if "quick-float32" in parts:
        yield from estimate_full(parts, estimate_judging_s(parts["quick-float32"]["figures"]))


def estimate_structure(batch: Mapping[str, Any]) -> Cost:
    """Two cores, scaled from the batch that was measured: start-up counts once more than it would."""
    minutes = CLASS * batch["staff"][str(TWO)]["per_submission_s"] / 60
    return Cost("2 cores", "structure", minutes, f"batch of {batch['size']} measured, scaled")


def compute_efficiency(batch: Mapping[str, Any]) -> float:
    """Throughput of two workers, of what twice the throughput of one would be."""
    gains = sorted(batch["gains"])
    return float(gains[len(gains) // 2]) / 2


def estimate_quick(each_s: float, kind: str, efficient: float) -> Iterator[Cost]:
    """One worker on two cores after the other; on a server as many as it has cores for, each a little slower."""
    workers = SERVER_CORES // WORKER_CORES
    yield Cost(f"2 cores {kind}", "quick", CLASS * each_s / 60, f"{CLASS} × {each_s:.0f} s, one after the other")
    minutes = ceil(CLASS / workers) * each_s / efficient / 60
    how = f"{workers} workers, {WORKER_CORES} cores and {WORKER_GIB} GiB each, {efficient:.0%} as fast as alone"
    yield Cost(f"{SERVER_CORES} cores {kind}", "quick", minutes, how)


def estimate_judging_s(quick32: Mapping[str, Any]) -> float:
    """Seconds of measuring a submission's accuracies in profile `full`, which is done on two cores in float32.

    From those in `quick`, whose reviews are cut to fewer tokens.
    """
    longer = compute_forward_gflop(1, count_measured_tokens(Profile.FULL)) / compute_forward_gflop(
        1, count_measured_tokens(Profile.QUICK)
    )
    return float(quick32["stages_s"]["judging"]) * longer


def estimate_full(parts: Mapping[str, Any], judged_s: float) -> Iterator[Cost]:
    """Eight kernels on each GPU at a time; those of one wave are judged side by side when it is trained."""
    measured = parts.get("gpu", {}).get("figures", {}).get("batches", ())
    shared = next((b for b in measured if (b["precision"], b["kernels"]) == (Precision.AUTO, SHARING)), None)
    if shared:
        wave_s, how = SHARING * shared["per_submission_s"], "measured above, scaled"
    else:
        wave_s = SHARING * H100_TRAININGS_S * H100_SHARED_S / H100_ALONE_S + judged_s
        how = f"{SHARING} on a GPU with {GPU_CORES} cores: trainings as on an H100, then {judged_s:.0f} s of judging"
    for gpus, name in ((1, "one GPU"), (SLURM_GPUS, f"Slurm, {SLURM_GPUS} GPUs")):
        waves = ceil(CLASS / (gpus * SHARING))
        yield Cost(name, "full", waves * wave_s / 60, f"{waves} × {how}")
