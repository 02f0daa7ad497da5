"""Kernel managers whose messages are guarded and whose kernel can be stopped with a reason: the base of both kinds."""

import asyncio
import contextlib
from abc import abstractmethod
from typing import Any, Final, cast

import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from jupyter_core.utils import run_sync

from grader.sandbox.folders import open_socket_folder
from grader.sandbox.handover import remove
from grader.sandbox.policy import Ending, SandboxPolicy, Stop
from grader.sandbox.transport import BoundedClient, MessageGuard

STEP_S: Final = 0.005


class StoppableProvisioner(KernelProvisionerBase):
    """The life of one kernel, in the form that jupyter_client asks for."""

    @abstractmethod
    def stop(self, reason: Stop | None) -> None:
        """Record the reason and kill the kernel. Returns at once."""

    async def wait(self) -> int | None:
        while (code := await self.poll()) is None:
            await asyncio.sleep(STEP_S)
        return code

    async def send_signal(self, signum: int) -> None:
        """Do nothing: kernels are interrupted by message."""

    async def kill(self, restart: bool = False) -> None:
        self.stop(None)

    terminate = kill

    async def cleanup(self, restart: bool = False) -> None:
        """Do nothing: the manager's `close` cleans up once evidence has been copied."""


class BoundedManager(AsyncKernelManager):
    """A kernel manager with guarded clients that knows how its kernel ended. Use it once.

    nbclient neither shuts down a manager that was handed to it nor closes the channels it opened: `close` does both.
    """

    def __init__(self, policy: SandboxPolicy) -> None:
        super().__init__()
        self._guard = MessageGuard(policy, lambda reason: cast(StoppableProvisioner, self.provisioner).stop(reason))
        self._clients: list[BoundedClient] = []
        self._held = contextlib.ExitStack()
        self.folder = self._held.enter_context(open_socket_folder("kernel"))

    @property
    def client_factory(self) -> Any:
        return BoundedClient

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(argv=[], language="python", display_name="python", interrupt_mode="message")

    def client(self, **kwargs: Any) -> BoundedClient:  # type: ignore[override]  # the base knows blocking clients
        client: Any = super().client(guard=self._guard, **kwargs)
        self._clients.append(client)
        return cast(BoundedClient, client)

    @property
    @abstractmethod
    def ending(self) -> Ending | None:
        """The end of the kernel; None while it lives."""

    async def close(self) -> Ending:
        """Kill the kernel if it lives, wait for its evidence, remove what it used. Safe to call twice."""
        for client in self._clients:
            client.stop_channels()
        self._clients.clear()
        ending = await self._end()
        await self.cleanup_resources()
        with contextlib.suppress(OSError):  # it may be gone already
            remove(self.folder)
        self._held.close()
        return ending

    close_now = run_sync(close)

    async def interrupt_kernel(self) -> None:  # type: ignore[override]  # the base of the base does not wait
        """Ask the kernel to interrupt what it does. Where it is gone, whoever waits for it notices."""
        with contextlib.suppress(zmq.Again):
            await super().interrupt_kernel()

    @abstractmethod
    async def _end(self) -> Ending:
        """Kill the kernel if it lives, and wait for its evidence."""
