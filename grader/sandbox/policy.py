"""The words of this package: what a kernel may use, where it works, and how it ended.

Importable on every platform; nothing here touches the system.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
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
    NONE = "none"  # a plain process; never chosen, only asked for


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
    """What one kernel may use. There is no network in any case.

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
    scratch_mib: int = 2048  # working directory, evidence, /tmp and /dev/shm together
    inodes: int = 20_000
    evidence_mib: int = 1024  # what may leave the sandbox
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
    """What one kernel works on.

    job: host folder; the kernel's working directory is a copy of it, so it never changes.
    evidence: host folder; whatever regular files the kernel leaves in its own evidence folder (named by the environment
        variable SANDBOX_EVIDENCE) are copied here after the kernel is dead.
    environ: added to a small fixed environment. What a library reads while it is imported must stand in
        `Warmup.environ`. PYTHONPATH works.
    """

    job: Path
    evidence: Path
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Warmup:
    """What a warm kernel has imported before the request comes. Nothing here may start threads or touch a GPU."""

    modules: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a kernel ended. An exit code of 0 is a dead kernel all the same.

    fault: our own failure (the supervisor vanished, the sandbox could not be built); None otherwise.
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
        values = {f.name: message[f.name] for f in fields(cls) if f.name in message}
        stop = values.get("stopped_by")
        return cls(
            **{
                **values,
                "stopped_by": Stop(stop) if stop else None,
                "evidence": tuple(values.get("evidence", ())),
                "refused": tuple(values.get("refused", ())),
            }
        )


def describe_error(error: BaseException) -> str:
    """What an exception says, without the number that Python puts before what the system said."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    return str(error)


STARTED: Final = "a sandbox starts"  # the first claim, without which there is no other


@dataclass(frozen=True)
class SandboxClaim:
    """One sentence of a backend's self-test, and whether it held."""

    name: str
    holds: bool
    detail: str = ""
