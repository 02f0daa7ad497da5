"""Grades what a folder gets with fake tools, to be stopped: python -m tests.harness.batch.stopped FOLDER [COUNT].

COUNT notebooks in this process, to be killed; without a count slowly and with Dask workers, to be interrupted.
"""

import signal
import sys
from pathlib import Path

from grader.batch import scheduling
from grader.batch.store import Store
from grader.cli.app import stop_as_ctrl_c_does
from tests.harness.batch.fakes import HERE, InlineExecutor, SilentListener, hand_in, make_config, open_fake


def grade_here(folder: Path, count: int) -> None:
    config = make_config(folder)
    uploads = hand_in(folder, *(f"slow 0.03\n{number}" for number in range(count)))
    with Store(folder / "store").lock():
        tasks = scheduling.plan(uploads, config, HERE)
        print("ready", flush=True)
        scheduling.grade(uploads, tasks, config, InlineExecutor(config), SilentListener())


def grade_with_workers(folder: Path) -> None:
    from grader.batch import executor  # these take seconds
    from grader.cli.app import translate_errors
    from grader.cli.batch import _explain_interruption

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
    stop_as_ctrl_c_does()
    place, *counts = sys.argv[1:]
    grade_here(Path(place), int(counts[0])) if counts else grade_with_workers(Path(place))
