"""Dask workers that grade. One worker is one process that does one thing at a time and keeps its kernels warm.

A worker has to start processes of its own, which multiprocessing forbids to daemons, and Dask makes its workers
daemons unless told otherwise (`distributed.worker.daemon`). A worker that dies is started again by its nanny; Dask
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

from grader.batch.digests import EXECUTION, digest_execution, digest_judging
from grader.batch.messages import TRIES, BatchConfig, Stage, Task, TaskOutcome, TaskStatus
from grader.batch.work import GradingTools, TaskRunner
from grader.errors import GraderError
from grader.paths import ROOT
from grader.sandbox.folders import shelter_multiprocessing

TOPIC: Final = "grading"
PLUGIN: Final = "grader"
GPU: Final = "GPU"
FORKED: Final = "forkserver"
EQUIPMENT: Final = "grader.batch.worker_tools"
ANSWER_S: Final = 20
CONFIG: Final = {
    "distributed.worker.daemon": False,
    "distributed.scheduler.allowed-failures": TRIES - 1,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.comm.timeouts.connect": "60s",
    "distributed.logging.distributed": "error",
    "distributed.worker.profile.enabled": False,  # nobody looks at Dask's dashboard; samples cost every worker time
    "distributed.admin.system-monitor.interval": "10s",
}
Opener = Callable[[BatchConfig], AbstractContextManager[GradingTools]]
Tell = Callable[[str, str, str], None]  # task, host, line


def open_tools(order: BatchConfig) -> AbstractContextManager[GradingTools]:
    """The real equipment; importing it takes seconds, so it is imported in workers only."""
    from grader.batch.worker_tools import WorkerTools

    return WorkerTools(order)


class ToolsPlugin(WorkerPlugin):
    """Opens a worker's equipment when the worker joins, in the background, and closes it when the worker leaves."""

    name = PLUGIN

    def __init__(self, order: BatchConfig, opener: Opener) -> None:
        """`opener` is called in the worker."""
        self.order, self.opener = order, opener

    def setup(self, worker: Any) -> None:
        """Begin to open. What goes wrong is told to the first task."""
        multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # see above: workers started by hand
        if worker.nanny and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, _leave_it_to_the_nanny)
        self.stack, self.lock = ExitStack(), threading.Lock()
        self.hand = ThreadPoolExecutor(1, thread_name_prefix="equipment")
        self.equipment: Promise[GradingTools] = self.hand.submit(self._open)

    def _open(self) -> GradingTools:
        self._require_ours()
        return self.stack.enter_context(self.opener(self.order))

    def _require_ours(self) -> None:
        host = socket.gethostname()
        if not (self.order.folder / "store").is_dir():
            raise GraderError(f"The worker on {host} does not see {self.order.folder}; all machines need to share it.")
        told = {EXECUTION: self.order.code, **self.order.parts}
        here = {EXECUTION: digest_execution(ROOT), **digest_judging(ROOT)}
        if any(told.get(name, digest) != digest for name, digest in here.items()):
            raise GraderError(f"The worker on {host} runs another version of the grader; update it and start it again.")

    def teardown(self, worker: Any) -> None:
        """Let go of the equipment."""
        self.hand.shutdown(wait=True, cancel_futures=True)
        self.stack.close()


def work(data: str) -> str:
    """What a worker is asked to do: a task in, an outcome out, both as JSON."""
    task = Task.model_validate_json(data)
    worker = get_worker()
    plugin: Any = worker.plugins[PLUGIN]
    host = socket.gethostname()

    def tell(line: str) -> None:
        worker.log_event(TOPIC, {"task": task.name, "host": host, "line": line})

    try:
        equipment = plugin.equipment.result()
    except (GraderError, OSError) as error:
        return TaskOutcome(
            task=task, status=TaskStatus.HALT, stage=Stage.SETUP, message=str(error), host=host
        ).model_dump_json()
    with plugin.lock:  # pytest and standard output belong to one at a time, however many threads a worker was given
        return TaskRunner(plugin.order, equipment, task, tell).run().model_dump_json()


