"""Which backend runs: the first that passes its self-test, or a refusal that says what to install."""

import functools
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from grader.errors import GraderError
from grader.sandbox.policy import STARTED, Backend, SandboxClaim, SandboxPolicy, Warmup, Workspace, describe_error

if TYPE_CHECKING:
    from grader.sandbox.backends.plain_process import PlainManager
    from grader.sandbox.backends.zygote_client import Zygote
    from grader.sandbox.link import Link
    from grader.sandbox.provisioner import SandboxManager

ORDER: Final = (Backend.WARM, Backend.BUBBLEWRAP, Backend.CONTAINER, Backend.LANDLOCK)
WAYS: Final[Mapping[Backend, str]] = {
    Backend.WARM: "Linux namespaces",
    Backend.BUBBLEWRAP: "Linux namespaces made by bwrap",
    Backend.CONTAINER: "a container of podman or docker",
    Backend.LANDLOCK: "Landlock and a seccomp filter",
    Backend.NONE: "a plain process",
}
REFUSAL: Final = "Notebooks cannot be isolated on this machine, so none was run. Any one of these would help:"
TRIED: Final = "What was tried, and what the system answered:"
INSTALLED: Final = "it is installed"
STARTS: Final = (INSTALLED, STARTED)
NOT_LINUX: Final = (
    "Notebooks of others can only be graded on Linux, where they can be isolated: use a Linux machine or WSL 2."
)


@dataclass(frozen=True)
class SelfTest:
    """What a backend showed. `remedy`: what would make it work here, where it does not."""

    backend: Backend
    claims: tuple[SandboxClaim, ...]
    remedy: str = ""

    @property
    def passed(self) -> bool:
        return all(claim.holds for claim in self.claims)

    def __str__(self) -> str:
        """What was tried, what the system answered, and what would help."""
        return f"{self.backend} ({WAYS[self.backend]}): {self.answer}. {self.remedy}".strip()

    @property
    def answer(self) -> str:
        """What the system said, or which promises did not hold."""
        broken = [claim for claim in self.claims if not claim.holds]
        words = (c.detail if c.name in STARTS else f"{c.name}: {c.detail or 'no'}" for c in broken)
        return "; ".join(words).rstrip(".?")


@dataclass(frozen=True)
class Sandbox(AbstractContextManager["Sandbox"]):
    """Makes kernels in one backend under one policy. Use it in a `with` statement, or call `close`."""

    backend: Backend
    policy: SandboxPolicy
    address: Path | None = None  # of the zygote
    _zygote: "Zygote | None" = field(default=None, repr=False, compare=False)  # where this process started it

    def make_kernel_manager(self, workspace: Workspace) -> "SandboxManager | PlainManager":
        """A manager for one kernel, for `nbclient.NotebookClient(notebook, km=…)`. Close it afterwards."""
        if self.backend is Backend.NONE:
            from grader.sandbox.backends.plain_process import PlainManager

            return PlainManager(self.policy, workspace)
        from grader.sandbox.provisioner import SandboxManager

        return SandboxManager(self.policy, workspace, self.open_link)

    def wait(self) -> None:
        """Until everything is imported; at once where nothing is. Raises GraderError when that fails."""
        if self._zygote is not None:
            self._zygote.wait()

    def open_link(self) -> "Link":
        """A line to a new supervisor."""
        self.wait()
        if self.address is not None:
            from grader.sandbox.backends.zygote_client import connect

            return connect(self.address)
        from grader.sandbox.backends.cold_kernel import open_link

        return open_link(self.backend, self.policy)

    def ticket(self) -> dict[str, Any]:
        """What another process of the same user needs to make kernels here too; JSON."""
        address = None if self.address is None else str(self.address)
        return {"backend": self.backend.value, "policy": self.policy.to_json(), "address": address}

    def close(self) -> None:
        """End every kernel that is left, and the zygote."""
        if self._zygote is not None:
            self._zygote.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def select(policy: SandboxPolicy, *, warmup: Warmup | None = None, only: Backend | None = None) -> Sandbox:
    """The best sandbox that works here. Raises GraderError where none does.

    warmup: what warm kernels import beforehand; its import goes on in the background.
    only: this backend or none.
    """
    for backend in (only,) if only is not None else ORDER:
        if backend is Backend.NONE or run_self_test(backend).passed:
            return _open(backend, policy, warmup or Warmup())
    raise GraderError(_refusal(only))


