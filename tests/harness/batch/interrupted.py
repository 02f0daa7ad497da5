"""Grades slowly with Dask workers, to be interrupted: python -m tests.harness.batch.interrupted FOLDER."""

import sys
from pathlib import Path

from grader.batch import executor, scheduling
from grader.cli.app import translate_errors
from grader.cli.batch import _explain_interruption
from tests.harness.batch.fakes import HERE, Deaf, handed_in, open_fake, order


def main(folder: Path) -> None:
    wanted = order(folder)
    uploads = handed_in(folder, *(f"slow 0.3\n{number}" for number in range(100)))
    with (
        translate_errors(),
        _explain_interruption(),
        executor.open_local_cluster(2) as cluster,
        executor.connect(cluster, wanted, lambda *_: None, open_fake, False) as workers,
    ):
        scheduling.grade(uploads, scheduling.plan(uploads, wanted, HERE), wanted, workers, Deaf())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
