"""The job script that a cluster would get, and which jobs are replaced."""

import asyncio
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed.core import Status

from grader.batch import slurm_jobs
from grader.batch.slurm_jobs import SlurmOptions

GPUS = SlurmOptions(jobs=1, gpus=2, kernels_per_gpu=4, queue="long", account="course", walltime="01:00:00")
ASKED = ["--gres=gpu:2", "--nworkers 8", "--nthreads 1", "--resources GPU=1", "-p long", "-A course", "-t 01:00:00"]
WISHES = [
    pytest.param(SlurmOptions(jobs=3), ["--cpus-per-task=2", "--mem=8G"], ["gres", "GPU"], id="processors"),
    pytest.param(GPUS, ASKED, [], id="four kernels on each of two GPUs"),
    pytest.param(SlurmOptions(jobs=1, logs=Path("/c d/slurm")), ['--output="/c d/slurm/%j.log"'], [], id="logs"),
]


@pytest.mark.parametrize(("wish", "there", "absent"), WISHES)
def test_script(wish: SlurmOptions, there: list[str], absent: list[str]) -> None:
    script = slurm_jobs.render_script(wish)
    assert [words for words in there if words not in script] == []
    assert [words for words in absent if words in script] == []
    assert "export DASK_DISTRIBUTED__WORKER__DAEMON=False" in script  # workers start processes of their own


LOOKS = [
    pytest.param([{"s-1"}, {"s-1"}], [], id="its worker is there"),
    pytest.param([{"s-1"}, set(), set()], ["s-1"], id="its worker is gone"),
    pytest.param([{"s-1"}, set(), {"s-1"}, set()], [], id="a nanny starts its worker again"),
    pytest.param([set(), set(), set()], [], id="no worker ever joined"),
    pytest.param([{"s-1-0", "s-1-1"}, {"s-1-1"}, {"s-1-1"}], [], id="one of its two workers is there"),
    pytest.param([{"s-1", "s-10"}, {"s-10"}, {"s-10"}], ["s-1"], id="names that begin alike"),
    pytest.param([{"s-1"}, set(), set(), set(), set()], ["s-1"], id="the new job waits in the queue"),
]


@pytest.mark.parametrize(("looks", "expected"), LOOKS)
def test_jobs_that_are_replaced(looks: list[set[str]], expected: list[str]) -> None:
    """Dask's part is here a table: a job without an entry in `workers` is submitted."""
    closed, ids = list[str](), count()
    cluster = SimpleNamespace(status=Status.running, workers={}, _futures=set())

    async def close(name: str) -> None:
        closed.append(name)

    def submit() -> None:
        for name in {"s-1", "s-10"} - cluster.workers.keys():
            job = {"job_id": str(next(ids)), "close": partial(close, name)}
            cluster.workers[name] = SimpleNamespace(**job)

    async def look() -> None:
        cluster._correct_state = submit
        submit()
        replacements = slurm_jobs._Replacements(cluster)
        for names in looks:
            cluster.scheduler_info = {"workers": {f"tcp://{name}": {"name": name} for name in names}}
            replacements.look()
            await asyncio.sleep(0)

    asyncio.run(look())
    assert closed == expected
