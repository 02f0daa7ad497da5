"""Limits that this process was given by its shell, its batch system or its container, and that kernels inherit.

A limit that is too low shows as a student's mistake: an import that fails, a file that cannot be written. So nobody is
graded below what a right notebook needs. A limit that may be raised (the soft one, up to the hard one) is raised.
"""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from grader.errors import GraderError
from grader.machine.inventory import Finding, Status

MIB: Final = 2**20
UNLIMITED: Final = "unlimited"


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


@dataclass(frozen=True)
class Limit:
    """A limit as it is. None: there is none."""

    need: Need
    most: int | None

    @property
    def suffices(self) -> bool:
        """Whether a right notebook gets its points under it."""
        return self.most is None or self.most >= self.need.least

    def __str__(self) -> str:
        """With its figures."""
        need = self.need
        found = UNLIMITED if self.most is None else f"{self.most / need.unit:,.0f} {need.unit_name}".strip()
        least = f"{need.least / need.unit:,.0f} {need.unit_name}".strip()
        return f"The limit on {need.what} is {found}; at least {least} is needed"


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
    """The limits of this process; none on systems that have no such thing."""
    if sys.platform == "win32":
        return ()
    import resource

    return tuple(_limit(resource.getrlimit(getattr(resource, need.name))[1], need) for need in NEEDS)


def _limit(most: int, need: Need) -> Limit:
    import resource  # not on Windows

    return Limit(need, None if most == resource.RLIM_INFINITY else most)


def require_limits() -> None:
    """Raise what may be raised. Raises GraderError where a hard limit is too low to grade."""
    _raise_soft_limits()
    if low := tuple(_find_too_low()):
        raise GraderError(f"{'. '.join(map(str, low))}. {_advice(low)}")


def build_finding() -> Finding:
    """The limits as a row for `doctor`."""
    low = tuple(_find_too_low())
    if not low:
        return Finding("limits", Status.OK, "what this process was given suffices")
    return Finding("limits", Status.MISSING, ". ".join(map(str, low)), _advice(low))


def _advice(low: tuple[Limit, ...]) -> str:
    commands = "; ".join(limit.need.command for limit in low)
    jobs = "; ".join(dict.fromkeys(limit.need.in_a_batch_job for limit in low if limit.need.in_a_batch_job))
    asked = f" (in a batch job: {jobs})" if jobs else ""
    return f"Run `{commands}` and try again; where that is refused, whoever started this shell set the limit{asked}."


def _find_too_low() -> Iterator[Limit]:
    return (limit for limit in read_limits() if not limit.suffices)


def _raise_soft_limits() -> None:
    if sys.platform == "win32":
        return
    import resource

    for need in NEEDS:
        kind = getattr(resource, need.name)
        soft, hard = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY and soft < need.least and soft != hard:
            with contextlib.suppress(OSError, ValueError):  # macOS allows fewer than it says
                resource.setrlimit(
                    kind, (min(need.least, hard) if hard != resource.RLIM_INFINITY else need.least, hard)
                )
