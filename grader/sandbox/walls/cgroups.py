"""Limits by control groups: the only sound bound on memory, since the kernel counts every page for us.

One group per sandbox, made beside (version 1) or below the grader's own group, with a limit on memory and, where that
controller can be had, on processes. Version 1 hierarchies are writable by root; version 2 needs either root or a
subtree that was delegated to the user (`systemd-run --user --scope -p Delegate=yes`, most batch systems, containers).
A group that runs out of memory has one of its processes killed by the kernel; the supervisor sees the count and ends
the rest.

`Group.create` returns None where nothing can be made: watchdog.py then does what can be done without.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

import psutil

from grader.sandbox.policy import MIB, SandboxPolicy

PREFIX: Final = "grader-sandbox-"  # and the supervisor's pid
REMOVED_S: Final = 10.0
STALE_S: Final = 60.0
NEARLY: Final = 0.98  # of the limit: the last pages are charged in groups
ROOT: Final = Path("/sys/fs/cgroup")
OWN_GROUPS: Final = Path("/proc/self/cgroup")


class MemoryMeter(Protocol):
    """What the supervisor asks about memory while a kernel runs."""

    def is_exceeded(self) -> bool:
        """Whether the sandbox holds too much now. Asked twenty times a second."""
        ...

    def was_exceeded(self) -> bool:
        """Whether something was killed because the sandbox held too much. Asked once, afterwards."""
        ...

    def was_starved(self) -> bool:
        """Whether something was killed because the machine, or a group around the sandbox, had no memory left."""
        ...

    def peak_mib(self) -> float: ...


@dataclass(frozen=True)
class _Files:
    """What one version calls its files."""

    memory_limit: str
    process_limit: str
    peak: str
    events: str


VERSION_1: Final = _Files("memory.limit_in_bytes", "pids.max", "memory.max_usage_in_bytes", "memory.oom_control")
VERSION_2: Final = _Files("memory.max", "pids.max", "memory.peak", "memory.events")


@dataclass(frozen=True)
class Group:
    """One control group: a folder in each hierarchy that it uses. The first one holds the memory controller."""

    folders: tuple[Path, ...]
    files: _Files

    @classmethod
    def create(cls, name: str, policy: SandboxPolicy, root: Path = ROOT, own: Path = OWN_GROUPS) -> Self | None:
        """A new group with the policy's limits, or None when this user may not make one."""
        for parents, files in _candidates(root, own):
            group = cls(tuple(parent / name for parent in parents), files)
            _sweep(parents)
            try:
                group._make(policy)
            except OSError:
                group.remove()
                continue
            return group
        return None

    def enter(self) -> None:
        """Move the calling process in."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text("0", encoding="ascii")

    def is_exceeded(self) -> bool:
        return self.was_exceeded()

    def was_exceeded(self) -> bool:
        return self._was_killed() and self._was_full()

    def was_starved(self) -> bool:
        return self._was_killed() and not self._was_full()

    def _was_killed(self) -> bool:
        """Whether a process of the group fell to the system's killer, whoever called it."""
        return self._count(self.files.events, "oom_kill") > 0

    def _was_full(self) -> bool:
        """Whether the group's own limit was reached: version 2 counts that, version 1 knows the peak."""
        if self.files is VERSION_2:
            return self._count(self.files.events, "oom") > 0
        limit = self._read(self.files.memory_limit).strip()
        return limit.isdigit() and self.peak_mib() >= NEARLY * int(limit) / MIB

    def _count(self, name: str, key: str) -> int:
        lines = (line.split() for line in self._read(name).splitlines())
        return next((int(line[1]) for line in lines if line[0] == key), 0)

    def peak_mib(self) -> float:
        text = self._read(self.files.peak).strip()
        return int(text) / MIB if text.isdigit() else 0.0

    def remove(self) -> None:
        """Remove the group once its processes are gone, which the kernel may report late on a busy machine."""
        deadline = time.monotonic() + REMOVED_S
        for folder in self.folders:
            while folder.exists() and time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    break
                time.sleep(0.01)

    def _make(self, policy: SandboxPolicy) -> None:
        for folder in self.folders:
            folder.mkdir()
        memory = self.folders[0]
        (memory / self.files.memory_limit).write_text(str(policy.memory_mib * MIB), encoding="ascii")
        for swap, limit in (("memory.memsw.limit_in_bytes", str(policy.memory_mib * MIB)), ("memory.swap.max", "0")):
            with contextlib.suppress(OSError):  # absent where swap is not counted
                _write_existing(memory / swap, limit)
        (self.folders[-1] / self.files.process_limit).write_text(str(policy.processes), encoding="ascii")

    def _read(self, name: str) -> str:
        try:
            return (self.folders[0] / name).read_text(encoding="ascii")
        except OSError:
            return ""  # memory.peak exists from Linux 5.19 on


def find_own_name() -> str:
    """Of the calling supervisor's group."""
    return f"{PREFIX}{os.getpid()}"


def _sweep(parents: Iterable[Path]) -> None:
    """Remove what supervisors left that were killed before they could. A group with processes in it stays."""
    for folder in (folder for parent in parents for folder in parent.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError, ValueError):
            old = time.time() - folder.stat().st_mtime > STALE_S
            if old and not psutil.pid_exists(int(folder.name.removeprefix(PREFIX))):
                folder.rmdir()


def can_make_groups() -> bool:
    """Whether this user may make groups here: one is made and removed."""
    group = Group.create(find_own_name(), SandboxPolicy())
    if group is not None:
        group.remove()
    return group is not None


def _candidates(root: Path, own: Path) -> Iterator[tuple[tuple[Path, ...], _Files]]:
    """Where a group might be made: the version 1 hierarchies, then version 2 from the own group upwards."""
    try:
        lines = own.read_text(encoding="ascii").splitlines()
    except OSError:
        return
    places = {
        controller: path for _, names, path in (line.split(":", 2) for line in lines) for controller in names.split(",")
    }
    if {"memory", "pids"} <= places.keys():
        parents = tuple(_find_visible(root / name, places[name]) for name in ("memory", "pids"))
        yield parents, VERSION_1
    if "" in places and (root / "cgroup.controllers").exists():
        start = _find_visible(root, places[""])
        for parent in (start, *(p for p in start.parents if p == root or root in p.parents)):
            _enable_controllers(parent)
            yield (parent,), VERSION_2


def _find_visible(hierarchy: Path, path: str) -> Path:
    """The group's folder, or the top of the hierarchy where a container hides what lies above."""
    folder = hierarchy / path.lstrip("/")
    return folder if folder.is_dir() else hierarchy


def _enable_controllers(parent: Path) -> None:
    with contextlib.suppress(OSError):  # refused where processes sit in the group itself: then the next one up is tried
        control = parent / "cgroup.subtree_control"
        if not {"memory", "pids"} <= set(control.read_text(encoding="ascii").split()):
            control.write_text("+memory +pids", encoding="ascii")


def _write_existing(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)
