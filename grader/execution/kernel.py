"""One kernel process of this machine: started with this interpreter, read within bounds, gone without a trace."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psutil
import zmq
import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from traitlets import default

# A kernel that sends a longer message is cut off, and there is room for this many before a kernel has to wait. Both
# bound what it can make this process hold, to 512 MiB, while nothing that a notebook means to show comes near.
MAX_MESSAGE_BYTES: Final = 32 * 2**20
MAX_WAITING: Final = 16


class BoundedKernelClient(AsyncKernelClient):
    """A client whose sockets take neither long messages nor many at once."""

    @default("context")
    def _bounded_context(self) -> zmq.asyncio.Context:
        self._created_context = True  # so that it is destroyed with the client
        context = zmq.asyncio.Context()
        context.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        context.setsockopt(zmq.RCVHWM, MAX_WAITING)
        return context

    def start_channels(self, *args: Any, **kwargs: Any) -> None:
        """Connect, and watch the connection that outputs come over."""
        super().start_channels(*args, **kwargs)
        self._disconnections = self.iopub_channel.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)

    async def cut_off(self) -> bool:
        """Whether outputs cannot come any more: the kernel sent too long a message, or is dead."""
        return bool(await self._disconnections.poll(0))


def new_manager() -> AsyncKernelManager:
    """A manager of kernels that run this interpreter, whatever this user has installed under the name `python3`."""
    specs = KernelSpecManager(kernel_dirs=[])
    return AsyncKernelManager(
        kernel_name=NATIVE_KERNEL_NAME, kernel_spec_manager=specs, client_factory=BoundedKernelClient
    )


@contextmanager
def kernel_manager() -> Iterator[AsyncKernelManager]:
    """A manager; its kernel, and what that started, is killed at the end of the block."""
    manager = new_manager()
    try:
        yield manager
    finally:
        _end(manager)


def _end(manager: AsyncKernelManager) -> None:
    """Kill the kernel's process group, and children that left the group while the kernel still lives."""
    left = _children(getattr(manager.provisioner, "pid", None))
    if manager.has_kernel:
        run_sync(manager.shutdown_kernel)(now=True)
    run_sync(manager.cleanup_resources)()
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _children(pid: int | None) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True) if pid else []
    except psutil.NoSuchProcess:
        return []
