"""The choice of a backend: the first that passes its self-test, or a refusal that says what to install."""

import functools
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from grader.errors import GraderError
from grader.sandbox.policy import Backend, SandboxClaim, SandboxPolicy, Warmup, Workspace, describe_error

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
REFUSAL: Final = "This machine cannot isolate notebooks, so none was run. Any one of these steps helps:"
TRIED: Final = "These ways were tried; after each follows the answer of the system:"
NOT_LINUX: Final = "Other people's notebooks need the isolation of Linux to be graded: use a Linux machine or WSL 2."


@dataclass(frozen=True)
class SelfTest:
    """The result of a backend's self-test."""

    backend: Backend
    claims: tuple[SandboxClaim, ...] = ()  # the promises that were tried; none where the backend does not start
    obstacle: str = ""  # why it does not start
    remedy: str = ""  # what would make it work here, where it does not

    @property
    def passed(self) -> bool:
        return bool(self.claims) and all(claim.holds for claim in self.claims)

    def __str__(self) -> str:
        return f"{self.backend} ({WAYS[self.backend]}): {self.answer}. {self.remedy}".strip()

    @property
    def answer(self) -> str:
        """The answer of the system, or the promises that do not hold."""
        broken = (f"{claim.name} ({claim.detail or 'tried'})" for claim in self.claims if not claim.holds)
        return self.obstacle.rstrip(".?") or f"these promises do not hold: {'; '.join(broken)}"


@dataclass(frozen=True)
class Sandbox(AbstractContextManager["Sandbox"]):
    """A source of kernels in one backend under one policy. Use it in a `with` statement, or call `close`."""

    backend: Backend
    policy: SandboxPolicy
    address: Path | None = None  # of the zygote
    _zygote: "Zygote | None" = field(default=None, repr=False, compare=False)  # where this process started it

    def make_kernel_manager(self, workspace: Workspace) -> "SandboxManager | PlainManager":
        """Make a manager for one kernel, for `nbclient.NotebookClient(notebook, km=…)`. Close it afterwards."""
        if self.backend is Backend.NONE:
            from grader.sandbox.backends.plain_process import PlainManager

            return PlainManager(self.policy, workspace)
        from grader.sandbox.provisioner import SandboxManager

        return SandboxManager(self.policy, workspace, self.open_link)

    def wait(self) -> None:
        """Wait until everything is imported, if anything is. Raises GraderError when that fails."""
        if self._zygote is not None:
            self._zygote.wait()

    def open_link(self) -> "Link":
        """Open a link to a new supervisor."""
        self.wait()
        if self.address is not None:
            from grader.sandbox.backends.zygote_client import connect

            return connect(self.address)
        from grader.sandbox.backends.cold_kernel import open_link

        return open_link(self.backend, self.policy)

    def ticket(self) -> dict[str, Any]:
        """Return, as JSON values, what another process of the same user needs to make kernels here too."""
        address = None if self.address is None else str(self.address)
        return {"backend": self.backend.value, "policy": self.policy.to_json(), "address": address}

    def close(self) -> None:
        """End every kernel that is left, and the zygote."""
        if self._zygote is not None:
            self._zygote.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def select(policy: SandboxPolicy, *, warmup: Warmup | None = None, only: Backend | None = None) -> Sandbox:
    """Open the best sandbox that works here. Raises GraderError where none does.

    warmup: what warm kernels import beforehand; the import runs in the background, from before the self-test on.
    only: this backend or none.
    """
    if sys.platform != "linux" and only is not Backend.NONE:
        raise GraderError(NOT_LINUX)
    for backend in (only,) if only is not None else ORDER:
        with ExitStack() as undo:
            opened = undo.enter_context(_open(backend, policy, warmup or Warmup()))
            if backend is Backend.NONE or run_self_test(backend).passed:
                undo.pop_all()
                return opened
    raise GraderError(_explain_refusal(only))


def attach(ticket: Mapping[str, Any]) -> Sandbox:
    """Return the sandbox that another process opened. Closing it leaves that process's zygote alone."""
    address = Path(ticket["address"]) if ticket["address"] else None
    return Sandbox(Backend(ticket["backend"]), SandboxPolicy.from_json(ticket["policy"]), address)


@functools.cache
def run_self_test(backend: Backend) -> SelfTest:
    """Try the backend's promises once in the life of this process. A failure is a result, never an exception."""
    if sys.platform != "linux":
        return SelfTest(backend, obstacle="this is not Linux", remedy=NOT_LINUX)
    from grader.sandbox import remedies, selftest

    missing = _explain_missing(backend)
    try:
        claims = () if missing else selftest.examine(lambda: _open(backend, selftest.TEST_POLICY, Warmup()))
        tried = SelfTest(backend, claims, obstacle=missing)
    except (GraderError, OSError) as error:
        tried = SelfTest(backend, obstacle=describe_error(error))
    return tried if tried.passed else replace(tried, remedy=remedies.suggest_remedy(backend, not missing))


def run_self_tests() -> tuple[SelfTest, ...]:
    """Try all backends, best first; for `doctor`."""
    return tuple(map(run_self_test, ORDER))


def _open(backend: Backend, policy: SandboxPolicy, warmup: Warmup) -> Sandbox:
    if backend is not Backend.WARM:
        return Sandbox(backend, policy)
    from grader.sandbox.backends.zygote_client import Zygote

    zygote = Zygote(policy, warmup)
    return Sandbox(backend, policy, zygote.address, zygote)


def _explain_missing(backend: Backend) -> str:
    """Say why the backend cannot even be tried; "" when it can."""
    from grader.sandbox.backends import bubblewrap, container, landlock

    find, otherwise = {
        Backend.BUBBLEWRAP: (bubblewrap.find_program, "bwrap is not installed"),
        Backend.CONTAINER: (container.find_program, "neither podman nor docker is installed"),
        Backend.LANDLOCK: (landlock.get_version, "this Linux has no Landlock"),
    }.get(backend, (lambda: True, ""))
    return "" if find() else otherwise


def _explain_refusal(only: Backend | None) -> str:
    if only is not None:
        return f"The chosen sandbox does not work here: {run_self_test(only)}"
    tests = run_self_tests()
    remedies = dict.fromkeys(test.remedy for test in tests)
    tried = (f"- {test.backend} ({WAYS[test.backend]}): {test.answer}." for test in tests)
    return "\n".join((REFUSAL, *(f"- {remedy}" for remedy in remedies if remedy), TRIED, *tried))
