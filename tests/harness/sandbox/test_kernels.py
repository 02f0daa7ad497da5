"""Honest kernels: what nbclient and the grader's other stages rely on, on every backend."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from grader.errors import GraderError
from grader.sandbox import (
    Backend,
    Sandbox,
    SandboxClaim,
    SandboxPolicy,
    SelfTest,
    Stop,
    Warmup,
    Workspace,
    attach,
    select,
    selection,
    selftest,
)
from grader.sandbox.policy import STARTED, describe_error
from tests.harness import needs

from .conftest import LINUX_BACKENDS, ROOMY, Driver

EVERYWHERE = [pytest.param(backend, id=backend.value) for backend in (*LINUX_BACKENDS, Backend.NONE)]


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    with tempfile.TemporaryDirectory(prefix="w") as name:
        folder = Path(name)
        for part in ("job", "evidence"):
            (folder / part).mkdir()
        yield Workspace(job=folder / "job", evidence=folder / "evidence", environ={"COLOUR": "blue"})


@pytest.fixture
def get(sandboxes: Callable[[Backend, SandboxPolicy], Sandbox]) -> Callable[[Backend], Sandbox]:
    def one(backend: Backend) -> Sandbox:
        return select(ROOMY, only=Backend.NONE) if backend is Backend.NONE else sandboxes(backend, ROOMY)

    return one


def notebook(*sources: str) -> Any:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


@pytest.mark.parametrize("backend", EVERYWHERE)
def test_nbclient_executes_a_notebook(
    get: Callable[[Backend], Sandbox], backend: Backend, workspace: Workspace
) -> None:
    (workspace.job / "input.txt").write_text("given", encoding="utf-8")
    cells = notebook(
        "import os; print(open('input.txt').read(), os.environ['COLOUR'])",
        "open('input.txt', 'w').write('changed'); open(os.environ['SANDBOX_EVIDENCE'] + '/e.json', 'w').write('{}')",
        "1 / 0",
        "import os, pathlib, tempfile; os.rmdir(tempfile.mkdtemp()); pathlib.Path.home().exists()",
        "input()",
        "from concurrent.futures import ThreadPoolExecutor; sum(ThreadPoolExecutor(4).map(abs, range(9)))",
    )
    manager = get(backend).make_kernel_manager(workspace)
    try:
        NotebookClient(cells, km=manager, allow_errors=True, timeout=60).execute()
    finally:
        ending = manager.close_now()
    assert cells.cells[0].outputs[0].text == "given blue\n"
    assert cells.cells[2].outputs[0].ename == "ZeroDivisionError"
    assert cells.cells[3].outputs[0].data["text/plain"] == "True"
    assert cells.cells[4].outputs[0].ename == "StdinNotImplementedError"
    assert cells.cells[5].outputs[0].data["text/plain"] == "36"
    assert (ending.evidence, ending.refused, ending.stopped_by, ending.fault) == (("e.json",), (), None, None)
    assert (workspace.evidence / "e.json").read_text(encoding="utf-8") == "{}"
    assert (workspace.job / "input.txt").read_text(encoding="utf-8") == "given"


@pytest.mark.parametrize("backend", EVERYWHERE)
def test_nbclient_sees_a_dead_kernel(get: Callable[[Backend], Sandbox], backend: Backend, workspace: Workspace) -> None:
    manager = get(backend).make_kernel_manager(workspace)
    try:
        with pytest.raises(DeadKernelError):
            NotebookClient(notebook("import os; os._exit(0)"), km=manager).execute()
    finally:
        ending = manager.close_now()
    assert (ending.exit_code, ending.stopped_by) == (0, None)


@pytest.mark.parametrize("backend", [pytest.param(one, id=one.value) for one in (Backend.LANDLOCK, Backend.NONE)])
def test_too_much_output(get: Callable[[Backend], Sandbox], backend: Backend) -> None:
    outcome = Driver(get(backend))("while True: display(1)")
    assert outcome.ending.stopped_by is Stop.OUTPUT


@pytest.mark.parametrize("backend", EVERYWHERE)
def test_many_outputs_below_the_cap_all_arrive(
    get: Callable[[Backend], Sandbox], backend: Backend, workspace: Workspace
) -> None:
    """More than zmq's default queues hold, faster than they are read."""
    cells = notebook("for number in range(1500): display(number)")
    manager = get(backend).make_kernel_manager(workspace)
    try:
        NotebookClient(cells, km=manager).execute()
    finally:
        manager.close_now()
    assert [int(output.data["text/plain"]) for output in cells.cells[0].outputs] == list(range(1500))


