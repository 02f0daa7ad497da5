"""Hostile code against the sandbox's promises, on every backend that promises all of them.

The cases concern the process: dying, not ending, multiplying, taking memory, disk or attention, looking around,
breaking out. That nothing is left is checked once, at the end.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from grader.errors import GraderError
from grader.paths import ROOT
from grader.sandbox import Backend, Stop, select
from grader.sandbox.walls.cgroups import can_make_groups
from tests.harness import needs

from .conftest import LINUX_BACKENDS, ROOMY, SAVE, START, Driver, OpenSandbox, Run, eventually, peak_mib

DEATHS = {
    "exit code 0": ("import os; os._exit(0)", 0),
    "exit code 7": ("import os; os._exit(7)", 7),
    "segmentation fault": ("import ctypes; ctypes.string_at(0)", -11),
    "kills itself": ("import os; os.kill(os.getpid(), 9)", -9),
}
SIGNALS = {
    "process 1": "import os; os.kill(1, 9); os.kill(1, 15); os.kill(1, 2)",
    "everybody": "import os; os.kill(-1, 9)",
}
ENDLESS = {
    "loop": "while True: pass",
    "swallows everything": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "in one C call": "10 ** 10 ** 9",
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
}
SLEEP = "import time; time.sleep(600)"
FORKS = f"""
import os
for _ in range(8):
    if os.fork() == 0:
        hog = bytearray(os.urandom(1 << 20)) * 100
        {SLEEP}
{SLEEP}
"""
FILES = f"for name in range(100):\n    with open(str(name), 'wb') as file: file.write(bytes(2 << 20))\n{SLEEP}"
FOLDERS = f"import os\nfor _ in range(3000):\n    os.mkdir('d'); os.chdir('d')\n{SLEEP}"
GREEDY = {
    "bytearrays": ("hog = []\nwhile True: hog.append(bytearray(8 << 20))", (Stop.MEMORY,)),
    "eight forks": (FORKS, (Stop.MEMORY,)),
    "memfd": (
        "import os\nhole = os.memfd_create('x')\nwhile True: os.write(hole, bytes(8 << 20))",
        (Stop.MEMORY, "PermissionError", "OSError"),  # denied where no control group counts such memory
    ),
    "shared memory": (
        "with open('/dev/shm/x', 'wb') as file:\n    while True: file.write(bytes(8 << 20))",
        (Stop.MEMORY, "OSError"),  # the shared memory has a size
    ),
    "one huge file": ("with open('one', 'wb') as file:\n    while True: file.write(bytes(1 << 20))", ("OSError",)),
    "many files": (FILES, ("OSError", Stop.DISK)),
    "many inodes": (f"for name in range(3000): open(str(name), 'w').close()\n{SLEEP}", ("OSError", Stop.DISK)),
    "deep folders": (FOLDERS, ("OSError", Stop.DISK)),
}
FILL = """for number in range(100):
    with open(f"{%s}/{number}", "wb") as file: file.write(bytes(4 << 20))"""
KERNEL = "kernel = get_ipython().kernel\nsocket = kernel.iopub_socket\n"
SIGNED = f"""{KERNEL}
parts = [b'{{"msg_id": "1", "msg_type": "status"}}', b'{{}}', b'{{}}', %s]
socket.send_multipart([b'<IDS|MSG>', kernel.session.sign(parts), *parts])
{SLEEP}
"""
UNSIGNED = f"{KERNEL}socket.send_multipart([b'<IDS|MSG>', b'', b'{{}}', b'{{}}', b'{{}}', b'{{}}'])\n{SLEEP}"
WRONG_TYPES = f"{KERNEL}kernel.session.send(socket, 'stream', content={{'name': 1, 'text': {{}}}})\n{SLEEP}"
LOUD = {
    "large prints": ("for _ in range(64): print('x' * (1 << 20))", Stop.OUTPUT),
    "endless small displays": ("while True: display(1)", Stop.OUTPUT),
    "endless small prints": ("while True: print(1, flush=True)", Stop.OUTPUT),
    "one huge display": (f"display('x' * (60 << 20))\n{SLEEP}", Stop.OUTPUT),
    "one message of many frames": (f"{KERNEL}socket.send_multipart([bytes(4 << 20)] * 1000)\n{SLEEP}", Stop.OUTPUT),
    "unsigned message": (UNSIGNED, Stop.PROTOCOL),
    "deep nesting": (SIGNED % "b'[' * 200_000", Stop.PROTOCOL),
    "5,000 digits": (SIGNED % "b'{\"x\": ' + b'1' * 5000 + b'}'", Stop.PROTOCOL),
    "wrong types": (WRONG_TYPES, Stop.PROTOCOL),
}
CALL = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nif libc.%s != 0: raise OSError(ctypes.get_errno(), '')"
DENIED = {
    "tcp": ("import socket; socket.create_connection(('1.1.1.1', 53), timeout=3)", "OSError"),
    "name look-up": ("import socket; socket.getaddrinfo('example.org', 80)", "gaierror"),
    "vsock": ("import socket; socket.socket(40, socket.SOCK_STREAM)", "OSError"),
    "packet socket": ("import socket; socket.socket(17, socket.SOCK_RAW)", "OSError"),
    "home of root": ("import os; os.listdir('/root/.ssh')", "FileNotFoundError"),
    "rest of the system": ("import os; os.listdir('/var')", "FileNotFoundError"),
    "write to /usr": ("open('/usr/x', 'w')", "OSError"),
    "write to /": ("open('/x', 'w')", "OSError"),
    "write to /dev": ("open('/dev/x', 'w')", "OSError"),
    "device node": ("import os; os.mknod('x', 0o60666, os.makedev(8, 0))", "OSError"),
    "user namespace": (CALL % "unshare(0x10000000)", "PermissionError"),
    "ptrace": (CALL % "ptrace(16, 1, 0, 0)", "PermissionError"),
    "sysctl": ("open('/proc/sys/kernel/hostname', 'w').write('x')", "OSError"),
    "become root": ("import os; os.setuid(0)", "OSError"),
}


@pytest.mark.parametrize(("code", "exit_code"), DEATHS.values(), ids=DEATHS)
def test_a_dead_kernel_is_dead_whatever_it_says(run: Driver, code: str, exit_code: int) -> None:
    outcome = run(code, "print('next')")
    assert outcome.died
    assert (outcome.ending.exit_code, outcome.ending.stopped_by) == (exit_code, None)


def test_leaving_a_cell_leaves_the_kernel(run: Driver) -> None:
    assert run("import sys; sys.exit(0)", "1 + 1").errors == ["SystemExit", ""]


@pytest.mark.parametrize("code", SIGNALS.values(), ids=SIGNALS)
def test_signals_stay_inside(run: Driver, code: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as witness:
        outcome = run(code)
        assert witness.poll() is None
        witness.kill()
    assert outcome.ending.fault is None


def test_time_ends(sandboxes: OpenSandbox, backend: Backend) -> None:
    """All at once, in a kernel each: waiting is what takes the time."""
    outcomes = run_until_started(lambda wall_s: Driver(sandboxes(backend, replace(ROOMY, wall_s=wall_s))))
    assert {name: run.ending.stopped_by for name, run in outcomes.items()} == dict.fromkeys(ENDLESS, Stop.WALL)
    assert not any(run.replies for run in outcomes.values())


def run_until_started(driver: Callable[[float], Driver]) -> dict[str, Run]:
    """A kernel's time runs from its start, which takes long on a busy machine: give more until every cell has begun."""
    for wall_s in (2, 10, 60):
        try:
            outcomes = dict(zip(ENDLESS, driver(wall_s).together(*ENDLESS.values()), strict=True))
        except (GraderError, RuntimeError):  # the time was over before a kernel answered
            continue
        if all(run.started for run in outcomes.values()):
            return outcomes
    pytest.fail("no kernel started within a minute")


