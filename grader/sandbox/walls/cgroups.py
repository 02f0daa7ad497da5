"""Limits by control groups: the only sound bound on memory, since Linux counts every page.

Each sandbox has one group, made beside (version 1) or below the grader's own group, with limits on memory and
processes. Version 1 hierarchies are writable by root; version 2 needs either root or a subtree that was delegated to
the user (`systemd-run --user --scope -p Delegate=yes`, most batch systems, containers). In a group that runs out of
memory, Linux kills one process; the supervisor sees the count and ends the rest. Where no group can be made,
watchdog.py bounds memory.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Self

import psutil

from grader.sandbox.policy import MIB, SandboxPolicy

PREFIX: Final = "grader-sandbox-"  # and the supervisor's pid
REMOVED_S: Final = 10.0
STALE_S: Final = 60.0
NEARLY: Final = 0.98  # of the limit: the last pages are charged in groups
ROOT: Final = Path("/sys/fs/cgroup")
OWN_GROUPS: Final = Path("/proc/self/cgroup")


class MemoryMeter:
    """The supervisor's questions about memory while a kernel runs, with the answers where nothing is known."""

    def is_exceeded(self) -> bool:
        """Tell whether the sandbox holds too much now. Asked twenty times a second."""
        return self.was_exceeded()

    def was_exceeded(self) -> bool:
        """Tell whether something was killed because the sandbox held too much. Asked once, afterwards."""
        return False

    def was_starved(self) -> bool:
        """Tell whether something was killed because the machine, or a group around the sandbox, had no memory left."""
        return False

    def peak_mib(self) -> float:
        """Return the most memory that the sandbox held."""
        return 0.0


class GroupFiles(NamedTuple):
    """The names of the files in a group of one version."""

    memory_limit: str
    process_limit: str
    peak: str
    events: str


VERSION_1: Final = GroupFiles("memory.limit_in_bytes", "pids.max", "memory.max_usage_in_bytes", "memory.oom_control")
VERSION_2: Final = GroupFiles("memory.max", "pids.max", "memory.peak", "memory.events")


@dataclass(frozen=True)
class Group(MemoryMeter):
    """One control group: a folder in each hierarchy that it uses. The first one holds the memory controller."""

    folders: tuple[Path, ...]
    files: GroupFiles

    @classmethod
    def create(cls, policy: SandboxPolicy, root: Path = ROOT, own: Path = OWN_GROUPS) -> Self | None:
        """Make a group of this process with the policy's limits; None when this user may not make one."""
        for parents, files in _list_places(root, own):
            group = cls(tuple(parent / f"{PREFIX}{os.getpid()}" for parent in parents), files)
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

    def was_exceeded(self) -> bool:
        return self._read(self.files.events, "oom_kill") > 0 and self._was_full()

    def was_starved(self) -> bool:
        return self._read(self.files.events, "oom_kill") > 0 and not self._was_full()

    def peak_mib(self) -> float:
        return self._read(self.files.peak) / MIB  # memory.peak exists from Linux 5.19 on

    def _was_full(self) -> bool:
        """Tell whether the group's own limit was reached: version 2 counts that, version 1 knows the peak."""
        if self.files is VERSION_2:
            return self._read(self.files.events, "oom") > 0
        limit = self._read(self.files.memory_limit)
        return limit > 0 and self.peak_mib() >= NEARLY * limit / MIB

    def _read(self, name: str, key: str = "") -> int:
        return read_number(self.folders[0] / name, key)

    def remove(self) -> None:
        """Remove the group once its processes are gone, which Linux may report late on a busy machine."""
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
            # absent where swap is not counted
            with contextlib.suppress(OSError), (memory / swap).open("r+b", buffering=0) as file:
                file.write(limit.encode("ascii"))
        (self.folders[-1] / self.files.process_limit).write_text(str(policy.processes), encoding="ascii")


def read_number(file: Path, key: str = "") -> int:
    """Return the number after `key` in a file of Linux, or the file's only one; 0 where there is none."""
    try:
        lines = [line.split() for line in file.read_text(encoding="ascii").splitlines()]
    except OSError:
        return 0
    words = next((line[bool(key) :] for line in lines if not key or line[:1] == [key]), [])
    return int(words[0]) if words and words[0].isdigit() else 0


def _sweep(parents: Iterable[Path]) -> None:
    """Remove what killed supervisors left. A group with processes in it stays."""
    for folder in (folder for parent in parents for folder in parent.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError, ValueError):
            old = time.time() - folder.stat().st_mtime > STALE_S
            if old and not psutil.pid_exists(int(folder.name.removeprefix(PREFIX))):
                folder.rmdir()


def can_make_groups() -> bool:
    """Tell whether this user may make groups here: one is made and removed."""
    if group := Group.create(SandboxPolicy()):
        group.remove()
    return group is not None


def _list_places(root: Path, own: Path) -> Iterator[tuple[tuple[Path, ...], GroupFiles]]:
    """Yield where a group might be made: the version 1 hierarchies, then version 2 from the own group upwards."""
    try:
        lines = own.read_text(encoding="ascii").splitlines()
    except OSError:
        return
    groups = [line.split(":", 2) for line in lines]
    places = {controller: path for _, names, path in groups for controller in names.split(",")}
    if {"memory", "pids"} <= places.keys():
        yield tuple(_find_visible(root / name, places[name]) for name in ("memory", "pids")), VERSION_1
    if "" in places and (root / "cgroup.controllers").exists():
        start = _find_visible(root, places[""])
        for parent in (start, *(p for p in start.parents if p == root or root in p.parents)):
            _enable_controllers(parent)
            yield (parent,), VERSION_2


def _find_visible(hierarchy: Path, path: str) -> Path:
    """Return the group's folder, or the top of the hierarchy where a container hides what lies above."""
    folder = hierarchy / path.lstrip("/")
    return folder if folder.is_dir() else hierarchy


def _enable_controllers(parent: Path) -> None:
    with contextlib.suppress(OSError):  # refused where processes sit in the group itself: then the next one up is tried
        control = parent / "cgroup.subtree_control"
        if not {"memory", "pids"} <= set(control.read_text(encoding="ascii").split()):
            control.write_text("+memory +pids", encoding="ascii")
