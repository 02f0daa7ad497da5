"""Backend `bubblewrap`: bwrap (Debian package `bubblewrap`) makes the namespaces. Cold, otherwise like `warm`.

For machines where ordinary programs may not make user namespaces but bwrap may. As root the uid is dropped first,
since bwrap would otherwise run the kernel with root's uid, for which RLIMIT_NPROC means nothing and root's files are
readable; folders that keep that uid from the interpreter are opened for it in a private mount namespace
(`reveal_only`).

/dev and / are remounted read-only, because bwrap's tmpfs there has no size. Working directory and evidence are folders
on disk, watched by the supervisor; /tmp, /home and /dev/shm are sized tmpfs.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from functools import cache
from typing import Any

from grader.sandbox.backends.cold_kernel import (
    ANNOUNCE,
    KernelFolders,
    build_inner_command,
    grant_access,
    spawn,
)
from grader.sandbox.environment import build_environment, read_loader_variables
from grader.sandbox.policy import MIB, TEMPORARY_MIB, SandboxPolicy
from grader.sandbox.supervisor import Confinement, KernelRequest, RunningKernel
from grader.sandbox.walls import namespaces
from grader.sandbox.walls.namespaces import EVIDENCE, JOB, Identity, become


class Bubblewrap:
    """Launcher: a kernel below bwrap."""

    inet = True

    def start(
        self, request: KernelRequest, policy: SandboxPolicy, identity: Identity, confine: Confinement
    ) -> RunningKernel:
        stage = KernelFolders.build(request, identity)
        inside = confine.build_inner_request(
            request,
            folder=JOB,
            environ={**build_environment("/home", "/tmp"), "SANDBOX_EVIDENCE": EVIDENCE},
            announce=ANNOUNCE,
            filtered=True,
        )
        ear, mouth = os.pipe()
        program_ear = _open_readable(confine.build_filter())

        def before_exec() -> None:
            confine.enter()
            grant_access(policy, stage, identity)
            become(identity)

        whole = [
            *build_command(policy, stage, identity, info=mouth, seccomp=program_ear),
            "--",
            *build_inner_command(inside),
        ]
        process, announce = spawn(whole, [mouth, program_ear, *request.listeners.values()], before_exec)
        os.close(mouth)
        os.close(program_ear)
        last = _process_1(ear)

        def kill() -> None:
            if last is not None:
                _kill(last)
            os.kill(process, signal.SIGKILL)

        return RunningKernel(process, announce, stage.evidence, kill, last=last, writable=stage.folder)


def build_command(
    policy: SandboxPolicy, stage: KernelFolders, identity: Identity, *, info: int, seccomp: int
) -> list[str]:
    """bwrap and its options, up to the command to run.

    info, seccomp: descriptors, on which it names its child, and from which it reads the filter for that and process 1.
    """
    options = [
        "--unshare-user",
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--cap-drop",
        "ALL",
    ]
    options += ["--disable-userns"] if _version() >= (0, 8) else []  # seccomp denies them as well
    options += [
        "--hostname",
        "sandbox",
        "--info-fd",
        str(info),
        "--seccomp",
        str(seccomp),
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ]
    for name, value in read_loader_variables().items():
        options += ["--setenv", name, value]
    for path, target in namespaces.list_system_links(namespaces.list_shown_folders(policy)).items():
        options += ["--symlink", target, path]
    for path in namespaces.list_gpu_devices(policy):
        options += ["--dev-bind", path, path]
    for path in ("/dev/shm", "/tmp", "/home"):
        options += ["--size", str(min(TEMPORARY_MIB, policy.scratch_mib) * MIB), "--tmpfs", path]
    for path in namespaces.list_shown_folders(policy):  # after /tmp, in which one may lie
        options += ["--ro-bind", path, path]
    options += ["--ro-bind", _passwd(stage, identity), "/etc/passwd"]
    options += ["--bind", str(stage.job), JOB, "--bind", str(stage.evidence), EVIDENCE]
    return [find_program() or "bwrap", *options, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", JOB]


def find_program() -> str | None:
    """Where bwrap is, if it is installed."""
    return shutil.which("bwrap")


@cache
def _version() -> tuple[int, ...]:
    answer = subprocess.run(
        [find_program() or "bwrap", "--version"], capture_output=True, text=True, check=False
    ).stdout
    return tuple(int(part) for part in answer.split()[-1].split(".") if part.isdigit()) if answer else ()


def _passwd(stage: KernelFolders, identity: Identity) -> str:
    path = stage.folder / "passwd"
    path.write_text(namespaces.format_passwd(identity), encoding="ascii")
    path.chmod(0o644)
    return str(path)


def _open_readable(data: bytes) -> int:
    """A descriptor from which `data`, shorter than a pipe is, can be read."""
    ear, mouth = os.pipe()
    os.write(mouth, data)
    os.close(mouth)
    return ear


def _process_1(ear: int) -> int | None:
    """A pidfd of bwrap's process 1, whose end ends every process in there; None when bwrap failed before."""
    with os.fdopen(ear, "rb") as stream:
        text = stream.read()
    try:
        answer: dict[str, Any] = json.loads(text)
        return os.pidfd_open(answer["child-pid"])
    except (ValueError, KeyError, OSError):
        return None


def _kill(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
