"""A class on a real Slurm whose jobs are killed in the middle: all verdicts are those of the corpus."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from grader.paths import ROOT
from tests.harness import needs
from tests.harness.batch import slurm
from tests.proof.demo import corpus_class

pytestmark = [needs.root, pytest.mark.training]  # for its time: minutes
SIZE = 6
KILLS = {1: slurm.cancel_jobs, 3: slurm.kill_processes}  # results so far -> what becomes of the job then
LONGEST_S = 3_000.0  # on a busy machine; a minute or two otherwise


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    needs.require_programs(*slurm.PROGRAMS)
    with slurm.open_slurm() as found:
        yield found


def test_jobs_that_are_killed(environ: dict[str, str], tmp_path: Path) -> None:
    cases = corpus_class.choose(SIZE)
    corpus_class.write(cases, tmp_path / "class")
    options = ["--profile", "structure", "--slurm", "--jobs", "1", "--walltime", "00:30:00", "--out", tmp_path / "out"]
    command = [sys.executable, "-m", "grader", "batch", tmp_path / "class", *options]
    results, deadline = tmp_path / "out" / "class", time.monotonic() + LONGEST_S
    with subprocess.Popen([*map(str, command)], cwd=ROOT, env=environ, text=True, stdout=subprocess.PIPE) as batch:
        try:
            for results_before, end in KILLS.items():
                while corpus_class.count_results(results) < results_before:
                    assert batch.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.5)
                end(environ)
            said = batch.communicate(timeout=LONGEST_S)[0]
        finally:
            batch.terminate()
    assert (batch.returncode, slurm.list_jobs(environ)) == (0, []), said
    assert f"Notebooks: {SIZE} ({SIZE} graded now)" in said
    assert len(list((results / "slurm").glob("*.log"))) == 1 + len(KILLS)  # a successor for each job that was killed
    assert list(corpus_class.find_changed(cases, results)) == []
