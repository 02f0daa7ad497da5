"""The last trusted code before a student's: it runs inside the sandbox and becomes the kernel.

A warm kernel imports it before it is forked; a cold one gets the text of this file by `python -I -c`, so that nothing
of the grader has to be visible inside. It therefore imports nothing but the standard library, and ipykernel once
everything is closed. It takes one JSON object:

    limits    RLIMIT name -> value
    filter    the seccomp program in base64, or "" where the sandbox has none
    environ   the whole environment
    folder    the working directory
    threads   how many threads numeric libraries may start
    info      connection information of the kernel, as in a Jupyter connection file
    listeners port -> descriptor of a unix socket that listens already; {} makes the kernel bind by itself
    script    Python source to run instead of a kernel (self-tests); "" for a kernel
    announce  descriptor for one line: "+" when the kernel listens, or "-" and what went wrong

The sockets were opened outside, so the kernel needs no folder of the host to put them into, and nothing that the
student does to files can make the grader connect elsewhere.
"""

import base64
import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CLOSE_FROM = 3


def main(request: dict[str, Any]) -> int:
    """Become what the request asks for and return the exit code. Called in a process that is isolated already."""
    announce = request["announce"]
    try:
        harden(request)
        settle(request)
        if request["script"]:
            exec(compile(request["script"], "<script>", "exec"), {"__name__": "__main__"})
            return 0
        application = build_kernel(request["info"], {int(port): fd for port, fd in request["listeners"].items()})
    except Exception as error:  # any error has to reach the grader
        os.write(announce, f"-{type(error).__name__}: {error}\n".encode()[:2000])
        return 1
    os.write(announce, b"+\n")
    if announce >= CLOSE_FROM:
        os.close(announce)
    application.start()
    return 0


def harden(request: dict[str, Any]) -> None:
    """Set the limits and the system-call filter, for good."""
    import resource  # not on Windows, where nothing of this file is called

    for name, value in request["limits"].items():
        kind = getattr(resource, name)
        _, most = resource.getrlimit(kind)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        has_spare = name == "RLIMIT_CPU" and most == resource.RLIM_INFINITY  # first SIGXCPU, which tells, then SIGKILL
        resource.setrlimit(kind, (value, value + has_spare))
    if request["filter"]:
        install_filter(base64.b64decode(request["filter"]))


def install_filter(program: bytes) -> None:
    """Put a seccomp program on this thread and on all that it will start. Raises OSError."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(program, len(program))
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS: a precondition for unprivileged callers
    if libc.prctl(22, 2, ctypes.byref(Program(len(program) // 8, ctypes.addressof(code))), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"seccomp filter refused: {os.strerror(ctypes.get_errno())}")


def settle(request: dict[str, Any]) -> None:
    """Set environment, working directory, module path and thread counts."""
    os.environ.clear()
    os.environ.update(request["environ"])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(request["threads"])
    os.chdir(request["folder"])
    sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = ["ipykernel"]
    if "torch" in sys.modules:  # a warm kernel: too late for the environment
        sys.modules["torch"].set_num_threads(request["threads"])


def build_kernel(info: dict[str, Any], listeners: dict[int, int]) -> Any:
    """Return an initialised ipykernel application that listens at `info`."""
    from ipykernel.kernelapp import IPKernelApp

    class Application(IPKernelApp):
        """An ipykernel on sockets that were opened elsewhere, without a connection file and without a heartbeat."""

        def init_connection_file(self) -> None:
            self.load_connection_info(info)  # type: ignore[arg-type]  # came as JSON

        def write_connection_file(self, **kwargs: Any) -> None:
            pass

        def init_heartbeat(self) -> None:
            pass  # the supervisor watches the process itself

        def init_control(self, context: Any) -> None:
            super().init_control(context)
            if listeners:  # a socket for debuggers, which would never stop trying a path that is missing here
                self.debug_shell_socket.disconnect(self.shell_socket.last_endpoint)

        def init_iopub(self, context: Any) -> None:
            context.sndhwm = 0  # never drop a message: what waits here counts as memory of this sandbox
            super().init_iopub(context)

        def _try_bind_socket(self, s: Any, port: int) -> int:
            if port in listeners:
                s.use_fd = listeners[port]
            return super()._try_bind_socket(s, port)

    application = Application.instance()
    with hide_debugger():
        application.initialize(["--HistoryManager.hist_file=:memory:", "--log-level=CRITICAL"])
    return application


@contextlib.contextmanager
def hide_debugger() -> Iterator[None]:
    """Keep ipykernel from importing debugpy, which takes longer than all the rest of its start."""
    hidden = sys.modules.get("debugpy")
    sys.modules["debugpy"] = None  # type: ignore[assignment]  # makes an import fail
    try:
        import ipykernel.debugger  # noqa: F401

        yield
    finally:
        del sys.modules["debugpy"]
        if hidden is not None:
            sys.modules["debugpy"] = hidden


def _become_cold(text: str) -> int:
    """Start a cold kernel: nothing may reach the grader's own streams afterwards."""
    import json

    request = json.loads(text)
    announce = os.dup(request["announce"])
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(CLOSE_FROM):
        os.dup2(null, descriptor)
    return main({**request, "announce": announce})


def read_source() -> str:
    """Return the text of this file, for `python -I -c`."""
    return Path(__file__).read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(_become_cold(sys.argv[1]))