def test_processor_time_ends_and_threads_are_capped(sandboxes: OpenSandbox, backend: Backend) -> None:
    endless = Driver(sandboxes(backend, replace(ROOMY, cpu_s=2)))("while True: pass")
    assert endless.ending.stopped_by is Stop.CPU
    threads = "import threading, time\nfor _ in range(500): threading.Thread(target=time.sleep, args=(600,)).start()"
    assert Driver(sandboxes(backend, ROOMY))(threads).errors == ["RuntimeError"]


@pytest.mark.parametrize(("code", "accepted"), GREEDY.values(), ids=GREEDY)
def test_memory_and_disk_are_bounded(run: Driver, code: str, accepted: tuple[Stop | str, ...]) -> None:
    outcome = run(code)
    assert (outcome.ending.stopped_by or outcome.errors[0]) in accepted
    late = 2 if can_make_groups() else 4  # without control groups a watchdog looks every 50 ms, later on a busy machine
    assert outcome.ending.peak_memory_mib < late * ROOMY.memory_mib


def test_a_full_disk_leaves_room_for_evidence(sandboxes: OpenSandbox) -> None:
    outcome = Driver(sandboxes(Backend.WARM, ROOMY))(FILL % "'.'", SAVE)
    assert (outcome.errors, outcome.ending.stopped_by) == (["OSError", ""], None)
    assert outcome.ending.evidence == ("x.json",)


