"""Honest kernels: what nbclient and the grader's other stages rely on, on every backend."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from grader.errors import GraderError
from grader.sandbox import Backend, Sandbox, SelfTest, Stop, Warmup, Workspace, attach, select, selection, selftest
from grader.sandbox.backends import zygote_client
from grader.sandbox.policy import Ending, SandboxPolicy, describe_error
from tests.harness import needs

from .conftest import HERE, LINUX_BACKENDS, ROOMY, START, Driver, OpenSandbox, make_workspace, run_command

Open = Callable[[Backend], Sandbox]
TIGHT = replace(ROOMY, processes=1)
each_backend = pytest.mark.parametrize("backend", [*LINUX_BACKENDS, Backend.NONE], ids=str)
CANNOT_START = {
    "too tight a policy": (Backend.WARM, TIGHT, (), "No kernel could be started"),
    "too tight a policy, bubblewrap": (Backend.BUBBLEWRAP, TIGHT, (), "No kernel could be started"),
    "a module that is missing": (Backend.WARM, ROOMY, ("no_such",), "No module named 'no_such'"),
}


@pytest.fixture
def get(sandboxes: OpenSandbox) -> Open:
    return lambda backend: sandboxes(backend, ROOMY)


def execute(sandbox: Sandbox, workspace: Workspace, *sources: str, **options: Any) -> tuple[list[Any], Ending]:
    """Execute a notebook with nbclient; return its cells, none if the kernel died, and how the kernel ended."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    manager = sandbox.make_kernel_manager(workspace)
    try:
        NotebookClient(notebook, km=manager, **options).execute()
    except DeadKernelError:
        notebook.cells = []
    finally:
        ending = manager.close_now()
    return notebook.cells, ending


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    with make_workspace(COLOUR="blue") as workspace:
        yield workspace


@each_backend
def test_nbclient_executes_a_notebook(get: Open, backend: Backend, workspace: Workspace) -> None:
    (workspace.job / "input.txt").write_text("given", encoding="utf-8")
    sources = (
        "import os; print(open('input.txt').read(), os.environ['COLOUR'])",
        "open('input.txt', 'w').write('changed'); open(os.environ['SANDBOX_EVIDENCE'] + '/e.json', 'w').write('{}')",
        "1 / 0",
        "import os, pathlib, tempfile; os.rmdir(tempfile.mkdtemp()); pathlib.Path.home().exists()",
        "input()",
        "from concurrent.futures import ThreadPoolExecutor; sum(ThreadPoolExecutor(4).map(abs, range(9)))",
    )
    cells, ending = execute(get(backend), workspace, *sources, allow_errors=True, timeout=60)
    assert cells[0].outputs[0].text == "given blue\n"
    assert [cells[i].outputs[0].ename for i in (2, 4)] == ["ZeroDivisionError", "StdinNotImplementedError"]
    assert [cells[i].outputs[0].data["text/plain"] for i in (3, 5)] == ["True", "36"]
    assert (ending.evidence, ending.refused, ending.stopped_by, ending.fault) == (("e.json",), (), None, None)
    assert (workspace.evidence / "e.json").read_text(encoding="utf-8") == "{}"
    assert (workspace.job / "input.txt").read_text(encoding="utf-8") == "given"


@each_backend
def test_nbclient_sees_a_dead_kernel(get: Open, backend: Backend, workspace: Workspace) -> None:
    cells, ending = execute(get(backend), workspace, "import os; os._exit(0)")
    assert (cells, ending.exit_code, ending.stopped_by) == ([], 0, None)


@pytest.mark.parametrize("backend", [Backend.LANDLOCK, Backend.NONE], ids=str)
def test_too_much_output(get: Open, backend: Backend) -> None:
    assert Driver(get(backend))("while True: display(1)").ending.stopped_by is Stop.OUTPUT


@each_backend
def test_many_outputs_below_the_cap_all_arrive(get: Open, backend: Backend, workspace: Workspace) -> None:
    """More than zmq's default queues hold, faster than they are read."""
    cells, _ = execute(get(backend), workspace, "for number in range(1500): display(number)")
    assert [int(output.data["text/plain"]) for output in cells[0].outputs] == list(range(1500))


def test_landlock_walls(get: Open) -> None:
    denied = {
        "open('/etc/hostname').read()": "PermissionError",
        "import os; os.listdir('/')": "PermissionError",
        "import os; os.listdir('/proc')": "PermissionError",
        "import os; os.kill(os.getppid(), 0)": "PermissionError",
        "import socket; socket.socket()": "OSError",
        "import socket; socket.socket(socket.AF_UNIX).connect('/run/x')": "PermissionError",
        "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)": "OSError",
        "open('../evil', 'w')": "PermissionError",
        "import subprocess; subprocess.run(['/usr/bin/true'], check=True)": "",
        "open('/usr/x', 'w')": "PermissionError",
    }
    assert Driver(get(Backend.LANDLOCK))(*denied).errors == list(denied.values())


