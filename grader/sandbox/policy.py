"""The words of this package: what a kernel may use, where it works, and how it ended. For every platform."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self

MIB: Final = 1 << 20
SCRATCH: Final = PurePosixPath("/tmp/huggingface")  # for caches of libraries, in a kernel's own /tmp
TEMPORARY_MIB: Final = 256  # each of /tmp, /home, /dev/shm in the backends that mount them one by one


class Backend(StrEnum):
    """The ways to isolate a kernel, best first."""

    WARM = "warm"  # own namespaces around a kernel forked from a process that has imported everything
    BUBBLEWRAP = "bubblewrap"  # bwrap, cold
    CONTAINER = "container"  # podman or docker, cold
    LANDLOCK = "landlock"  # Landlock and seccomp, cold; reduced: see landlock.py
    NONE = "none"  # a plain process; used only where a caller names it


class Stop(StrEnum):
    """Why a kernel was stopped. Recorded before anything is killed."""

    MEMORY = "memory"
    WALL = "wall"
    CPU = "cpu"
    DISK = "disk"
    OUTPUT = "output"
    PROTOCOL = "protocol"  # a message that no honest kernel sends


@dataclass(frozen=True, kw_only=True)
class SandboxPolicy:
    """The means of one kernel. There is never a network.

    `read_only` folders appear at their own path; every file in them must be readable by others, since a grader that
    runs as root hands its kernels to an unprivileged user. The interpreter's own folders are always shown.
    """

    memory_mib: int = 4096
    cpu_s: int = 600  # of one process
    wall_s: float = 600
    processes: int = 256  # threads count too
    threads: int = 2  # that numeric libraries start by themselves
    file_mib: int = 1024  # one file
    open_files: int = 512
    scratch_mib: int = 2048  # working directory, /tmp, /home and /dev/shm together
    inodes: int = 20_000
    evidence_mib: int = 1024  # beside it: what may leave the sandbox
    evidence_files: int = 256
    output_mib: int = 64  # messages from the kernel, all together
    output_messages: int = 200_000
    gpus: bool = False  # NVIDIA's devices are there; without control groups the bound on memory is weaker then
    read_only: tuple[Path, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        return cls(**{**values, "read_only": tuple(map(Path, values["read_only"]))})


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The folders and variables of one kernel.

    job: host folder; the kernel's working directory is a copy of it, so it never changes.
    evidence: host folder; the regular files that the kernel leaves in its own evidence folder (named by the environment
        variable SANDBOX_EVIDENCE) are copied here after the kernel is dead.
    environ: added to a small fixed environment. A variable that a library reads while it is imported belongs into
        `Warmup.environ`. PYTHONPATH works.
    """

    job: Path
    evidence: Path
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Warmup:
    """The imports of a warm kernel before its request comes. They must neither start threads nor touch a GPU."""

    modules: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The end of a kernel. An exit code of 0 is a dead kernel too.

    fault: a failure of the grader or its set-up (no supervisor, no sandbox); None otherwise.
    evidence, refused: paths relative to the evidence folder that were copied, and those that were not, with the reason.
    """

    exit_code: int | None = None  # negative: the signal that ended it
    stopped_by: Stop | None = None
    peak_memory_mib: float = 0.0
    evidence: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    fault: str | None = None

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Self:
        """Read what `asdict` and JSON have made of an ending."""
        stop, lists = message["stopped_by"], {name: tuple(message[name]) for name in ("evidence", "refused")}
        return cls(**{**message, **lists, "stopped_by": Stop(stop) if stop else None})


def describe_error(error: BaseException) -> str:
    """Return the words of an exception, without the number that Python puts before those of the system."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    return str(error)


@dataclass(frozen=True)
class SandboxClaim:
    """One promise of a backend, tried in its self-test."""

    name: str
    holds: bool
    detail: str = ""