def test_a_notebook_that_takes_the_room_for_evidence_ends(sandboxes: OpenSandbox) -> None:
    folder = "__import__('os').environ['SANDBOX_EVIDENCE']"
    assert Driver(sandboxes(Backend.WARM, ROOMY))(FILL % folder, SAVE).ending.stopped_by is Stop.DISK


@pytest.mark.parametrize(("code", "reason"), LOUD.values(), ids=LOUD)
def test_messages_are_counted_and_checked(run_loud: Driver, code: str, reason: Stop) -> None:
    before = peak_mib()
    assert run_loud(code).ending.stopped_by is reason
    assert peak_mib() - before < 200  # LOUD allows 96 MiB before the kernel is stopped, which takes a moment


def test_walls(run: Driver) -> None:
    """All in one kernel: none of them may harm it."""
    outcome = run(*(code for code, _ in DENIED.values()))
    seen = dict(zip(DENIED, outcome.errors, strict=True))
    forms = {"OSError": ("FileNotFoundError", "PermissionError", "ConnectionRefusedError", "TimeoutError", "OSError")}
    assert {id_: seen[id_] for id_, (_, name) in DENIED.items() if seen[id_] not in forms.get(name, (name,))} == {}


PROCESS_1 = """
lines = open('/proc/1/status').read().splitlines()
status = dict(line.split(':\\t', 1) for line in lines if ':\\t' in line)
assert status['Seccomp'] == '2' and status['NoNewPrivs'] == '1'
assert int(status['CapEff'], 16) == int(status['CapPrm'], 16) == int(status['CapBnd'], 16) == 0, status
"""
LOOK = """
import json, os, sys
seen = {'root': sorted(os.listdir('/')), 'tmp': os.listdir('/tmp'), 'home': os.listdir('/home'),
        'processes': sum(name.isdigit() for name in os.listdir('/proc')), 'uid': os.getuid(),
        'environment': dict(os.environ), 'first': open('/proc/self/environ').read(),
        'modules': [name for name in sys.modules if name.startswith('grader')], 'path': sys.path,
        'host': os.uname().nodename, 'sys': os.listdir('/sys')}
json.dump(seen, open(os.environ['SANDBOX_EVIDENCE'] + '/seen.json', 'w'))
"""


