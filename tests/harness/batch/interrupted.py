"""Grades slowly with Dask workers, to be interrupted: python -m tests.harness.batch.interrupted FOLDER."""

import signal
import sys
from pathlib import Path

from grader.batch import executor, scheduling
from grader.cli.app import translate_errors
from grader.cli.batch import _explain_interruption
from tests.harness.batch.fakes import HERE, SilentListener, hand_in, make_config, open_fake


def main(folder: Path) -> None:
    config = make_config(folder)
    uploads = hand_in(folder, *(f"slow 0.3\n{number}" for number in range(100)))
    with (
        translate_errors(),
        _explain_interruption(),
        executor.open_local_cluster(2) as cluster,
        executor.connect(cluster, config, lambda *_: None, open_fake, False) as workers,
    ):
        scheduling.grade(uploads, scheduling.plan(uploads, config, HERE), config, workers, SilentListener())


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    main(Path(sys.argv[1]))
