"""Grades what lies in a folder with fake tools, to be killed: python -m tests.harness.batch.killed FOLDER COUNT."""

import sys
from pathlib import Path

from grader.batch import scheduling
from grader.batch.store import Store
from tests.harness.batch.fakes import HERE, InlineExecutor, SilentListener, hand_in, make_config


def main(folder: Path, count: int) -> None:
    config = make_config(folder)
    uploads = hand_in(folder, *(f"slow 0.03\n{number}" for number in range(count)))
    with Store(folder / "store").lock():
        tasks = scheduling.plan(uploads, config, HERE)
        print("ready", flush=True)
        scheduling.grade(uploads, tasks, config, InlineExecutor(config), SilentListener())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
