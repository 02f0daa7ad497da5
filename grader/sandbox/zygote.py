"""The zygote: one trusted process that imports the heavy libraries once and is then forked for every kernel.

    grader ── zygote ──┬── supervisor ── process 1 ── kernel
                       └── supervisor ── process 1 ── kernel

No student's code ever runs in it, and it holds no secrets: its environment is the one it was given, since every fork
shows it in /proc/self/environ. It imports with one OpenMP thread, computes nothing and touches no GPU, because
threads and CUDA contexts do not survive a fork. What it has imported is out of the garbage collector's sight, which
would write into pages that the kernels share.

It listens on a unix socket that only its own user can open. Per connection it forks a supervisor (supervisor.py), whose
launcher, `start_kernel`, makes the namespaces and forks process 1, which builds the private root, gives up its rights,
forks the kernel and reaps what the kernel leaves behind. The policy is fixed when the zygote starts; a request cannot
widen it.

Its standard input is its leash: when the grader's end closes, in whatever way the grader ended, the zygote closes the
leash of its supervisors, waits until they have ended their kernels, removes its folder and exits.
"""

import contextlib
import importlib
import itertools
import json
import os
import select
import shutil
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from grader.machine.collector import import_without_collecting
from grader.paths import ROOT
from grader.sandbox.link import SOCKET, KernelRequest, Link
from grader.sandbox.policy import SandboxPolicy
from grader.sandbox.supervisor import Confinement, RunningKernel, supervise
from grader.sandbox.walls import kernel_entry, namespaces

KERNEL_MODULES: Final = (  # and what a kernel would import while it starts or formats its first traceback
    *("ipykernel.kernelapp", "ipykernel.ipkernel", "IPython.core.completerlib", "IPython.core.debugger"),
    *("IPython.core.oinspect", "IPython.extensions.storemagic", "pygments.formatters.terminal256", "stack_data"),
    "tornado.platform.asyncio",
)


def start_kernel(request: KernelRequest, confine: Confinement) -> RunningKernel:
    """Fork this process into new namespaces."""
    scratch = request.folder / "s"
    scratch.mkdir()
    namespaces.enter_supervisor()
    namespaces.make_scratch(scratch, request.workspace, confine.policy, confine.identity)
    namespaces.unshare_rest()
    reader, announce = os.pipe()
    process = os.fork()
    if process == 0:
        _become_process_1(request, confine, scratch, announce)
    os.close(announce)
    release = partial(namespaces.detach, str(scratch))
    return RunningKernel(
        process, reader, scratch / "evidence", partial(os.kill, process, signal.SIGKILL), release=release
    )


def _become_process_1(request: KernelRequest, confine: Confinement, scratch: Path, announce: int) -> NoReturn:
    """Give up everything, fork the kernel, reap until it is dead, end as it ended."""
    code = 1
    try:
        namespaces.die_with_parent()
        os.umask(0o022)  # for folders on the way to what the kernel's user may see
        confine.enter()
        _keep_only([announce, *request.listeners.values()])
        namespaces.enter_private_root(scratch, confine.policy, confine.identity)
        namespaces.start_loopback()
        socket.sethostname("sandbox")
        os.setsid()
        namespaces.drop_privileges(confine.identity)
        namespaces.die_with_parent()
        namespaces.set_dumpable(False)  # the kernel has the same uid
        kernel_entry.install_filter(confine.build_filter(network_namespace=True))
        code = _fork_kernel(request, confine, announce)
    except BaseException as error:  # nothing may escape into the zygote's own code
        os.write(announce, f"-{type(error).__name__}: {error}\n".encode()[:2000])
    finally:
        os._exit(code)


def _fork_kernel(request: KernelRequest, confine: Confinement, announce: int) -> int:
    if kernel := os.fork():
        os.close(announce)
        return _reap(kernel)
    try:
        namespaces.set_dumpable(True)
        inside = confine.build_entry_request(request, announce)
        _forget_the_grader()
        os._exit(kernel_entry.main(inside))
    except BaseException:  # SystemExit among them: a forked kernel must never return into the zygote's stack
        os._exit(1)


def _reap(kernel: int) -> int:
    """Wait for every process, as an init process does. Return the kernel's exit code, 128 + n for signal n."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the only signal with a handler: others do not reach process 1
    process = status = 0
    while process != kernel:
        process, status = os.wait()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _keep_only(descriptors: list[int]) -> None:
    """Close all other descriptors; the standard streams lead nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    for low, high in itertools.pairwise([2, *sorted(descriptors), min(os.sysconf("SC_OPEN_MAX"), 1 << 16)]):
        os.closerange(low + 1, high)


def _forget_the_grader() -> None:
    """Remove what a cold kernel does not have: this package, and the folder it came from."""
    sys.path[:] = [path for path in sys.path if path not in ("", str(ROOT))]
    for name in [name for name in sys.modules if name.split(".")[0] == "grader"]:
        del sys.modules[name]


def warm_up(modules: list[str]) -> None:
    """Import with one thread. An exception ends the zygote."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with kernel_entry.hide_debugger(), import_without_collecting():
        for name in [*KERNEL_MODULES, *modules]:
            importlib.import_module(name)


def serve(folder: Path, policy: SandboxPolicy, leash: int) -> None:
    """Fork a supervisor for every connection until the other end of the leash closes."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / SOCKET))
    (folder / SOCKET).chmod(0o600)
    server.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors report by themselves
    own_leash, held = os.pipe()  # of the supervisors
    while leash not in select.select([server.fileno(), leash], [], [])[0]:
        client, _ = server.accept()
        if os.fork() == 0:
            server.close()
            os.close(held)
            _become_supervisor(client, policy, own_leash)
        client.close()
    server.close()
    os.close(held)
    with contextlib.suppress(ChildProcessError):  # with SIGCHLD ignored, wait() returns when the last one is gone
        os.wait()


def _become_supervisor(client: socket.socket, policy: SandboxPolicy, leash: int) -> NoReturn:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        supervise(start_kernel, policy, Link(client), leash)
    finally:
        os._exit(0)


def main() -> None:
    """Serve what one JSON line on standard input asks for; the input then stays open as the leash."""
    leash = os.dup(0)
    line = os.fdopen(leash, "rb", buffering=0, closefd=False).readline()
    if not line.endswith(b"\n"):
        raise SystemExit("The grader ended before its request was complete.")
    request = json.loads(line)
    folder = Path(request["folder"])
    try:
        policy = SandboxPolicy.from_json(request["policy"])
        warm_up(request["modules"])
        print("ready", flush=True)
        serve(folder, policy, leash)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
    os._exit(0)  # who closes the sandbox waits for this: taking all libraries apart would be a fifth of a second
