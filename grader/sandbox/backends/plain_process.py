"""Backend `none`: a plain process on this machine, for a student's own code and for `--unsafe-no-sandbox`.

It isolates nothing. It keeps the other promises as far as a plain process can, on every platform: the kernel works on a
copy of the job, the same code copies its evidence out, its messages are counted and checked, and its wall-clock limit
is looked at whenever the caller asks whether the kernel lives. Memory, processes and disk are not limited.
"""

import os
import signal
import site
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from jupyter_client.connect import KernelConnectionInfo

from grader.sandbox.folders import find_short_place
from grader.sandbox.handover import collect, copy_in
from grader.sandbox.manager import BoundedManager, StoppableProvisioner
from grader.sandbox.policy import Ending, SandboxPolicy, Stop, Workspace

# What a Python process needs of its parent's environment on one of the systems. Nothing else is passed on: variables
# hold keys, and say where held-out reviews are.
PASSED_ON: Final = (
    *("PATH", "LANG", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"),
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "TEMP", "TMP", "NUMBER_OF_PROCESSORS"),
)
HOMES: Final = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA")  # of either system: a scratch folder, for caches


class PlainProvisioner(StoppableProvisioner):
    """The life of one kernel in a child process."""

    parent: "PlainManager"

    def __init__(self, *, policy: SandboxPolicy, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._policy, self._workspace = policy, workspace
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline_s = 0.0
        self.reason: Stop | None = None

    @property
    def has_process(self) -> bool:
        return self._process is not None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        self.parent.write_connection_file()
        return {"cmd": [sys.executable, "-m", "ipykernel_launcher", "-f", self.parent.connection_file]}

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        folder = self.parent.folder
        copy_in(self._workspace.job, folder / "job")
        for name in ("evidence", "home"):
            (folder / name).mkdir()
        environ = {**build_plain_environment(folder, self._policy.threads), **self._workspace.environ}
        nowhere: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        self._process = subprocess.Popen(cmd, cwd=folder / "job", env=environ, start_new_session=True, **nowhere)
        self._deadline_s = time.monotonic() + self._policy.wall_s
        return self.parent.get_connection_info()

    async def poll(self) -> int | None:
        if self._process is None:
            return 1
        if self._process.poll() is None and time.monotonic() > self._deadline_s:
            self.stop(Stop.WALL)
        return self._process.poll()

    def stop(self, reason: Stop | None) -> None:
        """Record the reason and kill the kernel with its process group."""
        if self._process is None or self._process.poll() is not None:
            return
        self.reason = self.reason or reason
        if sys.platform == "win32":
            self._process.kill()
        else:
            os.killpg(self._process.pid, signal.SIGKILL)


def build_plain_environment(folder: Path, threads: int) -> dict[str, str]:
    """Return the variables of a kernel that works in `folder`: no secret of the grader's, and a separate home."""
    passed = {name: value for name, value in os.environ.items() if name.upper() in PASSED_ON or name.startswith("LC_")}
    return {
        **passed,
        **dict.fromkeys(HOMES, str(folder / "home")),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)),
        "PYTHONUSERBASE": site.getuserbase(),  # so that packages installed for this user alone are found
        "TMPDIR": str(find_short_place()),  # data loaders talk through sockets there
        "SANDBOX_EVIDENCE": str(folder / "evidence"),
        "JPY_PARENT_PID": str(os.getpid()),  # ipykernel ends when this process is gone
    }


class PlainManager(BoundedManager):
    """A kernel manager for one unsandboxed kernel."""

    def __init__(self, policy: SandboxPolicy, workspace: Workspace) -> None:
        super().__init__(policy)
        self._policy, self._workspace = policy, workspace
        self.connection_file = str(self.folder / "connection.json")
        self.provisioner: PlainProvisioner = PlainProvisioner(policy=policy, workspace=workspace, parent=self)
        self._ending: Ending | None = None

    @property
    def ending(self) -> Ending | None:
        return self._ending

    async def _end(self) -> Ending:
        if self._ending is None:
            self.provisioner.stop(None)
            code = await self.provisioner.wait() if self.provisioner.has_process else None
            most = {"total_mib": self._policy.evidence_mib, "files": self._policy.evidence_files}
            found = collect(self.folder / "evidence", self._workspace.evidence, **most)
            reason, copied, refused = self.provisioner.reason, tuple(found.copied), tuple(found.refused)
            self._ending = Ending(exit_code=code, stopped_by=reason, evidence=copied, refused=refused)
        return self._ending
