"""Finds or prepares what an execution needs besides the notebook: model, data, metrics, a sandbox, the arithmetic."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from grader.assets.cache import locate_cache
from grader.assets.hub import Checkpoint, resolve_checkpoint
from grader.assets.metrics import prepare_metrics
from grader.assets.reviews import resolve_reviews
from grader.execution import profiles
from grader.execution.driver import Limits
from grader.execution.gpu_pool import VISIBLE
from grader.execution.isolation import open_sandbox
from grader.machine.limits import require_limits
from grader.machine.precision import has_fast_bfloat16
from grader.model import Precision, Profile
from grader.paths import ROOT
from grader.sandbox import Backend, Sandbox

if TYPE_CHECKING:
    from grader.execution.job import Setup


@dataclass(frozen=True)
class SandboxOptions:
    """The sandbox that notebooks run in; what is None is chosen for this machine."""

    backend: Backend | None = None
    limits: Limits = field(default_factory=Limits)
    threads: int | None = None  # of a kernel; by default as many as there are cores
    opened: Sandbox | None = None  # a sandbox to use instead of a new one


BEST_SANDBOX: Final = SandboxOptions()  # the strongest that works here
UNSANDBOXED: Final = SandboxOptions(Backend.NONE)


@contextmanager
def open_setup(
    profile: Profile, seed: int, wanted: SandboxOptions, precision: Precision = Precision.AUTO
) -> Iterator["Setup"]:
    """Yield what an execution needs, with a sandbox that lives as long as the block. Raises GraderError."""
    profiles.require_fit(profile, precision)
    require_limits()
    with wanted.opened or start_sandbox(profile, wanted) as sandbox:
        from grader.execution.job import Setup  # with torch, while the sandbox's own process loads it, too

        checkpoint, metrics = prepare_assets(profile)
        yield Setup(
            profile=profile,
            seed=seed,
            checkpoint=checkpoint,
            reviews=resolve_reviews(ROOT, os.environ),
            metrics=metrics,
            bfloat16=profile is Profile.QUICK
            and (has_fast_bfloat16() if precision is Precision.AUTO else precision is Precision.BFLOAT16),
            tf32=precision is Precision.TF32,
            sandbox=sandbox,
            environ=select_one_gpu(os.environ) if profiles.uses_gpu(profile) else {},
        )


def start_sandbox(profile: Profile, wanted: SandboxOptions) -> Sandbox:
    """Open a new sandbox, and return while it still loads what kernels import. Raises GraderError.

    Who starts it first and loads its own libraries then has waited once, and not twice.
    """
    require_limits()
    checkpoint, metrics = prepare_assets(profile)
    gpus = profiles.uses_gpu(profile)
    return open_sandbox(checkpoint, metrics, wanted.limits, wanted.backend, wanted.threads, gpus=gpus)


def prepare_assets(profile: Profile) -> tuple[Checkpoint, Path]:
    """Find or make the model and the metrics that a kernel's offline cache holds. Raises GraderError."""
    cache_dir = locate_cache(ROOT, os.environ)
    return resolve_checkpoint(profile, cache_dir), prepare_metrics(cache_dir)


def select_one_gpu(environ: Mapping[str, str]) -> dict[str, str]:
    """Show a kernel the first GPU that it may use: a Trainer that sees several trains with larger batches."""
    return {VISIBLE: environ.get(VISIBLE, "0").partition(",")[0]}
