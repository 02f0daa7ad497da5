"""Workers as Slurm jobs, through dask-jobqueue.

Dask forgets a job whose workers have left, and asks for no other; `_Replacements` does. A job that ended before any
worker of it joined is not asked for again: the next would end the same way, and its log says why.
"""

import asyncio
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import dask
from distributed.core import Status
from tornado.ioloop import PeriodicCallback

from grader.batch.executor import CONFIG, GPU
from grader.model import FrozenModel
from grader.paths import ROOT

CORES: Final = 2  # of one kernel on the processor
MEMORY_GIB: Final = 8  # a kernel's bound and what its worker needs
LOOK_EVERY_S: Final = 10  # longer than a nanny takes to start a worker again
PATIENCE: Final = {"distributed.deploy.lost-worker-timeout": "30 days"}  # else Dask cancels a successor, by its name
LOGS: Final = "slurm"  # folder of a class that gets what the jobs print
ENVIRONMENT: Final = ("export DASK_DISTRIBUTED__WORKER__DAEMON=False", f"export PYTHONPATH={shlex.quote(str(ROOT))}")


class SlurmOptions(FrozenModel):
    """A request to Slurm: `jobs` jobs, each with one worker, or with one for each kernel of its GPUs."""

    jobs: int
    gpus: int = 0
    kernels_per_gpu: int = 1
    queue: str | None = None
    account: str | None = None
    walltime: str = "04:00:00"
    logs: Path | None = None  # folder, which all machines see; by default Slurm writes where the command was given


def render_script(wish: SlurmOptions) -> str:
    """Return the job script that would be submitted; start no job."""
    with open_cluster(wish, jobs=0) as cluster:
        return str(cluster.job_script())


@contextmanager
def open_cluster(wish: SlurmOptions, jobs: int) -> Iterator[Any]:
    """Open a cluster and ask for so many jobs: one thread for each worker, cores for its kernel."""
    from dask_jobqueue.slurm import SLURMCluster

    workers = max(1, wish.gpus * wish.kernels_per_gpu)
    options = {
        **wish.model_dump(include={"queue", "account", "walltime"}),
        "cores": workers,
        "processes": workers,
        "job_cpu": workers * CORES,
        "memory": f"{workers * MEMORY_GIB}GiB",
        "death_timeout": 300,  # a job whose batch is gone ends itself
        "job_script_prologue": list(ENVIRONMENT),
        "job_extra_directives": _list_directives(wish),
        "worker_extra_args": ["--resources", f"{GPU}=1"] if wish.gpus else [],
        "scheduler_options": {"dashboard_address": ":0"},
    }
    with dask.config.set({**CONFIG, **PATIENCE}), SLURMCluster(**options) as cluster:
        if jobs and wish.logs:
            wish.logs.mkdir(parents=True, exist_ok=True)
        cluster.scale(jobs=jobs)
        replacements = PeriodicCallback(_Replacements(cluster).look, 1_000 * LOOK_EVERY_S)
        cluster.loop.add_callback(replacements.start)
        yield cluster  # its loop ends with it, and the looks with that


def _list_directives(wish: SlurmOptions) -> list[str]:
    logs = [f'--output="{wish.logs / "%j.log"}"'] if wish.logs else []
    return [*logs, *([f"--gres=gpu:{wish.gpus}"] if wish.gpus else [])]


class _Replacements:
    """Submits a job for each that had workers and has none any more: killed, or at its walltime."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.joined, self.missed = dict[str, str](), set[str]()  # name of a job -> its id in Slurm

    def look(self) -> None:
        """Compare workers and jobs, in the cluster's loop. A job is gone when two looks in a row see no worker."""
        if self.cluster.status is not Status.running:
            return
        names = [f"{worker['name']}-" for worker in self.cluster.scheduler_info["workers"].values()]
        ids = {name: job.job_id for name, job in self.cluster.workers.items()}
        alive = {name: ids[name] for name in ids if any(worker.startswith(f"{name}-") for worker in names)}
        self.joined = {name: id for name, id in (self.joined | alive).items() if ids.get(name) == id}
        missing = self.joined.keys() - alive.keys()
        for name in missing & self.missed:
            self.cluster._futures.add(asyncio.ensure_future(self.cluster.workers.pop(name).close()))
        self.missed = missing
        self.cluster._correct_state()