def attach(ticket: Mapping[str, Any]) -> Sandbox:
    """The sandbox that another process opened. Closing it leaves that process's zygote alone."""
    address = Path(ticket["address"]) if ticket["address"] else None
    return Sandbox(Backend(ticket["backend"]), SandboxPolicy.from_json(ticket["policy"]), address)


@functools.cache
def run_self_test(backend: Backend) -> SelfTest:
    """Try the backend's promises once in the life of this process. Whatever fails is an answer, never an exception."""
    missing = _explain_missing(backend)
    if missing:
        return _fail_test(backend, SandboxClaim(INSTALLED, False, missing), installed=False)
    from grader.sandbox import selftest

    try:
        with ExitStack() as stack:
            claims = selftest.examine(_make_link_opener(backend, stack))
    except (GraderError, OSError) as error:
        return _fail_test(backend, SandboxClaim(STARTED, False, describe_error(error)))
    tried = SelfTest(backend, claims)
    return tried if tried.passed else _fail_test(backend, *claims)


def _fail_test(backend: Backend, *claims: SandboxClaim, installed: bool = True) -> SelfTest:
    if sys.platform != "linux":
        return SelfTest(backend, claims, NOT_LINUX)
    from grader.sandbox.remedies import suggest_remedy

    return SelfTest(backend, claims, suggest_remedy(backend, installed))


def run_self_tests() -> tuple[SelfTest, ...]:
    """All backends, best first; for `doctor`."""
    return tuple(map(run_self_test, ORDER))


def _make_link_opener(backend: Backend, stack: ExitStack) -> "Callable[[SandboxPolicy], Link]":
    def opener(policy: SandboxPolicy) -> "Link":
        if backend is Backend.WARM:
            from grader.sandbox.backends.zygote_client import Zygote, connect

            zygote = Zygote(policy, Warmup())
            stack.callback(zygote.close)
            zygote.wait()
            return connect(zygote.address)
        from grader.sandbox.backends.cold_kernel import open_link

        return open_link(backend, policy)

    return opener


def _open(backend: Backend, policy: SandboxPolicy, warmup: Warmup) -> Sandbox:
    if backend is not Backend.WARM:
        return Sandbox(backend, policy)
    from grader.sandbox.backends.zygote_client import Zygote

    zygote = Zygote(policy, warmup)
    return Sandbox(backend, policy, zygote.address, zygote)


def _explain_missing(backend: Backend) -> str:
    """Why the backend cannot even be tried; empty when it can."""
    if sys.platform != "linux":
        return "this is not Linux"
    if backend is Backend.BUBBLEWRAP:
        from grader.sandbox.backends.bubblewrap import find_program as bwrap

        return "" if bwrap() else "bwrap is not installed"
    if backend is Backend.CONTAINER:
        from grader.sandbox.backends.container import find_program as runtime

        return "" if runtime() else "neither podman nor docker is installed"
    if backend is Backend.LANDLOCK:
        from grader.sandbox.backends.landlock import get_version

        return "" if get_version() else "this Linux has no Landlock"
    return "" if hasattr(os, "fork") else "no fork"


def _refusal(only: Backend | None) -> str:
    if sys.platform != "linux":
        return NOT_LINUX
    if only is None:
        tests = run_self_tests()
        remedies = dict.fromkeys(test.remedy for test in tests)
        tried = (f"- {test.backend} ({WAYS[test.backend]}): {test.answer}." for test in tests)
        return "\n".join((REFUSAL, *(f"- {remedy}" for remedy in remedies if remedy), TRIED, *tried))
    test = run_self_test(only)
    return f"The sandbox that was asked for does not work here: {test}"
