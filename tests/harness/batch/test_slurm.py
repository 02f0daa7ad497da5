"""The job script that a cluster would get."""

import pytest

from grader.batch import slurm_jobs
from grader.batch.slurm_jobs import SlurmOptions

GPUS = SlurmOptions(jobs=1, gpus=2, kernels_per_gpu=4, queue="long", account="course", walltime="01:00:00")
ASKED = ["--gres=gpu:2", "--nworkers 8", "--nthreads 1", "--resources GPU=1", "-p long", "-A course", "-t 01:00:00"]
WISHES = [
    pytest.param(SlurmOptions(jobs=3), ["--cpus-per-task=2", "--mem=8G"], ["gres", "GPU"], id="processors"),
    pytest.param(GPUS, ASKED, [], id="four kernels on each of two GPUs"),
]


@pytest.mark.parametrize(("wish", "there", "absent"), WISHES)
def test_script(wish: SlurmOptions, there: list[str], absent: list[str]) -> None:
    script = slurm_jobs.render_script(wish)
    assert [words for words in there if words not in script] == []
    assert [words for words in absent if words in script] == []
    assert "export DASK_DISTRIBUTED__WORKER__DAEMON=False" in script  # workers start processes of their own
