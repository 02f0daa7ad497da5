"""Backend `container`: rootless podman, or docker, for machines where neither the grader nor bwrap gets namespaces.

The image is empty but for the links that merged system folders need; libraries, interpreter and the policy's folders
are mounted read-only from the host, so that nothing is downloaded and the kernel runs what the grader runs. The
runtime counts memory and processes. Descriptors cannot be handed to it, so the kernel makes its sockets itself, in a
folder that is mounted for them; the grader's sockets become links to those, which are followed once, before a
student's code runs.

If the supervisor is killed hard, a container stays until its own limits end it: the runtime's daemon is its parent.
"""

import io
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from grader.sandbox.backends.cold_kernel import ANNOUNCE, KernelFolders, build_entry_command, spawn
from grader.sandbox.environment import read_loader_variables
from grader.sandbox.link import KernelRequest
from grader.sandbox.policy import TEMPORARY_MIB
from grader.sandbox.supervisor import Confinement, RunningKernel
from grader.sandbox.walls import namespaces
from grader.sandbox.walls.cgroups import MemoryMeter
from grader.sandbox.walls.namespaces import EVIDENCE, JOB, Identity

IMAGE: Final = "grader-sandbox-empty:1"
ASK_EVERY_S: Final = 2.0


def start_kernel(request: KernelRequest, confine: Confinement) -> RunningKernel:
    """Start a kernel in a container."""
    runtime = find_program() or "podman"
    ensure_image(runtime)
    folders = KernelFolders.build(request, confine.identity)
    program = confine.build_filter(network_namespace=True)
    inside = confine.build_entry_request(replace(request, listeners={}), ANNOUNCE, program)
    name = f"grader-sandbox-{os.getpid()}"
    sockets = _link_sockets(request, folders, confine.identity)
    mounts = {str(folders.job): JOB, str(folders.evidence): EVIDENCE, sockets: str(request.folder)}
    options = build_command(runtime, name, confine, mounts)
    process, announce = spawn([*options, *build_entry_command(inside)], [], lambda: None)

    def kill() -> None:
        _run(runtime, "kill", name)
        os.kill(process, signal.SIGKILL)

    running = RunningKernel(process, announce, folders.evidence, kill, writable=folders.folder)
    return replace(running, release=lambda: _run(runtime, "rm", "--force", name), meter=RuntimeMeter(runtime, name))


class RuntimeMeter(MemoryMeter):
    """Memory as the container runtime counts it. It does not report whose limit it was, and records no peak."""

    def __init__(self, runtime: str, name: str) -> None:
        self._question = (runtime, "inspect", "--format", "{{.State.OOMKilled}}", name)
        self._asked_s = time.monotonic()

    def is_exceeded(self) -> bool:
        if time.monotonic() - self._asked_s < ASK_EVERY_S:
            return False
        self._asked_s = time.monotonic()
        return self.was_exceeded()

    def was_exceeded(self) -> bool:
        return _run(*self._question).strip() == "true"


def build_command(runtime: str, name: str, confine: Confinement, writable: Mapping[str, str]) -> list[str]:
    """Return the runtime and its options, up to the command to run. `writable`: host folder -> folder inside."""
    policy, identity = confine.policy, confine.identity
    limits = ["--memory", f"{policy.memory_mib}m", "--memory-swap", f"{policy.memory_mib}m"]
    limits += ["--pids-limit", str(policy.processes), "--shm-size", f"{TEMPORARY_MIB}m"]
    # As the kernel sets them itself. By default runtimes ask for more than a machine grants whose root lacks rights.
    limits += ["--ulimit", f"nofile={policy.open_files}", "--ulimit", f"nproc={policy.processes}"]
    walls = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    walls += ["--user", f"{identity.uid}:{identity.gid}", "--hostname", "sandbox"]
    walls += ["--userns", "keep-id"] if runtime.endswith("podman") and not identity.dropped else []
    mounts = []
    for path in namespaces.list_shown_folders(policy):
        mounts += ["--mount", f"type=bind,source={path},target={path},readonly"]
    for source, target in writable.items():
        mounts += ["--mount", f"type=bind,source={source},target={target}"]
    for path in ("/tmp", "/home"):
        mounts += ["--tmpfs", f"{path}:size={TEMPORARY_MIB}m,mode=1777"]
    mounts += ["--tmpfs", "/var/tmp:size=1m,mode=755"]  # podman would let everybody write there, however much
    for path in namespaces.list_gpu_devices(policy):
        mounts += ["--device", path]
    for variable in read_loader_variables().items():
        mounts += ["--env", "=".join(variable)]
    return [runtime, "run", "--name", name, "--pull", "never", *walls, *limits, *mounts, "--workdir", JOB, IMAGE]


def find_program() -> str | None:
    """Return the path of podman or else of docker, if one is installed."""
    return shutil.which("podman") or shutil.which("docker")


def ensure_image(runtime: str) -> None:
    """Make the image, with nothing but links such as /lib -> usr/lib, unless it is there. Raises OSError."""
    if subprocess.run([runtime, "image", "inspect", IMAGE], capture_output=True, check=False).returncode == 0:
        return
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, target in namespaces.list_system_links().items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    command = [runtime, "import", "-", IMAGE]
    made = subprocess.run(command, input=buffer.getvalue(), capture_output=True, check=False)
    if made.returncode != 0:
        message = made.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise OSError(f"{runtime} cannot make an image: {message}")


def _link_sockets(request: KernelRequest, folders: KernelFolders, identity: Identity) -> str:
    folder = folders.folder / "sockets"
    folder.mkdir(mode=0o700)
    namespaces.hand_over(folders.folder, identity)
    for port in request.listeners:
        path = request.folder / f"z-{port}"
        path.unlink()
        path.symlink_to(folder / path.name)
    return str(folder)


def _run(*command_line: str) -> str:
    return subprocess.run(command_line, capture_output=True, text=True, check=False).stdout
