"""Sandboxes that the tests of this folder share, and a driver that runs code in one kernel."""

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

from grader.paths import ROOT
from grader.sandbox import Backend, Ending, Sandbox, SandboxPolicy, Workspace, select
from grader.sandbox.transport import MalformedMessage, OutputLimit
from tests.harness import needs

if sys.platform != "linux":
    pytest.skip("sandboxes exist on Linux only", allow_module_level=True)

LINUX_BACKENDS = (Backend.WARM, Backend.BUBBLEWRAP, Backend.LANDLOCK)
PROCESS = {"memory_mib": 300, "cpu_s": 60, "wall_s": 60, "processes": 48, "threads": 1}
FILES = {"file_mib": 24, "scratch_mib": 48, "inodes": 2000, "evidence_mib": 16, "evidence_files": 20}
ROOMY = SandboxPolicy(**PROCESS, **FILES, output_mib=8, output_messages=2000)
HERE = Path(__file__).parent
ORDINARY = 61234  # a user without rights
OpenSandbox = Callable[[Backend, SandboxPolicy], Sandbox]
READY_S = 120  # nothing is measured here, and other work may come first on the machine
LOUD = replace(ROOMY, memory_mib=4096)  # ipykernel collects what is printed for 0.2 s: more than ROOMY allows
SAVE = "import os\nopen(os.environ['SANDBOX_EVIDENCE'] + '/x.json', 'w').write('[]')"  # leaves evidence
START = """  # for controllers in processes of their own
import asyncio, json, sys, tempfile
from pathlib import Path
from grader.sandbox import Backend, SandboxPolicy, Workspace, attach, select

async def start(sandbox, folder, code):
    manager = sandbox.make_kernel_manager(Workspace(job=folder / "job", evidence=folder / "evidence"))
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready()
    client.execute(code)
    return manager, client
"""


@contextmanager
def make_workspace(**environ: str) -> Iterator[Workspace]:
    with tempfile.TemporaryDirectory(prefix="w") as name:
        folder = Path(name)
        for part in ("job", "evidence"):
            (folder / part).mkdir()
        yield Workspace(job=folder / "job", evidence=folder / "evidence", environ=environ)


@dataclass
class Run:
    """The end of the cells that were sent to one kernel."""

    replies: list[dict[str, Any]] = field(default_factory=list)  # contents of execute_reply, as far as they came
    error: BaseException | None = None  # what the transport raised
    started: bool = False  # it answered, and was sent the first cell
    died: bool = False  # before it was told to
    ending: Ending = field(default_factory=Ending)
    evidence: dict[str, bytes] = field(default_factory=dict)

    @property
    def errors(self) -> list[str]:
        """Names of the exceptions of the cells; "" for a cell without."""
        return [reply.get("ename", "") for reply in self.replies]


@dataclass(frozen=True)
class Driver:
    """Runs cells in a fresh kernel of one sandbox, the way nbclient does, and closes it."""

    sandbox: Sandbox

    def __call__(self, *cells: str) -> Run:
        return asyncio.run(self._in_a_workspace(cells))

    def together(self, *cells: str) -> list[Run]:
        """Run each cell in a kernel of its own, all at the same time."""

        async def run_all() -> list[Run]:
            return await asyncio.gather(*(self._in_a_workspace((cell,)) for cell in cells))

        return asyncio.run(run_all())

    async def _in_a_workspace(self, cells: tuple[str, ...]) -> Run:
        with make_workspace() as workspace:
            run = await self._run(cells, workspace)
            found = [path for path in workspace.evidence.rglob("*") if path.is_file()]
            run.evidence = {str(path.relative_to(workspace.evidence)): path.read_bytes() for path in found}
            return run

    async def _run(self, cells: tuple[str, ...], workspace: Workspace) -> Run:
        run = Run()
        manager = self.sandbox.make_kernel_manager(workspace)
        try:
            await manager.start_kernel()
            client = manager.client()
            client.start_channels()
            await client.wait_for_ready(timeout=READY_S)
            run.started = True
            idle: set[str] = set()
            reading = asyncio.ensure_future(_read_output(client, idle))
            for cell in cells:
                reply = await _reply(client, client.execute(cell, stop_on_error=False), reading, idle)
                if reply is None:
                    run.died = True
                    break
                run.replies.append(reply)
            reading.cancel()
            await asyncio.wait([reading])
            run.error = None if reading.cancelled() else reading.exception()
            client.stop_channels()
        finally:
            run.ending = await manager.close()
        return run


async def _read_output(client: Any, idle: set[str]) -> None:
    while True:
        message = await client.get_iopub_msg(timeout=None)
        if message["content"].get("execution_state") == "idle":
            idle.add(message["parent_header"].get("msg_id"))


async def _reply(client: Any, request: str, reading: "asyncio.Future[None]", idle: set[str]) -> dict[str, Any] | None:
    """Return the content of the reply once all output has come; None when the kernel died before."""
    content = None
    while content is None or request not in idle:
        try:
            message = await client.get_shell_msg(timeout=0.02)
            content = message["content"] if message["parent_header"].get("msg_id") == request else content
        except Empty:
            if not await client.is_alive():
                return None
        except (OutputLimit, MalformedMessage):
            return None
    return content


@pytest.fixture(scope="package", autouse=True)
def short_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for everything temporary, which must be empty in the end. Short: socket paths end at 107 bytes."""
    tmp_path_factory.getbasetemp()  # pytest's own folder lies elsewhere
    before = tempfile.tempdir
    folder = Path(tempfile.mkdtemp(prefix="t"))
    folder.chmod(0o755)
    tempfile.tempdir = str(folder)
    yield folder
    tempfile.tempdir = before
    assert sorted(path.name for path in folder.iterdir()) == []
    folder.rmdir()


@pytest.fixture(scope="package")
def sandboxes(short_temporary_folder: Path) -> Iterator[OpenSandbox]:
    with ExitStack() as opened:

        @cache
        def get(backend: Backend, policy: SandboxPolicy) -> Sandbox:
            if backend is not Backend.NONE:
                needs.require_backend(backend)
            return opened.enter_context(select(policy, only=backend))

        yield get


@pytest.fixture(params=[Backend.WARM, Backend.BUBBLEWRAP], ids=str)
def backend(request: pytest.FixtureRequest) -> Backend:
    """The two backends that promise everything."""
    return Backend(request.param)


@pytest.fixture
def run(sandboxes: OpenSandbox, backend: Backend) -> Driver:
    return Driver(sandboxes(backend, ROOMY))


@pytest.fixture
def run_loud(sandboxes: OpenSandbox, backend: Backend) -> Driver:
    return Driver(sandboxes(backend, LOUD))


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_command(*command: str, as_user: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run a command in the project's folder, on request as an ordinary user, for which this process must be root."""
    become = [sys.executable, str(HERE / "as_user.py"), str(ORDINARY)] if as_user else []
    env = {**os.environ, "TMPDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"} if as_user else None
    return subprocess.run([*become, *command], cwd=ROOT, capture_output=True, text=True, check=False, env=env)
