"""Which sandbox notebooks of this assignment run in: its limits, and what warm kernels have imported beforehand."""

import os
from pathlib import Path
from typing import Final

from grader.assets.hub import Checkpoint
from grader.execution.driver import Limits
from grader.execution.job import INSIDE, QUIET, variables
from grader.sandbox import Backend, Policy, Sandbox, Warmup, select

# What notebooks of this assignment import, and the lazy parts of transformers that they then touch.
MODULES: Final = (
    "numpy",
    "pandas",
    "torch",
    "matplotlib.pyplot",
    "matplotlib_inline.backend_inline",
    "datasets",
    "evaluate",
    "sklearn.metrics",
    "safetensors.torch",
    "transformers",
    "transformers.trainer",
    "transformers.training_args",
    "transformers.trainer_callback",
    "transformers.data.data_collator",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.distilbert.modeling_distilbert",
    "transformers.models.distilbert.configuration_distilbert",
)
MEMORY_MIB: Final = 5_120  # with the grader's own, grading stays below 6 GiB
SCRATCH_MIB: Final = 3_072  # a saved model and the evidence of full fine-tuning are 268 MB each
EVIDENCE_MIB: Final = 2_048
FILE_MIB: Final = 1_024


def policy(checkpoint: Checkpoint, metrics: Path, limits: Limits, threads: int | None = None) -> Policy:
    """What a kernel may use."""
    cores = threads or os.cpu_count() or 1
    return Policy(
        memory_mib=MEMORY_MIB,
        cpu_s=int(limits.total_s * cores),
        wall_s=limits.total_s,
        threads=cores,
        file_mib=FILE_MIB,
        scratch_mib=SCRATCH_MIB,
        evidence_mib=EVIDENCE_MIB,
        read_only=(checkpoint.hub_cache.resolve(), metrics.resolve()),
    )


def open_sandbox(
    checkpoint: Checkpoint,
    metrics: Path,
    limits: Limits,
    only: Backend | None = None,
    threads: int | None = None,
    modules: tuple[str, ...] = MODULES,
) -> Sandbox:
    """The best sandbox of this machine, or the one asked for. Raises GraderError."""
    environ = {**variables(checkpoint, metrics, INSIDE), **QUIET}
    warmup = Warmup(modules=modules, environ=environ)
    return select(policy(checkpoint, metrics, limits, threads), warmup=warmup, only=only)