def test_warm_kernels_have_imported_what_was_asked_for(get: Open) -> None:
    get(Backend.WARM)  # skips where it does not work
    warmup = Warmup(modules=("colorsys",), environ={"AT_IMPORT": "yes"})
    with select(ROOMY, warmup=warmup, only=Backend.WARM) as sandbox:
        outcome = Driver(sandbox)(
            "import sys; assert 'colorsys' in sys.modules",
            "assert 'AT_IMPORT=yes' in open('/proc/self/environ').read().split(chr(0))",
            "import os; assert 'AT_IMPORT' not in os.environ",
            "assert open('/proc/self/stat').read().split()[0] == str(os.getpid())",
        )
    assert outcome.errors == ["", "", "", ""]


BROKER = f"""{START}
async def main():
    code = "import os; open(os.environ['SANDBOX_EVIDENCE'] + '/b', 'w').close(); os._exit(3)"
    manager, client = await start(attach(json.loads(sys.argv[1])), Path(sys.argv[2]), code)
    while manager.ending is None:
        await asyncio.sleep(0.01)
    client.stop_channels()
    print((await manager.close()).exit_code)

asyncio.run(main())
"""


def test_another_process_makes_kernels_with_a_ticket(get: Open, backend: Backend, workspace: Workspace) -> None:
    sandbox = get(backend)
    assert attach(json.loads(json.dumps(sandbox.ticket()))) == sandbox
    done = run_command(sys.executable, "-c", BROKER, json.dumps(sandbox.ticket()), str(workspace.job.parent))
    assert done.stdout == "3\n", done.stderr
    assert [path.name for path in workspace.evidence.iterdir()] == ["b"]


@pytest.mark.parametrize(("backend", "policy", "modules", "message"), CANNOT_START.values(), ids=CANNOT_START)
def test_a_kernel_that_cannot_start_is_not_the_students_fault(
    backend: Backend, policy: SandboxPolicy, modules: tuple[str, ...], message: str, get: Open, workspace: Workspace
) -> None:
    get(backend)  # skips where it does not work
    with select(policy, warmup=Warmup(modules=modules), only=backend) as sandbox:
        manager = sandbox.make_kernel_manager(workspace)
        with pytest.raises(GraderError, match=message):
            asyncio.run(manager.start_kernel())
        asyncio.run(manager.close())


def test_refusal_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every backend with what the system answered and what would help: nobody is told to install what is there."""
    broken = {backend: SelfTest(backend, (), f"no {backend}", f"Allow {backend}.") for backend in Backend}
    monkeypatch.setattr(selection, "run_self_test", broken.__getitem__)
    with pytest.raises(GraderError) as refusal:
        select(ROOMY)
    lines = str(refusal.value).splitlines()
    assert lines[1:5] == [f"- Allow {backend}." for backend in selection.ORDER]
    assert lines[6:] == [f"- {backend} ({selection.WAYS[backend]}): no {backend}." for backend in selection.ORDER]
    with pytest.raises(GraderError, match=r"no warm\. Allow warm"):
        select(ROOMY, only=Backend.WARM)


def test_a_zygote_that_imports_during_a_test_that_fails_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Mock()
    monkeypatch.setattr(zygote_client, "Zygote", lambda *given: Mock(close=closed))
    monkeypatch.setattr(selection, "run_self_test", lambda backend: SelfTest(backend, (), "no answer"))
    with pytest.raises(GraderError, match="no answer"):
        select(ROOMY, only=Backend.WARM)
    closed.assert_called_once_with()


@pytest.mark.parametrize("error", [GraderError("the linker says no"), OSError(1, "not permitted")])
def test_a_backend_that_cannot_even_be_tried_leaves_the_next_one(monkeypatch: Any, error: Exception) -> None:
    monkeypatch.setattr(selftest, "examine", Mock(side_effect=error))
    tried = selection.run_self_test.__wrapped__(Backend.WARM)
    assert (tried.passed, describe_error(error) in tried.answer, bool(tried.remedy)) == (False, True, True)


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
    done = run_command(sys.executable, "-c", WITHOUT_UNIX)
    assert done.returncode == 0, done.stderr


@needs.root
def test_all_of_it_as_an_ordinary_user() -> None:
    """The same promises without any privilege: user namespaces, and the watchdog where no control group can be made."""
    chosen = "walls or visible or hides or killed_grader or landlock or (bounded and warm)"
    options = ("-q", "-p", "no:cacheprovider", "-k", chosen)
    done = run_command(sys.executable, "-m", "pytest", *options, str(HERE), as_user=True)
    assert done.returncode == 0, done.stdout[-4000:]
