"""Dask workers: warm, told apart from daemons, and replaceable."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client, Security

from grader.batch import executor, scheduling
from grader.batch.messages import BatchConfig, TaskStatus
from grader.batch.scheduling import BatchSummary
from grader.errors import GraderError
from tests.harness.batch.fakes import HERE, ROOT, SilentListener, hand_in, make_config, open_fake

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Dask leaves sockets to the collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def results(config: BatchConfig) -> dict[str, float]:
    paths = config.submissions.glob("*/result.json")
    return {p.parent.name: json.loads(p.read_text(encoding="utf-8"))["score"]["points"] for p in paths}


def graded(cluster: object, config: BatchConfig, *texts: str, told: list[str] | None = None) -> BatchSummary:
    uploads = hand_in(config.folder, *texts)
    tasks = scheduling.plan(uploads, config, HERE)
    lines = told if told is not None else []
    with executor.connect(cluster, config, lambda *said: lines.append(said[-1]), open_fake, False) as workers:
        return scheduling.grade(uploads, tasks, config, workers, SilentListener())


def test_a_local_crew(tmp_path: Path) -> None:
    config, told = make_config(tmp_path), list[str]()
    deadly = f"deadly {tmp_path / 'deaths'} 1"
    with executor.open_local_cluster(2) as cluster:
        summary = graded(cluster, config, *(f"points {n}" for n in range(6)), deadly, "no notebook", told=told)
    assert results(config) == {**{f"u{n}": n for n in range(6)}, "u6": 5}
    assert [summary.count_uploads(status) for status in (TaskStatus.GRADED, TaskStatus.REFUSED)] == [7, 1]
    assert summary.problems == []
    assert any("starting the kernel" in line for line in told)
    assert len((tmp_path / "deaths").read_text(encoding="utf-8").splitlines()) == 2


def test_nobody_else_can_tell_the_workers_what_to_do(tmp_path: Path) -> None:
    with executor.open_local_cluster(1) as cluster:
        address = cluster.scheduler_address
        with pytest.raises((OSError, TypeError, RuntimeError, ValueError)):
            Client(address, timeout=5, security=Security.temporary(), set_as_default=False)
        with pytest.raises(GraderError, match="No Dask scheduler answers"):
            graded(address.replace("tls", "tcp"), make_config(tmp_path), "points 1")


def test_what_kills_every_worker_is_given_up_with_a_name(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    with executor.open_local_cluster(1) as cluster:
        summary = graded(cluster, config, f"deadly {tmp_path / 'deaths'} 99", "points 3")
    (problem,) = summary.problems
    assert (problem.status, problem.message) == (TaskStatus.LOST, "its worker died 3 times")
    assert results(config) == {"u1": 3}


def test_a_worker_that_cannot_grade_says_so(tmp_path: Path) -> None:
    config, refused = make_config(tmp_path), {"another version": {"code": "other"}}
    refused["finds .* in a shell with the A4_DATA of the batch"] = {"reviews_sha256": "f" * 64}
    refused["does not see /nowhere"] = {"folder": Path("/nowhere")}  # it is not shared
    uploads = hand_in(tmp_path, "points 1")
    tasks = scheduling.plan(uploads, config, HERE)
    with executor.open_local_cluster(1) as cluster:
        for words, change in refused.items():
            connected = executor.connect(cluster, config.model_copy(update=change), print, open_fake, False)
            with connected as workers, pytest.raises(GraderError, match=words):
                scheduling.grade(uploads, tasks, config, workers, SilentListener())


def test_nobody_at_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "ANSWER_S", 1)
    with pytest.raises(GraderError, match="No Dask scheduler answers"):
        graded("tcp://127.0.0.1:9", make_config(tmp_path), "points 1")


def started(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"distributed.cli.{program}", "--no-dashboard", *arguments]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, **quiet)


@contextmanager
def by_hand(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, started as somebody would by hand: without our settings, and without a nanny."""
    note = tmp_path / "scheduler.json"
    processes = [started("dask_scheduler", "--port", "0", "--scheduler-file", str(note))]
    try:
        while not note.exists() or not note.read_text(encoding="utf-8").strip():
            time.sleep(0.1)
        address = json.loads(note.read_text(encoding="utf-8"))["address"]
        processes += [started("dask_worker", address, "--nthreads", "1", "--no-nanny") for _ in range(2)]
        yield address, processes[1:]
    finally:
        for process in reversed(processes):
            process.kill()
        for process in processes:
            process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_two_workers_by_hand_one_killed(tmp_path: Path) -> None:
    texts = [f"slow 0.2\n{n}" if n % 2 else f"points {n}" for n in range(14)]
    (tmp_path / "calm").mkdir()
    calm, disturbed = make_config(tmp_path / "calm"), make_config(tmp_path / "disturbed")
    with by_hand(tmp_path) as (address, workers):
        graded(address, calm, *texts)

        def kill_midway() -> None:
            while len(list(disturbed.submissions.glob("*/result.json"))) < 3:
                time.sleep(0.02)
            workers[0].kill()

        killer = threading.Thread(target=kill_midway)
        killer.start()
        summary = graded(address, disturbed, *texts)
        killer.join()
    assert (summary.problems, results(disturbed)) == ([], results(calm))
    assert len(results(calm)) == len(texts)
