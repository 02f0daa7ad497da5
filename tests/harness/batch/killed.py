"""Grades what lies in a folder with fake equipment, to be killed: python -m tests.harness.batch.killed FOLDER COUNT."""

import sys
from pathlib import Path

from grader.batch import scheduling
from grader.batch.store import Store
from tests.harness.batch.fakes import HERE, Deaf, Inline, handed_in, order


def texts(count: int) -> tuple[str, ...]:
    return tuple(f"slow 0.03\n{number}" for number in range(count))


def main(folder: Path, count: int) -> None:
    wanted = order(folder)
    uploads = handed_in(folder, *texts(count))
    with Store(folder / "store").lock():
        tasks = scheduling.plan(uploads, wanted, HERE)
        print("ready", flush=True)
        scheduling.grade(uploads, tasks, wanted, Inline(wanted), Deaf())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