def test_nothing_of_the_host_is_visible(run: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """And process 1 has the same walls: taking it over, where its memory can be written, must gain nothing."""
    monkeypatch.setenv("GRADER_TEST_SECRET", "opensesame")
    outcome = run(LOOK, PROCESS_1)
    assert outcome.errors == ["", ""]
    seen = json.loads(outcome.evidence["seen.json"])
    assert "opensesame" not in json.dumps(seen)
    assert seen["uid"] != 0
    assert seen["processes"] <= 3
    assert (seen["modules"], seen["host"], seen["sys"]) == ([], "sandbox", ["devices"])
    assert str(ROOT) not in seen["path"]
    leads_to_python = {Path(folder).parts[1] for folder in (sys.prefix, sys.base_prefix)}
    assert not ({"boot", "var", "mnt", "media", "srv", "run"} - leads_to_python) & set(seen["root"])


@needs.root
def test_what_only_root_may_read_stays_unread(
    sandboxes: OpenSandbox, backend: Backend, short_temporary_folder: Path
) -> None:
    needs.require_backend(backend)
    with tempfile.TemporaryDirectory(dir=short_temporary_folder) as name:
        shown, public, secret = Path(name), f"{name}/public", f"{name}/secret"
        shown.chmod(0o755)
        for path, mode in ((public, 0o644), (secret, 0o600)):
            Path(path).touch(mode)
        with select(replace(ROOMY, read_only=(shown,)), only=backend) as sandbox:
            outcome = Driver(sandbox)(f"open({public!r})", f"open({secret!r})", f"open({public!r}, 'w')")
    assert outcome.errors[:2] == ["", "PermissionError"]
    assert outcome.errors[2] in ("OSError", "PermissionError")


def test_nothing_runs_after_the_end(run: Driver) -> None:
    outcome = run(
        "import atexit, os, time\n"
        "def last():\n    open(os.environ['SANDBOX_EVIDENCE'] + '/late', 'w').close()\n    time.sleep(600)\n"
        "atexit.register(last)",
        "import threading\n"
        "def talk():\n    while True:\n        print('still here')\n        time.sleep(0.01)\n"
        "threading.Thread(target=talk, daemon=True).start()",
    )
    assert (outcome.errors, outcome.evidence) == (["", ""], {})


def test_many_long_names_of_evidence_are_told_in_short(sandboxes: OpenSandbox, backend: Backend) -> None:
    """Together they are longer than a message from the supervisor may be."""
    run = Driver(sandboxes(backend, replace(ROOMY, evidence_files=256)))
    outcome = run(
        "import os\n"
        "path = os.environ['SANDBOX_EVIDENCE'].encode()\n"
        "for _ in range(4):\n"
        "    path += b'/' + bytes([1]) * 255\n"
        "    os.mkdir(path)\n"
        "for number in range(256):\n"
        "    open(path + b'/%03d' % number + bytes([1]) * 252, 'w').close()"
    )
    assert outcome.errors == [""]
    assert (outcome.ending.fault, len(outcome.ending.refused)) == (None, 50)


@pytest.mark.parametrize("backend", LINUX_BACKENDS, ids=str)
def test_a_process_that_hides_dies_with_the_kernel(run: Driver, backend: Backend) -> None:
    mark = f"marked-{os.getpid()}-{backend}"
    outcome = run(
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        f"        os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(600)', {mark!r}])\n"
        "    os._exit(0)\n"
        "time.sleep(0.3)"
    )
    assert outcome.errors == [""]
    assert eventually(lambda: not [p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or ())])


HOLDER = f"""{START}
async def main():
    tempfile.tempdir = sys.argv[2]
    folder = Path(sys.argv[2], "work")
    for part in ("job", "evidence"):
        (folder / part).mkdir(parents=True)
    sandbox = select(SandboxPolicy(memory_mib=300, scratch_mib=48), only=Backend(sys.argv[1]))
    kept = await start(sandbox, folder, "import os\\nfor _ in range(3): os.fork()\\nwhile True: pass")
    await asyncio.sleep(0.3)
    print("running", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def test_a_killed_grader_leaves_nothing(sandboxes: OpenSandbox, backend: Backend, short_temporary_folder: Path) -> None:
    sandboxes(backend, ROOMY)  # skips where the backend does not work
    folder = Path(tempfile.mkdtemp(prefix="h"))
    command = [sys.executable, "-c", HOLDER, backend.value, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"running\n"
        started = psutil.Process(holder.pid).children(recursive=True)
        assert len(started) > 5
        holder.kill()
    assert eventually(lambda: not any(map(_is_alive, started)))
    assert eventually(lambda: sorted(path.name for path in folder.iterdir()) == ["work"])
    names = {f"grader-sandbox-{process.pid}" for process in started}
    groups = [group for group in Path("/sys/fs/cgroup").rglob("grader-sandbox-*") if group.name in names]
    assert eventually(lambda: not any((group / "cgroup.procs").exists() for group in groups))
    shutil.rmtree(folder)


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def test_kernels_do_not_know_each_other(sandboxes: OpenSandbox, backend: Backend) -> None:
    run = Driver(sandboxes(backend, ROOMY))
    assert run("open('/tmp/left', 'w').write('x')", "open('left', 'w').write('x')").errors == ["", ""]
    assert run("open('/tmp/left')", "open('left')").errors == ["FileNotFoundError"] * 2
