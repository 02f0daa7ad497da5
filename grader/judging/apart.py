"""Runs a piece of work on a student's bytes in a process of its own, with limits on memory and time.

    grader ── fork ──► child: reads evidence, recomputes, judges
       ◄── pipe: the name of each part as it begins, then one JSON value

The child is a copy of this process, so nothing is imported or loaded again. Whatever the bytes do, the grader itself
does not grow by them, waits no longer than it means to, and knows in which part the child was lost. Where processes
cannot be forked safely (other systems than Linux), the work is done in this process.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError

from grader.errors import DiskFullError, GraderError
from grader.model import Profile

MIB: Final = 2**20
# What honest work may take beyond what the process holds already. The reference takes 0.6 GiB in `structure` and
# 1.0 GiB in `quick` (largest VmData of the child, read fifty times a second). `full` was not measured.
MEMORY_MIB: Final = {Profile.STRUCTURE: 3_072, Profile.QUICK: 4_096, Profile.FULL: 5_120}
TIME_S: Final = {Profile.STRUCTURE: 120.0, Profile.QUICK: 1_800.0, Profile.FULL: 7_200.0}  # ample on a busy CPU
MAX_ANSWER_BYTES: Final = 64 * MIB
LOOK_S: Final = 0.5
DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG of prctl(2)
MAX_WORDS: Final = 300

Value = TypeVar("Value")
Begin = Callable[[str], None]
Send = Callable[[bytes, bytes], None]


class Line:
    """What a line of the child begins with."""

    BEGIN: Final = b"B"  # the name of a part
    ANSWER: Final = b"A"
    FAULT: Final = b"F"  # a GraderError
    FULL_DISK: Final = b"D"
    STOPPED: Final = b"S"
    LOST: Final = b"L"


@dataclass(frozen=True)
class Bounds:
    """The memory that the work may take beyond what this process holds, and its time."""

    memory_mib: int
    time_s: float
    threads: int = 1  # of torch

    @classmethod
    def of(cls, profile: Profile) -> "Bounds":
        """Return what is ample in a profile."""
        return cls(MEMORY_MIB[profile], TIME_S[profile])


class ChildLost(Exception):
    """The child ended without an answer. `part`: what it was doing; the message says how it ended, in words.

    `sudden`: it was killed, by what it did or by anybody else on this machine.
    """

    def __init__(self, part: str, how: str, sudden: bool = False) -> None:
        """Make the error."""
        super().__init__(how)
        self.part, self.sudden = part, sudden


def run_apart(work: Callable[[Begin], Value], kind: TypeAdapter[Value], bounds: Bounds) -> Value:
    """Return what `work` returns, which JSON can hold. It is given a function that hears what it begins with.

    Raises GraderError, and KeyboardInterrupt, as the work does; ChildLost when it ends in any other way.
    """
    if sys.platform != "linux":
        return work(lambda part: None)
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _serve(work, kind, replace(bounds, threads=max(_reserved, default=1)), writer)
    os.close(writer)
    try:
        return kind.validate_json(_Reader(reader, time.monotonic() + bounds.time_s).read_answer())
    except ValidationError as error:
        raise ChildLost("its answer", "it answered something that is no answer") from error
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


_reserved: list[int] = []  # how many threads of torch are left to children


def leave_threads_to_children(threads: int | None = None) -> None:
    """Have torch compute with one thread in this process from now on, and with all (or so many) in its children.

    OpenMP keeps the threads of a computation for the next one, and a forked child waits for those of its parent for
    ever. So a process whose torch has computed with several must not call this; its children compute with one.
    """
    if not _reserved:
        _reserved.append(threads or torch.get_num_threads())
        torch.set_num_threads(1)


class _Reader:
    """The grader's end of the pipe."""

    def __init__(self, pipe: int, deadline: float) -> None:
        self._pipe, self._deadline, self._data, self._part = pipe, deadline, bytearray(), "the beginning"

    def read_answer(self) -> bytes:
        """Return the answer. Raises ChildLost, GraderError, KeyboardInterrupt."""
        while True:
            kind, text = self._read_line()
            match kind:
                case Line.BEGIN:
                    self._part = text.decode("utf-8", "replace")[:100]
                case Line.ANSWER:
                    return text
                case Line.FAULT:
                    raise GraderError(text.decode("utf-8", "replace"))
                case Line.FULL_DISK:
                    raise DiskFullError(text.decode("utf-8", "replace"))
                case Line.STOPPED:
                    raise KeyboardInterrupt
                case _:
                    raise ChildLost(self._part, text.decode("utf-8", "replace")[:MAX_WORDS])

    def _read_line(self) -> tuple[bytes, bytes]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while b"\n" not in self._data:
                if time.monotonic() > self._deadline:
                    raise ChildLost(self._part, "it takes longer than any honest work does")
                if not selector.select(LOOK_S):
                    continue
                more = os.read(self._pipe, MIB)
                if not more or len(self._data) > MAX_ANSWER_BYTES:
                    how = "it ended without a word" if not more else "its answer has no end"
                    raise ChildLost(self._part, how, sudden=not more)
                self._data += more
        line, _, self._data = self._data.partition(b"\n")
        return bytes(line[:1]), bytes(line[1:])


def _serve(work: Callable[[Begin], Value], kind: TypeAdapter[Value], bounds: Bounds, writer: int) -> NoReturn:
    """Do the work in the child, and end it whatever happens: nothing of the grader's own may run on in it."""
    try:
        with os.fdopen(writer, "wb") as pipe:

            def send(line_kind: bytes, text: bytes) -> None:
                pipe.write(line_kind + text.replace(b"\n", b" ") + b"\n")
                pipe.flush()

            send(*_answer(work, kind, bounds, send))
    finally:
        os._exit(0)


def _answer(
    work: Callable[[Begin], Value], kind: TypeAdapter[Value], bounds: Bounds, send: Send
) -> tuple[bytes, bytes]:
    try:
        _confine(bounds)
        return Line.ANSWER, kind.dump_json(work(lambda part: send(Line.BEGIN, part.encode("utf-8", "replace"))))
    except DiskFullError as error:
        return Line.FULL_DISK, str(error).encode("utf-8", "replace")
    except GraderError as error:
        return Line.FAULT, str(error).encode("utf-8", "replace")
    except KeyboardInterrupt:
        return Line.STOPPED, b""
    except BaseException as error:  # beyond every boundary inside: the part is lost
        return Line.LOST, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:MAX_WORDS]


def _confine(bounds: Bounds) -> None:
    """Bound this process, and have it end with the grader."""
    import resource

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the grader gets it too, and ends this process
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
    allowed = int(held.split()[1]) * 1024 + bounds.memory_mib * MIB
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = allowed if hard == resource.RLIM_INFINITY else min(allowed, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    torch.set_num_threads(bounds.threads)
