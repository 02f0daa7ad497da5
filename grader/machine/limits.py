"""Limits that this process has from its shell, its batch system or its container, and that kernels inherit.

A limit that is too low shows as a student's mistake: an import that fails, a file that cannot be written. So nobody is
graded below what a right notebook needs. A limit that may be raised (the soft one, up to the hard one) is raised.
"""

import contextlib
import sys
from dataclasses import dataclass
from typing import Final

from grader.errors import GraderError
from grader.machine.inventory import Finding, Status

MIB: Final = 2**20


@dataclass(frozen=True)
class Need:
    """One limit: its name in `resource`, what it bounds, what grading needs, how a shell and a batch job raise it."""

    name: str
    what: str
    least: int
    unit: int
    unit_name: str
    command: str
    in_a_batch_job: str = ""

    def format(self, amount: int) -> str:
        """Return an amount with its unit: "12,288 MiB"."""
        return f"{amount / self.unit:,.0f} {self.unit_name}".strip()


@dataclass(frozen=True)
class Limit:
    """A limit as it is. None: there is none."""

    need: Need
    most: int | None

    @property
    def suffices(self) -> bool:
        """Tell whether a right notebook gets its points under it."""
        return self.most is None or self.most >= self.need.least

    def __str__(self) -> str:
        """Return a sentence with the figures."""
        found = "unlimited" if self.most is None else self.need.format(self.most)
        return f"The limit on {self.need.what} is {found}; grading needs at least {self.need.format(self.need.least)}"


MEMORY: Final = "Slurm: --mem; Grid Engine: h_vmem"
TIME: Final = "Slurm: --time; Grid Engine: h_cpu"
# With each of them at exactly this figure the reference gets all its points in profile `structure`: `make fresh`.
NEEDS: Final = (
    Need("RLIMIT_AS", "address space of a process", 12_288 * MIB, MIB, "MiB", "ulimit -v unlimited", MEMORY),
    Need("RLIMIT_DATA", "data of a process", 6_144 * MIB, MIB, "MiB", "ulimit -d unlimited", MEMORY),
    Need("RLIMIT_FSIZE", "size of a file", 1_024 * MIB, MIB, "MiB", "ulimit -f unlimited"),
    Need("RLIMIT_CPU", "CPU time of a process", 600, 1, "s", "ulimit -t unlimited", TIME),
    Need("RLIMIT_NPROC", "processes and threads of this user", 512, 1, "", "ulimit -u 4096"),
    Need("RLIMIT_NOFILE", "open files of a process", 512, 1, "", "ulimit -n 1024"),
)


def read_limits() -> tuple[Limit, ...]:
    """Return the hard limits of this process; none on Windows, which has no such thing."""
    if sys.platform == "win32":
        return ()
    import resource

    hard = {need: resource.getrlimit(getattr(resource, need.name))[1] for need in NEEDS}
    return tuple(Limit(need, None if most == resource.RLIM_INFINITY else most) for need, most in hard.items())


def require_limits() -> None:
    """Raise the soft limits that grading needs higher. Raises GraderError where a hard limit is too low to grade."""
    _raise_soft_limits()
    if (finding := build_finding()).status is Status.MISSING:
        raise GraderError(f"{finding.detail}. {finding.hint}")


def build_finding() -> Finding:
    """Return the limits as a row for `doctor`."""
    low = [limit for limit in read_limits() if not limit.suffices]
    if not low:
        return Finding("limits", Status.OK, "those of this process suffice")
    commands = "; ".join(limit.need.command for limit in low)
    jobs = "; ".join(dict.fromkeys(limit.need.in_a_batch_job for limit in low if limit.need.in_a_batch_job))
    options = f" (in a batch job: {jobs})" if jobs else ""
    hint = f"Run `{commands}` and try again. If the shell refuses, ask the administrator to raise the limit{options}."
    return Finding("limits", Status.MISSING, ". ".join(map(str, low)), hint)


def _raise_soft_limits() -> None:
    if sys.platform == "win32":
        return
    import resource

    for need in NEEDS:
        kind = getattr(resource, need.name)
        soft, hard = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY and soft < need.least and soft != hard:
            wanted = need.least if hard == resource.RLIM_INFINITY else min(need.least, hard)
            with contextlib.suppress(OSError, ValueError):  # macOS allows fewer than it says
                resource.setrlimit(kind, (wanted, hard))
