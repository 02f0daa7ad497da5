"""Dask workers that grade. One worker is one process that does one thing at a time and keeps its kernels warm.

A worker starts processes, which multiprocessing forbids to daemons, and Dask makes its workers daemons unless told
otherwise (`distributed.worker.daemon`). A worker that dies is started again by its nanny; Dask
gives the task to another, and after the third death in a row reports `KilledWorker`.
"""

import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future as Promise
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from multiprocessing import forkserver
from queue import Empty, Queue
from typing import Any, Final

import dask
from distributed import Client, Future, LocalCluster, Security, WorkerPlugin, get_worker

from grader.assets.reviews import resolve_reviews
from grader.batch.digests import EXECUTION, digest_execution, digest_judging
from grader.batch.messages import TRIES, BatchConfig, Stage, Task, TaskOutcome, TaskStatus
from grader.batch.request import UsedReviews
from grader.batch.work import GradingTools, TaskRunner
from grader.errors import GraderError
from grader.paths import ROOT
from grader.sandbox.folders import shelter_multiprocessing

TOPIC: Final = "grading"
PLUGIN: Final = "grader"
GPU: Final = "GPU"
FORKED: Final = "forkserver"
ANSWER_S: Final = 20
CONFIG: Final = {
    "distributed.worker.daemon": False,
    "distributed.scheduler.allowed-failures": TRIES - 1,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.comm.timeouts.connect": "60s",
    "distributed.logging.distributed": "error",
    "distributed.worker.profile.enabled": False,  # it costs time, for a page that nobody reads
    "distributed.admin.system-monitor.interval": "10s",
}
Opener = Callable[[BatchConfig], AbstractContextManager[GradingTools]]
Tell = Callable[[str, str, str], None]  # task, host, line


def open_tools(config: BatchConfig) -> AbstractContextManager[GradingTools]:
    """Open the real tools; importing them takes seconds, so only workers do."""
    from grader.batch.worker_tools import WorkerTools

    return WorkerTools(config)


class ToolsPlugin(WorkerPlugin):
    """Opens a worker's tools when the worker joins, in the background, and closes them when the worker leaves."""

    name = PLUGIN

    def __init__(self, config: BatchConfig, opener: Opener) -> None:
        """`opener` is called in the worker."""
        self.config, self.opener = config, opener

    def setup(self, worker: Any) -> None:
        """Begin to open the tools. The first task reports what goes wrong."""
        multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # for workers started by hand: see above
        if worker.nanny and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, _leave_it_to_the_nanny)
        self.stack, self.lock = ExitStack(), threading.Lock()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="tools")
        self.tools: Promise[GradingTools] = self.thread.submit(self._open)

    def _open(self) -> GradingTools:
        host = socket.gethostname()
        if not (self.config.folder / "store").is_dir():
            raise GraderError(f"The worker on {host} does not see {self.config.folder}; all machines must share it.")
        expected = {EXECUTION: self.config.code, **self.config.parts}
        here = {EXECUTION: digest_execution(ROOT), **digest_judging(ROOT)}
        if any(expected.get(name, digest) != digest for name, digest in here.items()):
            raise GraderError(
                f"The worker on {host} runs other code than the batch began with: the code was changed since, or that "
                "machine has another version. Start the batch again, or update that machine."
            )
        require_reviews(self.config.reviews_sha256, host)
        return self.stack.enter_context(self.opener(self.config))

    def teardown(self, worker: Any) -> None:
        """Close the tools."""
        self.thread.shutdown(wait=True, cancel_futures=True)
        self.stack.close()


def require_reviews(sha256: str, host: str) -> None:
    """Raise GraderError if this worker finds other reviews than those of the class; any are right without a hash."""
    if sha256 and (found := resolve_reviews(ROOT, os.environ)).sha256 != sha256:
        seen = UsedReviews(name=found.name, sha256=found.sha256)
        raise GraderError(
            f"The worker on {host} finds {seen}, and the class is graded on other reviews ({sha256[:12]}); "
            "start it in a shell with the A4_DATA of the batch."
        )


def work(data: str) -> str:
    """Carry out a task in a worker: a task in, an outcome out, both as JSON."""
    task = Task.model_validate_json(data)
    worker = get_worker()
    plugin: Any = worker.plugins[PLUGIN]
    host = socket.gethostname()

    def tell(line: str) -> None:
        worker.log_event(TOPIC, {"task": task.name, "host": host, "line": line})

    try:
        tools = plugin.tools.result()
    except (GraderError, OSError) as error:
        return TaskOutcome(task=task, status=TaskStatus.HALT, stage=Stage.SETUP, message=str(error)).model_dump_json()
    with plugin.lock:  # pytest and standard output belong to one at a time, however many threads a worker was given
        return TaskRunner(plugin.config, tools, task, tell).run().model_dump_json()


