"""Backend `landlock`: a plain process with Landlock and seccomp, for machines without any namespaces. Reduced.

Landlock (Linux 5.13; as an ordinary user 6.12) takes away, without any privilege, access to all files but those listed,
TCP, abstract unix sockets and signals to outsiders. Seccomp takes away internet sockets and connect(), and what
Landlock does not check: the kernel's user is the grader's, whose files it could otherwise give another mode, and whose
processes other limits (seccomp.py). Compared with namespaces, the kernel sees that other processes and files exist,
/proc and /dev/shm are closed (so data loaders cannot have workers), disk is bounded only by looking, and processes that
outlive the kernel are found as descendants of the supervisor; if the supervisor itself is killed hard, they stay.

PyPI's `sandlock` does not replace this file: it cannot restrict in place a process that was forked from the zygote.
With it, the rules on TCP, on the error numbers of denied calls and on the arguments of calls would be lost.
"""

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

import psutil

from grader.sandbox.backends.cold_kernel import ANNOUNCE, KernelFolders, build_entry_command, grant_access, spawn
from grader.sandbox.environment import build_environment
from grader.sandbox.link import KernelRequest
from grader.sandbox.policy import SCRATCH
from grader.sandbox.supervisor import Confinement, RunningKernel
from grader.sandbox.walls import namespaces
from grader.sandbox.walls.namespaces import become, die_with_parent

CREATE, ADD, RESTRICT = 444, 445, 446  # the same numbers on every architecture
ASK_VERSION, BELOW_PATH, BECOME_SUBREAPER = 1, 1, 36

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHARACTER_DEVICE, MAKE_BLOCK_DEVICE = 1 << 6, 1 << 11
FILE_RIGHTS_OF_VERSION: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many bits exist; later versions add none
TCP_RIGHTS, SCOPES = 0b11, 0b11  # bind and connect; abstract sockets and signals
ON_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14 | 1 << 15  # the others are refused for a single file
HARMLESS_FILES: Final = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/filesystems")


def start_kernel(request: KernelRequest, confine: Confinement) -> RunningKernel:
    """Start a kernel under Landlock."""
    folders = KernelFolders.build(request, confine.identity)
    inside = confine.build_entry_request(
        _move_scratch(request, folders.temporary),
        ANNOUNCE,
        confine.build_filter(network_namespace=False),
        environ=build_environment(str(folders.home), str(folders.temporary), str(folders.evidence)),
        folder=str(folders.job),
    )
    if not confine.identity.dropped:  # the limit counts all processes of the user
        found = [process.info for process in psutil.process_iter(["uids", "num_threads"])]
        own = [info for info in found if info["uids"] and info["uids"].real == confine.identity.uid]
        inside["limits"]["RLIMIT_NPROC"] += sum(info["num_threads"] or 0 for info in own)
    ctypes.CDLL(None).prctl(BECOME_SUBREAPER, 1, 0, 0, 0)

    def before_exec() -> None:
        confine.enter()
        grant_access(confine, folders)
        os.setsid()
        become(confine.identity)
        die_with_parent()
        restrict(
            readable=[*namespaces.list_shown_folders(confine.policy), *HARMLESS_FILES],
            writable=map(str, (folders.job, folders.evidence, folders.temporary, folders.home)),
            devices=[*namespaces.DEVICES, *namespaces.list_gpu_devices(confine.policy)],
        )

    process, announce = spawn(build_entry_command(inside), list(request.listeners.values()), before_exec)
    return RunningKernel(process, announce, folders.evidence, kill_descendants, writable=folders.folder)


def _move_scratch(request: KernelRequest, temporary: Path) -> KernelRequest:
    """Point the variables that name a folder in the kernel's own /tmp, which is missing here, to `temporary`."""
    scratch, here = str(SCRATCH), str(temporary / SCRATCH.name)
    moved = {name: value.replace(scratch, here) for name, value in request.workspace.environ.items()}
    return replace(request, workspace=replace(request.workspace, environ=moved))


def get_version() -> int:
    """Return the Landlock version of the running Linux; 0 where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(CREATE, None, ctypes.c_size_t(0), ASK_VERSION)))


def restrict(*, readable: Iterable[str], writable: Iterable[str], devices: Iterable[str]) -> None:
    """Close all paths but these to this process and its children, for good. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    abi = get_version()
    everything = (1 << FILE_RIGHTS_OF_VERSION[min(abi, 5)]) - 1 if abi else 0
    attributes = struct.pack("QQQ", everything, TCP_RIGHTS if abi >= 4 else 0, SCOPES if abi >= 6 else 0)
    ruleset = _check(libc.syscall(CREATE, attributes, ctypes.c_size_t(8 * (1 + (abi >= 4) + (abi >= 6))), 0))
    rights = dict.fromkeys(readable, EXECUTE | READ_FILE | READ_DIR)
    rights |= dict.fromkeys(devices, WRITE_FILE | READ_FILE | 1 << 15)
    rights |= dict.fromkeys(writable, everything & ~(MAKE_CHARACTER_DEVICE | MAKE_BLOCK_DEVICE))
    for path, allowed in rights.items():
        _allow(libc, ruleset, path, allowed & everything)
    libc.prctl(namespaces.NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _check(libc.syscall(RESTRICT, ruleset, 0))
    os.close(ruleset)


def kill_descendants() -> None:
    """Stop everything below this process first, so that nothing forks away, then kill it."""
    stopped: set[psutil.Process] = set()
    while found := set(psutil.Process().children(recursive=True)) - stopped:
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        stopped |= found
    for process in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, allowed: int) -> None:
    if not Path(path).exists():
        return
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = struct.pack("=Qi", allowed if Path(path).is_dir() else allowed & ON_FILES, handle)
    try:
        _check(libc.syscall(ADD, ruleset, BELOW_PATH, rule, 0))
    finally:
        os.close(handle)


def _check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"landlock: {os.strerror(ctypes.get_errno())}")
    return result
