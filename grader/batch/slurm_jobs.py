"""Workers as Slurm jobs, through dask-jobqueue."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import dask

from grader.batch.executor import CONFIG, GPU
from grader.model import FrozenModel
from grader.paths import ROOT

CORES: Final = 2  # of one kernel on the processor
MEMORY_GIB: Final = 8  # a kernel's bound and what its worker needs
ENVIRONMENT: Final = ("export DASK_DISTRIBUTED__WORKER__DAEMON=False", f"export PYTHONPATH={shlex.quote(str(ROOT))}")


class SlurmOptions(FrozenModel):
    """A request to Slurm: `jobs` jobs, each with one worker, or with one for each kernel of its GPUs."""

    jobs: int
    gpus: int = 0
    kernels_per_gpu: int = 1
    queue: str | None = None
    account: str | None = None
    walltime: str = "04:00:00"


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
        "job_extra_directives": [f"--gres=gpu:{wish.gpus}"] if wish.gpus else [],
        "worker_extra_args": ["--resources", f"{GPU}=1"] if wish.gpus else [],
        "scheduler_options": {"dashboard_address": ":0"},
    }
    with dask.config.set(CONFIG), SLURMCluster(**options) as cluster:
        cluster.scale(jobs=jobs)
        yield cluster