def _leave_it_to_the_nanny(number: int, frame: object) -> None:
    """On ctrl-C, which a terminal sends to everybody, log nothing: the controller prints the one sentence.

    It is a handler and not SIG_IGN, which kernels would inherit.
    """
    logging.disable(logging.CRITICAL)


class DaskExecutor:
    """The workers of one Dask cluster."""

    def __init__(self, client: Client, gpus: bool) -> None:
        """`gpus`: a task takes one `GPU` resource of its worker."""
        self.client, self.gpus = client, gpus
        self._done: Queue[tuple[Task, Future[str]]] = Queue()
        self._held: dict[str, Future[str]] = {}

    def count_slots(self) -> int:
        """Count the workers that are there now."""
        return len(self.client.nthreads())

    def submit(self, task: Task) -> None:
        """Hand out a task; another try is a new Dask task."""
        key = f"{task.result}-{task.tries_left}"
        future = self.client.submit(
            work, task.model_dump_json(), key=key, pure=False, retries=0, resources={GPU: 1} if self.gpus else None
        )
        self._held[key] = future
        future.add_done_callback(lambda done: self._done.put((task, done)))

    def wait(self, timeout_s: float) -> TaskOutcome | None:
        """Return the next outcome, or None when there is none in time."""
        try:
            task, future = self._done.get(timeout=timeout_s)
        except Empty:
            return None
        self._held.pop(str(future.key), None)
        try:
            return TaskOutcome.model_validate_json(future.result())
        except Exception as error:  # whatever Dask raises means that the worker was lost
            died = type(error).__name__ == "KilledWorker"
            cause = f"died {TRIES} times" if died else f"was lost ({type(error).__name__}: {error!s:.200})"
            return TaskOutcome(task=task, status=TaskStatus.LOST, stage=Stage.EXECUTE, message=f"its worker {cause}")


@contextmanager
def connect(cluster: Any, config: BatchConfig, tell: Tell, opener: Opener, gpus: bool) -> Iterator[DaskExecutor]:
    """Connect to a cluster or an address, whose workers begin to warm up. Raises GraderError when nobody answers."""
    try:
        found = Client(cluster, timeout=ANSWER_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise GraderError(f"No Dask scheduler answers at {cluster}; start one, or leave --scheduler out.") from error
    with found as client:
        client.subscribe_topic(TOPIC, lambda event: tell(event[1]["task"], event[1]["host"], event[1]["line"]))
        client.register_plugin(ToolsPlugin(config, opener))
        try:
            yield DaskExecutor(client, gpus)
        finally:
            client.unregister_worker_plugin(PLUGIN)


@contextmanager
def open_local_cluster(jobs: int, gpus: int = 0) -> Iterator[LocalCluster]:
    """Start workers on this machine, forked from one process that imports for all of them.

    They speak TLS, with certificates that live as long as the cluster: a scheduler obeys everybody, and other users of
    the machine reach its port too.
    """
    shelter_multiprocessing()
    multiprocessing.get_context(FORKED).set_forkserver_preload(["grader.batch.worker_tools"])
    forkserver.ensure_running()  # before Dask, which would have it import other things
    with (
        dask.config.set({**CONFIG, "distributed.worker.multiprocessing-method": FORKED}),
        LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            protocol="tls://",
            security=Security.temporary(),
            memory_limit=0,  # kernels are bounded by their sandboxes, and are no part of a worker
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
            resources={GPU: 1} if gpus else None,
        ) as cluster,
    ):
        yield cluster


def serve(scheduler: str, jobs: int, gpus: bool) -> None:
    """Run workers for a scheduler until it ends or the user stops them. Raises GraderError."""
    options = f"--nthreads 1 --nworkers {jobs} --no-dashboard --memory-limit 0{f' --resources {GPU}=1' * gpus}"
    command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler, *options.split()]
    environ = {**os.environ, "DASK_DISTRIBUTED__WORKER__DAEMON": "False", "PYTHONPATH": str(ROOT)}
    if subprocess.run(command, env=environ, check=False).returncode:
        raise GraderError(f"The workers for {scheduler} ended; check the address, and that the scheduler is running.")
