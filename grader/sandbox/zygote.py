"""The zygote: one trusted process that imports the heavy libraries once and is then forked for every kernel.

    grader ── zygote ──┬── supervisor ── process 1 ── kernel
                       └── supervisor ── process 1 ── kernel

No student's code ever runs in it, and it holds no secrets: its environment is the one it was given, since every fork
shows it in /proc/self/environ. It imports with one OpenMP thread, computes nothing and touches no GPU, because
threads and CUDA contexts do not survive a fork. Importing done, `gc.freeze` keeps the collector from writing into
pages that the kernels share.

It listens on a unix socket that only its own user can open. Per connection it forks a supervisor (supervisor.py),
whose launcher, `Fork`, makes the namespaces and forks process 1, which builds the private root, gives up its rights,
forks the kernel and reaps what the kernel leaves behind. The policy was fixed when the zygote started; a request
cannot widen it.

Its standard input is its leash: when the grader's end closes, however the grader died, the zygote takes in its own
leash, waits for the supervisors to end their kernels, removes its folder and exits.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Final, NoReturn

from grader.sandbox.environment import build_environment
from grader.sandbox.link import SOCKET, Link
from grader.sandbox.policy import SandboxPolicy
from grader.sandbox.supervisor import Confinement, KernelRequest, RunningKernel, supervise
from grader.sandbox.walls import kernel_entry, namespaces
from grader.sandbox.walls.namespaces import EVIDENCE, JOB, Identity

BACKLOG: Final = 64
KERNEL_MODULES: Final = (  # and what a kernel would import while it starts or formats its first traceback
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "pygments.formatters.terminal256",
    "stack_data",
    "tornado.platform.asyncio",
)


class Fork:
    """Launcher: a fork of this process in new namespaces."""

    inet = True

    def start(
        self, request: KernelRequest, policy: SandboxPolicy, identity: Identity, confine: Confinement
    ) -> RunningKernel:
        scratch_folder = request.folder / "s"
        scratch_folder.mkdir()
        namespaces.enter_supervisor()
        scratch = namespaces.make_scratch(scratch_folder, request.workspace, policy, identity)
        namespaces.unshare_rest()
        ear, mouth = os.pipe()
        process = os.fork()
        if process == 0:
            _process_1(request, policy, identity, confine, scratch, mouth)
        os.close(mouth)
        return RunningKernel(
            process,
            ear,
            scratch.part("evidence"),
            kill=lambda: os.kill(process, signal.SIGKILL),
            release=lambda: namespaces.detach(scratch_folder),
        )


def _process_1(
    request: KernelRequest,
    policy: SandboxPolicy,
    identity: Identity,
    confine: Confinement,
    scratch: namespaces.Scratch,
    announce: int,
) -> NoReturn:
    """Close every door, fork the kernel, reap until it is dead, end as it ended."""
    code = 1
    try:
        namespaces.die_with_parent()
        os.umask(0o022)  # folders on the way to what the kernel's user may see
        confine.enter()
        _keep_only([announce, *request.listeners.values()])
        namespaces.enter_private_root(scratch, policy, identity)
        namespaces.start_loopback()
        socket.sethostname("sandbox")
        os.setsid()
        namespaces.drop_privileges(identity)
        namespaces.die_with_parent()
        namespaces.set_dumpable(False)  # the kernel has the same uid
        kernel_entry.install_filter(confine.build_filter())
        code = _kernel(request, confine, announce)
    except BaseException as error:  # nothing may escape into the zygote's own code
        os.write(announce, f"-{type(error).__name__}: {error}\n".encode()[:2000])
    finally:
        os._exit(code)


def _kernel(request: KernelRequest, confine: Confinement, announce: int) -> int:
    kernel = os.fork()
    if kernel:
        os.close(announce)
        return _reap(kernel)
    try:
        namespaces.set_dumpable(True)
        environ = {**build_environment("/home", "/tmp"), "SANDBOX_EVIDENCE": EVIDENCE}
        _forget_the_grader()
        wish = confine.build_inner_request(request, folder=JOB, environ=environ, announce=announce, filtered=True)
        os._exit(kernel_entry.main(wish))
    except BaseException:  # SystemExit among them: a forked kernel must never return into the zygote's stack
        os._exit(1)


def _reap(kernel: int) -> int:
    """What an init process does: wait for everybody. The exit code is the kernel's, 128 + n for signal n."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the only signal with a handler: others do not reach process 1
    while True:
        process, status = os.wait()
        if process == kernel:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _keep_only(descriptors: list[int]) -> None:
    """Close all others; the standard streams lead nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    low = 3
    for descriptor in sorted(descriptors):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 1 << 16 else 1 << 16)


def _forget_the_grader() -> None:
    """What a cold kernel would not have: this package, and the folder it came from."""
    root = str(Path(__file__).parents[2])
    sys.path[:] = [path for path in sys.path if path not in ("", root)]
    for name in [name for name in sys.modules if name.split(".")[0] == "grader"]:
        del sys.modules[name]


def warm_up(modules: list[str]) -> None:
    """Import with one thread. Failures are the grader's: the exception ends the zygote."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with kernel_entry.hide_debugger():
        for name in [*KERNEL_MODULES, *modules]:
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def serve(folder: Path, policy: SandboxPolicy, leash: int) -> None:
    """Fork a supervisor for every connection until the leash goes slack."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / SOCKET))
    (folder / SOCKET).chmod(0o600)
    server.listen(BACKLOG)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors say for themselves how it went
    slack, held = os.pipe()
    while True:
        ready, _, _ = select.select([server.fileno(), leash], [], [])
        if leash in ready:
            break
        client, _ = server.accept()
        if os.fork() == 0:
            server.close()
            os.close(held)
            _supervisor(client, policy, slack)
        client.close()
    server.close()
    os.close(held)
    with contextlib.suppress(ChildProcessError):  # with SIGCHLD ignored, wait() returns when the last one is gone
        os.wait()


def _supervisor(client: socket.socket, policy: SandboxPolicy, leash: int) -> NoReturn:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        supervise(Fork(), policy, Link(client), leash)
    finally:
        os._exit(0)


def main() -> None:
    """`python -m grader.sandbox.zygote`, with one JSON line on standard input, which then stays open as the leash."""
    leash = os.dup(0)
    request = json.loads(_line(leash))
    folder = Path(request["folder"])
    try:
        serve_from = SandboxPolicy.from_json(request["policy"])
        warm_up(request["modules"])
        print("ready", flush=True)
        serve(folder, serve_from, leash)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _line(descriptor: int) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            raise SystemExit("the grader is gone")
        data += byte
    return data


if __name__ == "__main__":
    main()
