"""The common part of cold backends: an interpreter that runs the text of kernel_entry.py inside the backend's walls.

Each kernel has its supervisor in a process of its own (launch.py) and works on copies in the folder of this kernel,
whose size the supervisor watches.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from grader.paths import ROOT
from grader.sandbox.environment import read_loader_variables
from grader.sandbox.handover import copy_in
from grader.sandbox.link import KernelRequest, Link
from grader.sandbox.policy import Backend, SandboxPolicy, describe_error
from grader.sandbox.supervisor import Confinement
from grader.sandbox.walls import kernel_entry, namespaces
from grader.sandbox.walls.namespaces import Identity, hand_over

ANNOUNCE: Final = 1  # kernel_entry.py reports on standard output
VISIBLE: Final = 0o022  # an umask: others can enter folders that lead to what the kernel's user may see
CLOSED: Final = "notebooks run as a separate user, who cannot enter {}, and root may not mount anything here ({})"
PASSED_ON: Final = ("PATH", "DOCKER_HOST", "XDG_RUNTIME_DIR", "HOME")  # to a supervisor: container runtimes read them


@dataclass(frozen=True)
class KernelFolders:
    """The folders on disk that one kernel can write to."""

    folder: Path
    job: Path
    evidence: Path
    temporary: Path
    home: Path

    @classmethod
    def build(cls, request: KernelRequest, identity: Identity) -> "KernelFolders":
        """Make a copy of the job, and empty folders, owned by the kernel's user."""
        top = request.folder / "w"
        folders = cls(top, *(top / name for name in ("job", "evidence", "tmp", "home")))
        request.folder.chmod(0o711)  # the way to the folders below
        top.mkdir(mode=0o711)
        top.chmod(0o711)
        copy_in(request.workspace.job, folders.job)
        for part in (folders.job, folders.evidence, folders.temporary, folders.home):
            part.mkdir(exist_ok=True)
            part.chmod(0o700)
        hand_over(top, identity)
        return folders


def build_entry_command(request: Mapping[str, Any]) -> list[str]:
    """Return the interpreter that becomes the kernel; `-I`: it imports nothing from its folder or environment."""
    return [sys.executable, "-I", "-c", kernel_entry.read_source(), json.dumps(request)]


def spawn(command: Sequence[str], descriptors: Sequence[int], before_exec: Callable[[], None]) -> tuple[int, int]:
    """Start a backend's command with the kernel's sockets. Return its pid, and a descriptor with what it prints.

    Output on either stream counts as coming from kernel_entry.py, and so does an error before it begins, of which
    subprocess itself would tell only that there was one. The supervisor alone reaps the process.
    """

    def enter() -> None:
        os.umask(VISIBLE)
        try:
            before_exec()
        except Exception as error:  # any error has to reach the grader
            os.write(ANNOUNCE, f"-{describe_error(error)}\n".encode()[:2000])
            os._exit(1)

    environ = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), **read_loader_variables()}
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    # preexec_fn is safe: this process has one thread
    child = subprocess.Popen(command, pass_fds=descriptors, preexec_fn=enter, env=environ, cwd="/", **streams)
    child.returncode = 0  # so that subprocess does not wait for it
    assert child.stdout is not None
    return child.pid, os.dup(child.stdout.fileno())


def grant_access(confine: Confinement, folders: KernelFolders) -> None:
    """As root, in a process that is about to exec: let the kernel's user reach what it will see.

    In a container root may not mount anything; there it works if no folder on the way is closed. Raises OSError.
    """
    if not confine.identity.dropped:
        return
    wanted = [*namespaces.list_shown_folders(confine.policy), str(folders.folder)]
    closed = sorted({folder for path in wanted if (folder := namespaces.find_closed_folder(path))})
    if not closed:
        return
    try:
        namespaces.enter_supervisor()
    except OSError as error:
        raise OSError(error.errno, CLOSED.format(" ".join(closed), describe_error(error))) from error
    namespaces.reveal_only(wanted, confine.identity)


def open_link(backend: Backend, policy: SandboxPolicy) -> Link:
    """Start a supervisor of this backend and return the link to it."""
    own_end, other_end = socket.socketpair()
    command = [sys.executable, "-s", "-m", "grader.sandbox.backends.launch", backend.value, policy.to_json()]
    environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | read_loader_variables()
    options: dict[str, Any] = {"cwd": ROOT, "env": environ, "stdin": other_end.fileno(), "stdout": subprocess.DEVNULL}
    with other_end:  # a session of its own, since the link ends it; ctrl-C would end it before it has cleaned up
        supervisor = subprocess.Popen(command, start_new_session=True, **options)
    return Link(own_end, at_close=supervisor.wait)  # it ends by itself when the link closes