def test_landlock_walls(get: Callable[[Backend], Sandbox]) -> None:
    """The reduced backend: what it does promise."""
    outcome = Driver(get(Backend.LANDLOCK))(
        "open('/etc/hostname').read()",
        "import os; os.listdir('/')",
        "import os; os.listdir('/proc')",
        "import os; os.kill(os.getppid(), 0)",
        "import socket; socket.socket()",
        "import socket; socket.socket(socket.AF_UNIX).connect('/run/x')",
        "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
        "open('../evil', 'w')",
        "import subprocess; subprocess.run(['/usr/bin/true'], check=True)",
        "open('/usr/x', 'w')",
    )
    denied = ["PermissionError"] * 4 + [
        "OSError",
        "PermissionError",
        "OSError",
        "PermissionError",
        "",
        "PermissionError",
    ]
    assert outcome.errors == denied


def test_landlock_leaves_no_strays(get: Callable[[Backend], Sandbox]) -> None:
    import psutil

    outcome = Driver(get(Backend.LANDLOCK))(
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    command = [sys.executable, '-c', 'import time; time.sleep(600)', 'stray-l']\n"
        "    if os.fork() == 0: os.execv(sys.executable, command)\n"
        "    os._exit(0)\n"
        "time.sleep(0.3)"
    )
    assert outcome.errors == [""]
    assert not [p for p in psutil.process_iter(["cmdline"]) if "stray-l" in (p.info["cmdline"] or ())]


def test_warm_kernels_have_imported_what_was_asked_for(
    sandboxes: Callable[[Backend, SandboxPolicy], Sandbox], workspace: Workspace
) -> None:
    sandboxes(Backend.WARM, ROOMY)  # skips where it does not work
    warmup = Warmup(modules=("colorsys",), environ={"AT_IMPORT": "yes"})
    with select(ROOMY, warmup=warmup, only=Backend.WARM) as sandbox:
        outcome = Driver(sandbox)(
            "import sys; assert 'colorsys' in sys.modules",
            "assert 'AT_IMPORT=yes' in open('/proc/self/environ').read().split(chr(0))",
            "import os; assert 'AT_IMPORT' not in os.environ",
            "assert open('/proc/self/stat').read().split()[0] == str(os.getpid())",
        )
    assert outcome.errors == ["", "", "", ""]


def test_a_module_that_cannot_be_imported_is_our_fault(
    sandboxes: Callable[[Backend, SandboxPolicy], Sandbox], workspace: Workspace
) -> None:
    sandboxes(Backend.WARM, ROOMY)
    with select(ROOMY, warmup=Warmup(modules=("no_such_module",)), only=Backend.WARM) as sandbox:
        manager = sandbox.make_kernel_manager(workspace)
        with pytest.raises(GraderError, match="No module named 'no_such_module'"):
            asyncio.run(manager.start_kernel())
        asyncio.run(manager.close())


BROKER = """
import asyncio, json, sys
from pathlib import Path
from grader.sandbox import Workspace, attach

async def main():
    ticket, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
    manager = attach(ticket).kernel_manager(Workspace(job=folder / "job", evidence=folder / "evidence"))
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready()
    client.execute("import os; open(os.environ['SANDBOX_EVIDENCE'] + '/b', 'w').close(); os._exit(3)")
    while manager.ending is None:
        await asyncio.sleep(0.01)
    client.stop_channels()
    print((await manager.close()).exit_code)

asyncio.run(main())
"""