def _leave_it_to_the_nanny(number: int, frame: object) -> None:
    """On ctrl-C, which a terminal sends to everybody. A handler and not SIG_IGN, which kernels would inherit.

    The controller says the one sentence that there is to say; what it takes away is no error worth a line of a log.
    """
    logging.disable(logging.CRITICAL)


class DaskExecutor:
    """Workers of one Dask cluster."""

    def __init__(self, client: Client, gpus: bool) -> None:
        """`gpus`: a task takes one `GPU` resource of its worker."""
        self.client, self.gpus = client, gpus
        self._done: Queue[tuple[Task, Future[str]]] = Queue()
        self._held: dict[str, Future[str]] = {}

    def slots(self) -> int:
        """Workers that are there now."""
        return len(self.client.nthreads())

    def submit(self, task: Task) -> None:
        """Hand out a task; a try that follows another is a new Dask task."""
        key = f"{task.result}-{task.tries_left}"
        future = self.client.submit(
            work, task.model_dump_json(), key=key, pure=False, retries=0, resources={GPU: 1} if self.gpus else None
        )
        self._held[key] = future
        future.add_done_callback(lambda done: self._done.put((task, done)))

    def taken(self, timeout_s: float) -> TaskOutcome | None:
        """The next outcome."""
        try:
            task, future = self._done.get(timeout=timeout_s)
        except Empty:
            return None
        self._held.pop(str(future.key), None)
        try:
            return TaskOutcome.model_validate_json(future.result())
        except Exception as error:  # whatever Dask raises means that the worker was lost
            return TaskOutcome(task=task, status=TaskStatus.LOST, stage=Stage.EXECUTE, message=describe_loss(error))


def describe_loss(error: Exception) -> str:
    """What an exception of Dask means, on one line."""
    if type(error).__name__ == "KilledWorker":
        return f"its worker died {TRIES} times"
    return f"its worker was lost ({type(error).__name__}: {error!s:.200})"


@contextmanager
def connect(cluster: Any, order: BatchConfig, tell: Tell, opener: Opener, gpus: bool) -> Iterator[DaskExecutor]:
    """A crew on a cluster, or at an address; its workers begin to warm up. Raises GraderError."""
    with open_client(cluster) as client:
        client.subscribe_topic(TOPIC, lambda event: tell(event[1]["task"], event[1]["host"], event[1]["line"]))
        client.register_plugin(ToolsPlugin(order, opener))
        try:
            yield DaskExecutor(client, gpus)
        finally:
            client.unregister_worker_plugin(PLUGIN)


@contextmanager
def open_client(cluster: Any) -> Iterator[Client]:
    """A client. Raises GraderError when nobody answers at the address."""
    try:
        client = Client(cluster, timeout=ANSWER_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise GraderError(f"No Dask scheduler answers at {cluster}; start one, or leave --scheduler out.") from error
    with client:
        yield client


@contextmanager
def open_local_cluster(jobs: int, gpus: int = 0) -> Iterator[LocalCluster]:
    """Workers on this machine, forked from one process that imports for all of them.

    They speak TLS, by certificates that live as long as the cluster: a scheduler does what anybody tells it, and other
    users of the machine reach its port too.
    """
    shelter_multiprocessing()
    multiprocessing.get_context(FORKED).set_forkserver_preload([EQUIPMENT])
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
    """Run workers for a scheduler until it goes away or the user says so. Raises GraderError."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--nthreads", "1"]
    command += ["--nworkers", str(jobs), "--no-dashboard", "--memory-limit", "0"]
    command += ["--resources", f"{GPU}=1"] if gpus else []
    environ = {**os.environ, "DASK_DISTRIBUTED__WORKER__DAEMON": "False", "PYTHONPATH": str(ROOT)}
    if subprocess.run(command, env=environ, check=False).returncode:
        raise GraderError(f"The workers for {scheduler} ended; is the address right, and the scheduler running?")
