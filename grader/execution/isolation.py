"""Which sandbox notebooks of this assignment run in: its limits, and what warm kernels have imported beforehand."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from grader.assets.hub import Checkpoint
from grader.errors import GraderError
from grader.execution.driver import Limits
from grader.execution.variables import build_variables
from grader.machine.cores import count_cores
from grader.machine.inventory import Finding, Status
from grader.model import Profile
from grader.sandbox import SCRATCH, Backend, Sandbox, SandboxPolicy, SelfTest, Warmup, run_self_tests, select
from grader.sandbox.selection import WAYS
from grader.sandbox.walls import cgroups

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
DEVICES: Final = Path("/dev")
PATIENT: Final = Limits(
    cell_s=6 * 3600, notebook_s=12 * 3600
)  # as submitted on a CPU: hours, and not the student's fault
PARTIAL: Final = ".partial"  # how files end that are not whole yet
MEMORY_MIB: Final = 5_120  # with the grader's own, grading stays below 6 GiB
SCRATCH_MIB: Final = 3_072  # a saved model and the evidence of full fine-tuning are 268 MB each
DELEGATE: Final = "Control groups need root, or `systemd-run --user --scope -p Delegate=yes` before the command."
NOT_NEEDED: Final = "Not needed while another is used. To use it:"
NOTHING_ISOLATES: Final = "Follow the advice of one of the next rows; until then notebooks cannot be graded."
PROCESSES: Final = 256  # threads count too
PROCESSES_PER_CORE: Final = 4  # torch starts two threads for each
EVIDENCE_MIB: Final = 2_048
FILE_MIB: Final = 1_024
OUTPUT_MIB: Final = 16  # plots and progress bars are a few; what is parsed takes a multiple of it in the broker


def has_gpu() -> bool:
    """Whether this machine has a GPU of NVIDIA; asked without CUDA, which only kernels may initialise."""
    return any(DEVICES.glob("nvidia[0-9]*"))


def choose_limits(profile: Profile, gpu: bool, cell_s: float | None = None, run_s: float | None = None) -> Limits:
    """How long a notebook may take: as long as was asked for, or what is ample in this profile."""
    usual = PATIENT if profile is Profile.FULL and not gpu else Limits()
    return replace(usual, cell_s=cell_s or usual.cell_s, notebook_s=run_s or usual.notebook_s)


def build_policy(
    checkpoint: Checkpoint, metrics: Path, limits: Limits, threads: int | None = None, gpus: bool = False
) -> SandboxPolicy:
    """What a kernel may use. `gpus`: those of NVIDIA, where there are any."""
    cores = threads or count_cores()
    return SandboxPolicy(
        memory_mib=MEMORY_MIB,
        cpu_s=int(limits.total_s * cores),
        wall_s=limits.total_s,
        threads=cores,
        processes=PROCESSES + PROCESSES_PER_CORE * cores,
        file_mib=FILE_MIB,
        scratch_mib=SCRATCH_MIB,
        evidence_mib=EVIDENCE_MIB,
        output_mib=OUTPUT_MIB,
        gpus=gpus and has_gpu(),
        read_only=(checkpoint.hub_cache, metrics),  # at the paths that the kernel is told, links and all
    )


def open_sandbox(
    checkpoint: Checkpoint,
    metrics: Path,
    limits: Limits,
    only: Backend | None = None,
    threads: int | None = None,
    gpus: bool = False,
) -> Sandbox:
    """The best sandbox of this machine, or the one asked for. Raises GraderError."""
    if only is not Backend.NONE and hasattr(os, "geteuid") and os.geteuid() == 0:
        require_readable((checkpoint.hub_cache, metrics))
    wanted = build_policy(checkpoint, metrics, limits, threads, gpus)
    return select(wanted, warmup=build_warmup(checkpoint, metrics), only=only)


def require_readable(folders: Iterable[Path]) -> None:
    """Root hands kernels to a user without rights, who must be able to read what they are shown. Raises GraderError.

    Asked beforehand, because what a kernel says of a closed file misleads: safetensors calls it missing.
    """
    for folder in folders:
        closed = next((path for path in (folder, *folder.rglob("*")) if _is_unreadable(path)), None)
        if closed:
            raise GraderError(f"Sandboxed notebooks cannot read {closed}: chmod -R a+rX {folder}, and try again.")


def _is_unreadable(path: Path) -> bool:
    """Whether others cannot read it. What is just being written does not count."""
    wanted = 0o005 if path.is_dir() else 0o004
    try:
        return path.stat().st_mode & wanted != wanted and path.suffix != PARTIAL
    except FileNotFoundError:
        return False


def list_findings() -> tuple[Finding, ...]:
    """What each backend claimed in its self-test, and which one would be used; rows for `doctor`."""
    tests = run_self_tests()
    used = next((test.backend for test in tests if test.passed), None)
    chosen = (
        Finding("sandbox", Status.OK, f"{used} is used")
        if used
        else Finding("sandbox", Status.MISSING, "none of the ways below works", NOTHING_ISOLATES)
    )
    return (chosen, _memory(), *(_finding(test, used) for test in tests))


def _memory() -> Finding:
    """How a notebook's memory is bounded: with groups soundly, without them by looking."""
    if cgroups.can_make_groups():
        return Finding("sandbox memory", Status.OK, "bounded by control groups")
    return Finding("sandbox memory", Status.WARNING, "bounded by a watchdog, which a burst can outrun", DELEGATE)


def _finding(test: SelfTest, used: Backend | None) -> Finding:
    name = f"sandbox {test.backend}"
    if test.passed:
        held = ", ".join(claim.name for claim in test.claims)
        return Finding(name, Status.OK, f"{'used' if test.backend is used else 'works'}: {held}")
    hint = test.remedy if used is None else f"{NOT_NEEDED} {test.remedy}"
    tried = f"does not work here. Tried: {WAYS[test.backend]}. Answer: {test.answer}."
    return Finding(name, Status.WARNING, tried, hint)


def build_warmup(checkpoint: Checkpoint, metrics: Path) -> Warmup:
    """What warm kernels have imported."""
    return Warmup(modules=MODULES, environ=build_variables(checkpoint.hub_cache, metrics, SCRATCH))
