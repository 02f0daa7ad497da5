"""Cold kernels: each has a supervisor in a process of its own (launch.py), which starts an interpreter for it.
That interpreter runs the text of inner.py inside the backend's walls. The kernel works on copies in the folder of this
kernel, whose size the supervisor watches.
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
from grader.sandbox.link import Link
from grader.sandbox.policy import Backend, SandboxPolicy, describe_error
from grader.sandbox.supervisor import KernelRequest
from grader.sandbox.walls import kernel_entry, namespaces
from grader.sandbox.walls.namespaces import Identity, hand_over

ANNOUNCE: Final = 1  # inner.py speaks on standard output
VISIBLE: Final = 0o022  # folders that lead to what the kernel's user may see can be entered, whatever ours should be
CLOSED: Final = (
    "notebooks run as a user of their own, who cannot enter {folders}, and root may not mount anything here ({why})"
)


@dataclass(frozen=True)
class KernelFolders:
    """The folders on disk that one kernel can write to."""

    folder: Path

    @classmethod
    def build(cls, request: KernelRequest, identity: Identity) -> "KernelFolders":
        """A copy of the job, and empty folders, owned by the kernel's user."""
        stage = cls(request.folder / "w")
        request.folder.chmod(0o711)  # the way to the folders below
        stage.folder.mkdir(mode=0o711)
        stage.folder.chmod(0o711)
        copy_in(request.workspace.job, stage.job)
        for part in (stage.evidence, stage.temporary, stage.home):
            part.mkdir()
        for part in (stage.job, stage.evidence, stage.temporary, stage.home):
            part.chmod(0o700)
        hand_over(stage.folder, identity)
        return stage

    @property
    def job(self) -> Path:
        return self.folder / "job"

    @property
    def evidence(self) -> Path:
        return self.folder / "evidence"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def home(self) -> Path:
        return self.folder / "home"


def build_inner_command(request: Mapping[str, Any]) -> list[str]:
    """The interpreter that becomes the kernel; `-I`: nothing from its folder or environment is imported."""
    return [sys.executable, "-I", "-c", kernel_entry.read_source(), json.dumps(request)]


def spawn(command: Sequence[str], descriptors: Sequence[int], before_exec: Callable[[], None]) -> tuple[int, int]:
    """Start a backend's command with the kernel's sockets: its pid, and a descriptor with what it says.

    What it says on either stream counts as coming from inner.py, and so does what fails before it begins: subprocess
    itself would only tell that something did. The supervisor reaps it, nobody else.
    """

    def enter() -> None:
        os.umask(VISIBLE)
        try:
            before_exec()
        except Exception as error:  # whatever it is, the grader has to hear of it
            os.write(ANNOUNCE, f"-{describe_error(error)}\n".encode()[:2000])
            os._exit(1)

    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=descriptors,
        preexec_fn=enter,  # safe: this process has one thread
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), **read_loader_variables()},
        cwd="/",
    )
    child.returncode = 0  # as far as subprocess is concerned
    assert child.stdout is not None
    return child.pid, os.dup(child.stdout.fileno())


def grant_access(policy: SandboxPolicy, stage: KernelFolders, identity: Identity) -> None:
    """As root, in a process that is about to exec: let the kernel's user reach what it will see.

    Containers do not let root mount anything; there it works if no folder on the way is closed. Raises OSError.
    """
    if not identity.dropped:
        return
    wanted = [*namespaces.list_shown_folders(policy), str(stage.folder)]
    if not any(map(namespaces.find_closed_folder, wanted)):
        return
    try:
        namespaces.enter_supervisor()
    except OSError as error:
        closed = sorted({folder for path in wanted if (folder := namespaces.find_closed_folder(path))})
        raise OSError(error.errno, CLOSED.format(folders=" ".join(closed), why=describe_error(error))) from error
    namespaces.reveal_only(wanted, identity)


def open_link(backend: Backend, policy: SandboxPolicy) -> Link:
    """Start a supervisor of this backend; the line to it."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-s", "-m", "grader.sandbox.backends.launch", backend.value, policy.to_json()]
    passed = ("PATH", "DOCKER_HOST", "XDG_RUNTIME_DIR", "HOME")
    environ = {**{name: os.environ[name] for name in passed if name in os.environ}, **read_loader_variables()}
    with theirs:
        supervisor = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env=environ,
            start_new_session=True,  # it has its line; ctrl-C would end it before it has cleared away
        )
    return Link(ours, at_close=supervisor.wait)  # it ends by itself when the line closes