def test_another_process_makes_kernels_with_a_ticket(
    get: Callable[[Backend], Sandbox], backend: Backend, workspace: Workspace
) -> None:
    sandbox = get(backend)
    assert attach(json.loads(json.dumps(sandbox.ticket()))) == sandbox
    command = [sys.executable, "-c", BROKER, json.dumps(sandbox.ticket()), str(workspace.job.parent)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=True)
    assert done.stdout == "3\n"
    assert [path.name for path in workspace.evidence.iterdir()] == ["b"]


def test_a_policy_that_is_too_tight_is_not_the_students_fault(
    sandboxes: Callable[[Backend, SandboxPolicy], Sandbox], backend: Backend, workspace: Workspace
) -> None:
    sandboxes(backend, ROOMY)
    with select(replace(ROOMY, processes=1), only=backend) as sandbox:
        manager = sandbox.make_kernel_manager(workspace)
        with pytest.raises(GraderError, match="No kernel could be started"):
            asyncio.run(manager.start_kernel())
        asyncio.run(manager.close())


def test_refusal_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every backend with what the system answered and what would help: nobody is told to install what is there."""

    def broken(backend: Backend) -> SelfTest:
        return SelfTest(backend, (SandboxClaim(STARTED, False, f"no {backend}"),), f"Allow {backend}.")

    monkeypatch.setattr(selection, "run_self_test", broken)
    with pytest.raises(GraderError) as refusal:
        select(ROOMY)
    lines = str(refusal.value).splitlines()
    assert lines[1:5] == [f"- Allow {backend}." for backend in selection.ORDER]
    assert lines[6:] == [f"- {backend} ({selection.WAYS[backend]}): no {backend}." for backend in selection.ORDER]
    with pytest.raises(GraderError, match=r"no warm\. Allow warm"):
        select(ROOMY, only=Backend.WARM)


@pytest.mark.parametrize("error", [GraderError("the linker says no"), OSError(1, "not permitted")])
def test_a_backend_that_cannot_even_be_tried_leaves_the_next_one(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(selftest, "examine", fail)
    tried = selection.run_self_test.__wrapped__(Backend.WARM)
    assert not tried.passed
    assert describe_error(error) in tried.answer
    assert tried.remedy


def test_refusal_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    selection.run_self_test.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(GraderError, match="Linux"):
        select(ROOMY)
    monkeypatch.undo()
    selection.run_self_test.cache_clear()


WITHOUT_UNIX = """
import builtins, sys
real = builtins.__import__
def missing(name, *rest, **named):
    importer = (rest[0] or {}).get("__name__", "") if rest else ""
    if name in ("fcntl", "resource", "pwd", "grp") and importer.startswith("grader"):
        raise ImportError(name)
    return real(name, *rest, **named)
builtins.__import__ = missing
import os
del os.fork
import grader.sandbox.backends.plain_process, grader.sandbox.transport, grader.sandbox.selection
"""


def test_what_students_run_imports_without_unix() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_UNIX], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@needs.root
def test_without_namespaces_the_next_backend_is_chosen() -> None:
    """An ordinary user on a Linux that lets nobody make namespaces."""
    here = Path(__file__).parent
    select_one = "from grader.sandbox import Policy, select; print(select(Policy()).backend)"
    forbid = "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --inh-caps=-all --ambient-caps=-all"
    script = f'{forbid} "$0" -c "$1"'
    command = [sys.executable, str(here / "as_user.py"), "61234", "/usr/bin/unshare", "--user", "--map-user=61234"]
    done = subprocess.run(
        [*command, "--keep-caps", "/bin/sh", "-c", script, sys.executable, select_one],
        cwd=here.parents[2],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": "/tmp"},
    )
    assert done.stdout in ("landlock\n", "container\n"), done.stderr


@needs.root
def test_all_of_it_as_an_ordinary_user() -> None:
    """The same promises without any privilege: user namespaces, and the watchdog where no control group can be made."""
    here = Path(__file__).parent
    chosen = "walls or visible or hides or killed_grader or process_1 or landlock or (bounded and warm)"
    command = [sys.executable, str(here / "as_user.py"), "61234", sys.executable, "-m", "pytest", "-q", "-k", chosen]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(here)],
        cwd=here.parents[2],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": "/tmp"},
    )
    assert done.returncode == 0, done.stdout[-4000:]
