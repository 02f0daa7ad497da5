"""Control groups on folders that look like them, and the watchdog on a real process."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from grader.sandbox.policy import Ending, SandboxPolicy, Stop, Warmup, Workspace
from grader.sandbox.walls.cgroups import VERSION_1, VERSION_2, Group, GroupFiles
from grader.sandbox.walls.watchdog import Watchdog

from .conftest import eventually

POLICY = SandboxPolicy(memory_mib=100, processes=7)
OWN = f"grader-sandbox-{os.getpid()}"


def fake_linux(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """Have folders stand for control groups, whose files appear and go with the folder."""
    make = Path.mkdir

    def mkdir(path: Path, *arguments: object, **options: object) -> None:
        make(path)
        for name, text in files.items():
            (path / name).write_text(text, encoding="ascii")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(Path, "rmdir", shutil.rmtree)


def test_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for controller in ("memory", "pids"):
        (tmp_path / controller / "own").mkdir(parents=True)
    (tmp_path / "cgroup").write_text("4:memory:/own\n8:pids:/own\n0::/\n", encoding="ascii")
    fake_linux(monkeypatch, {"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"})
    group = Group.create(POLICY, root=tmp_path, own=tmp_path / "cgroup")
    assert group is not None
    memory = tmp_path / "memory" / "own" / OWN
    assert (memory / "memory.limit_in_bytes").read_text(encoding="ascii") == str(100 << 20)
    assert (tmp_path / "pids" / "own" / OWN / "pids.max").read_text(encoding="ascii") == "7"
    assert not group.was_exceeded()
    group.remove()
    assert not memory.exists()


def test_version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "user" / "own").mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n", encoding="ascii")
    (tmp_path / "cgroup").write_text("0::/user/own\n", encoding="ascii")
    events = "low 0\noom 1\noom_kill 1\n"
    fake_linux(monkeypatch, {"memory.events": events, "memory.peak": "2097152\n", "memory.swap.max": ""})
    group = Group.create(POLICY, root=tmp_path, own=tmp_path / "cgroup")
    assert group is not None
    folder = tmp_path / "user" / "own" / OWN
    assert (folder / "memory.max").read_text(encoding="ascii") == str(100 << 20)
    assert (folder / "memory.swap.max").read_text(encoding="ascii") == "0"
    assert (group.was_exceeded(), group.peak_mib()) == (True, 2.0)


def test_what_killed_supervisors_left_is_swept(tmp_path: Path) -> None:
    """Their groups alone: empty, old, and of a process that is gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    alive, new = f"grader-sandbox-{os.getppid()}", f"grader-sandbox-{gone.pid}"
    for controller in ("memory", "pids"):
        (tmp_path / controller / "own").mkdir(parents=True)
    (tmp_path / "cgroup").write_text("4:memory:/own\n8:pids:/own\n", encoding="ascii")
    old = tmp_path / "pids" / "own" / new
    for folder in (old, old.with_name(alive), old.with_name("somebody-elses"), tmp_path / "memory" / "own" / new):
        folder.mkdir()
        os.utime(folder, (0, 0))
    os.utime(tmp_path / "memory" / "own" / new)
    group = Group.create(POLICY, root=tmp_path, own=tmp_path / "cgroup")
    assert group is not None
    assert sorted(path.name for path in old.parent.iterdir()) == sorted([OWN, alive, "somebody-elses"])
    assert (tmp_path / "memory" / "own" / new).exists()


@pytest.mark.parametrize(
    "own",
    ["4:memory:/own\n8:pids:/own\n", "0::/own\n", ""],
    ids=["version 1, of somebody else", "version 2, of somebody else", "no control groups"],
)
def test_none_where_none_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str) -> None:
    (tmp_path / "cgroup").write_text(own, encoding="ascii")
    (tmp_path / "cgroup.controllers").write_text("memory pids", encoding="ascii")

    def refuse(path: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert Group.create(POLICY, root=tmp_path, own=tmp_path / "cgroup") is None


ONE = {"memory.limit_in_bytes": f"{100 << 20}", "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1"}
FULL, ROOM = ({**ONE, "memory.max_usage_in_bytes": f"{mib << 20}"} for mib in (100, 40))


@pytest.mark.parametrize(
    ("version", "files", "exceeded", "starved"),
    [
        pytest.param(VERSION_1, FULL, True, False, id="1, its own limit"),
        pytest.param(VERSION_1, ROOM, False, True, id="1, the machine"),
        pytest.param(VERSION_2, {"memory.events": "max 9\noom 1\noom_kill 1"}, True, False, id="2, its own limit"),
        pytest.param(VERSION_2, {"memory.events": "max 0\noom 0\noom_kill 1"}, False, True, id="2, the machine"),
        pytest.param(VERSION_2, {"memory.events": "max 0\noom 0\noom_kill 0"}, False, False, id="nothing was killed"),
    ],
)
def test_whose_memory_was_used_up(
    version: GroupFiles, files: dict[str, str], exceeded: bool, starved: bool, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    group = Group((tmp_path,), version)
    assert (group.was_exceeded(), group.was_starved()) == (exceeded, starved)


# Takes 60 MiB, then has two children that share it, or has one child that takes it for itself.
SHARED = "import os, time\nkeep = bytearray(os.urandom(1 << 20)) * 60\nif os.fork(): os.fork()\ntime.sleep(600)"
ALONE = "import os, time\nif os.fork() == 0: keep = bytearray(os.urandom(1 << 20)) * 60\ntime.sleep(600)"


@pytest.mark.parametrize(
    ("code", "limit_mib", "exceeded"),
    [
        pytest.param(ALONE, 40, True, id="above"),
        pytest.param(ALONE, 400, False, id="below"),
        pytest.param(SHARED, 100, False, id="shared pages count once"),  # 140 MiB of resident pages
    ],
)
def test_watchdog(code: str, limit_mib: float, exceeded: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as hog:
        watchdog = Watchdog(limit_mib, below=hog.pid)
        expected_mib = 30 if code == SHARED else 60  # two thirds of it lie below the parent
        assert eventually(lambda: watchdog.is_exceeded() or watchdog.peak_mib() > expected_mib)
        assert watchdog.is_exceeded() is exceeded
        os.killpg(hog.pid, signal.SIGKILL)


def test_policies_and_endings_survive_the_journey() -> None:
    policy = replace(POLICY, read_only=(Path("/data"), Path("/models")), gpus=True)
    assert SandboxPolicy.from_json(policy.to_json()) == policy
    ending = Ending(exit_code=-9, stopped_by=Stop.MEMORY, peak_memory_mib=1.5, evidence=("a",), refused=("b: no",))
    assert Ending.from_message(json.loads(json.dumps(asdict(ending)))) == ending
    assert Warmup().modules == ()
    assert Workspace(job=Path("j"), evidence=Path("e")).environ == {}
