"""Opens the sandbox for notebooks of this assignment: with its limits, and what warm kernels import beforehand."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from grader.assets.hub import Checkpoint
from grader.errors import GraderError
from grader.execution import profiles
from grader.execution.driver import Limits
from grader.execution.variables import build_variables
from grader.machine.cores import count_cores
from grader.machine.inventory import Finding, Status
from grader.model import Profile
from grader.sandbox import SCRATCH, Backend, Sandbox, SandboxPolicy, SelfTest, Warmup, run_self_tests, select
from grader.sandbox.selection import WAYS
from grader.sandbox.walls import cgroups

# What notebooks of this assignment import, with what that imports: numpy, torch and the lazy parts of transformers.
MODULES: Final = (
    "pandas",
    "matplotlib.pyplot",
    "matplotlib_inline.backend_inline",
    "datasets",
    "evaluate",
    "sklearn.metrics",
    "safetensors.torch",
    "transformers.trainer",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.distilbert.modeling_distilbert",
)
DEVICES: Final = Path("/dev")
LONG: Final = Limits(cell_s=6 * 3600, notebook_s=12 * 3600)  # as submitted on a CPU: hours, and no student's fault
PARTIAL: Final = ".partial"  # the end of names of files that are still being written
DELEGATE: Final = "Control groups need root, or `systemd-run --user --scope -p Delegate=yes` before the command."


def has_gpu() -> bool:
    """Return True if this machine has a GPU of NVIDIA; found without CUDA, which only kernels may initialise."""
    return any(DEVICES.glob("nvidia[0-9]*"))


def choose_limits(profile: Profile, gpu: bool, cell_s: float | None = None, run_s: float | None = None) -> Limits:
    """Return how long a notebook may take: the limits given, or what is ample in this profile."""
    usual = LONG if profile is Profile.FULL and not gpu else Limits()
    cell, notebook = profiles.SHORT.get(profile, (usual.cell_s, usual.notebook_s))
    return replace(usual, cell_s=cell_s or cell, notebook_s=run_s or max(notebook, cell_s or 0))


def build_policy(
    checkpoint: Checkpoint, metrics: Path, limits: Limits, threads: int | None = None, gpus: bool = False
) -> SandboxPolicy:
    """Return what a kernel may use. `gpus`: those of NVIDIA, where there are any."""
    cores = threads or count_cores()
    return SandboxPolicy(
        memory_mib=5_120,  # with the grader's own, grading stays below 6 GiB
        cpu_s=int(limits.total_s * cores),
        wall_s=limits.total_s,
        threads=cores,
        processes=256 + 4 * cores,  # threads count too, and torch starts two for each core
        file_mib=1_024,
        scratch_mib=2_048,  # a saved model is 268 MB, and so is the evidence of full fine-tuning
        evidence_mib=2_048,
        output_mib=16,  # plots and progress bars are a few; parsing takes a multiple of it in the broker
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
    """Open the best sandbox of this machine, or the one of the backend `only`. Raises GraderError."""
    if only is not Backend.NONE and hasattr(os, "geteuid") and os.geteuid() == 0:
        require_readable((checkpoint.hub_cache, metrics))
    policy = build_policy(checkpoint, metrics, limits, threads, gpus)
    return select(policy, warmup=build_warmup(checkpoint, metrics), only=only)


def require_readable(folders: Iterable[Path]) -> None:
    """Check that others can read these folders: root runs kernels as a user without rights. Raises GraderError.

    Checked beforehand, because a kernel's own error misleads: safetensors calls a closed file missing.
    """
    for folder in folders:
        closed = next((path for path in (folder, *folder.rglob("*")) if _is_unreadable(path)), None)
        if closed:
            raise GraderError(f"Sandboxed notebooks cannot read {closed}: run `chmod -R a+rX {folder}` and try again.")


def _is_unreadable(path: Path) -> bool:
    """Return True if others cannot read it. A file that is still being written does not count."""
    wanted = 0o005 if path.is_dir() else 0o004
    try:
        return path.stat().st_mode & wanted != wanted and path.suffix != PARTIAL
    except FileNotFoundError:
        return False


def list_findings() -> tuple[Finding, ...]:
    """Return what each backend claims in its self-test, and which one is used; rows for `doctor`."""
    tests = run_self_tests()
    used = next((test.backend for test in tests if test.passed), None)
    chosen = Finding("sandbox", Status.OK, f"{used} is used")
    if used is None:
        hint = "Follow the hint of one of the next rows; until then this machine cannot grade notebooks."
        chosen = Finding("sandbox", Status.MISSING, "none of the backends below works", hint)
    memory = Finding("sandbox memory", Status.OK, "bounded by control groups")
    if not cgroups.can_make_groups():
        detail = "bounded by a watchdog, which a burst can outrun"
        memory = Finding("sandbox memory", Status.WARNING, detail, DELEGATE)
    return (chosen, memory, *(_describe_test(test, used) for test in tests))


def _describe_test(test: SelfTest, used: Backend | None) -> Finding:
    name = f"sandbox {test.backend}"
    if test.passed:
        claims = ", ".join(claim.name for claim in test.claims)
        return Finding(name, Status.OK, f"{'used' if test.backend is used else 'works'}: {claims}")
    hint = test.remedy if used is None else f"Not needed while another is used. To use it: {test.remedy}"
    detail = f"does not work here. Tried: {WAYS[test.backend]}. Answer: {test.answer}."
    return Finding(name, Status.WARNING, detail, hint)


def build_warmup(checkpoint: Checkpoint, metrics: Path) -> Warmup:
    """Return what warm kernels import beforehand."""
    return Warmup(modules=MODULES, environ=build_variables(checkpoint.hub_cache, metrics, SCRATCH))
