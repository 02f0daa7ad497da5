"""Equipment that needs no kernels: what becomes of a notebook stands in its first line.

`points N`        graded with N of 10 points
`unjudged`        a check fails through our fault
`broken FILE N`   our fault, until FILE holds N lines; each execution adds one
`deadly FILE N`   the same, but the process dies
`full`            the disk is full
`no notebook`     refused
`slow S`          graded with 5 points after S seconds
"""

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grader.batch.digests import digest_execution
from grader.batch.messages import BatchConfig, StoredJudgement, Task, TaskOutcome
from grader.batch.scheduling import Conditions
from grader.batch.work import TaskRunner
from grader.errors import SubmissionError
from grader.execution.progress import Listener
from grader.intake.uploads import Student, Upload
from grader.model import (
    Profile,
    Result,
    RunStatus,
    StaffDetails,
    Verdict,
)
from tests.harness import results

ROOT = Path(__file__).resolve().parents[3]
HERE = Conditions("checkpoint", "reviews")
POSSIBLE = 10.0


class FakeBench:
    """Executes by looking at the first line. `executions` is a file with a line for each execution that ended well."""

    def __init__(self, order: BatchConfig) -> None:
        self.order = order
        self.executions = order.folder / "executions"

    def execute(self, task: Task, folder: Path, listener: Listener) -> RunStatus:
        listener.stage("starting the kernel")
        word, *rest = task.notebook.read_text(encoding="utf-8").splitlines()[0].split()
        status = self.happened(task, word, rest)
        (folder / "evidence").mkdir()
        points = float(rest[0]) if word == "points" else 5.0
        evidence = {"word": word, "points": points, "status": status, "sha256": task.notebook.stem}
        (folder / "evidence" / "run.json").write_text(json.dumps(evidence), encoding="utf-8")
        (folder / "evidence" / "executed.ipynb").write_text("{}", encoding="utf-8")
        if status is not RunStatus.INFRA_ERROR:
            self.count(self.executions, task.notebook.stem)
        return status

    def happened(self, task: Task, word: str, rest: list[str]) -> RunStatus:
        match word:
            case "no":
                raise SubmissionError(f"'{task.notebook.name}' is no notebook.")
            case "full":
                raise OSError(errno.ENOSPC, "No space left on device", "evidence")
            case "slow":
                time.sleep(float(rest[0]))
            case "broken" | "deadly":
                tries = self.count(Path(rest[0]), word)
                if tries <= int(rest[1]) and word == "deadly":
                    os._exit(1)
                return RunStatus.INFRA_ERROR if tries <= int(rest[1]) else RunStatus.OK
        return RunStatus.OK

    def count(self, path: Path, line: str) -> int:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        return len(path.read_text(encoding="utf-8").splitlines())

    def judge(self, folder: Path) -> StoredJudgement:
        found = json.loads((folder / "evidence" / "run.json").read_text(encoding="utf-8"))
        ours = found["status"] == RunStatus.INFRA_ERROR
        bonus = float(self.order.parts.get("bonus", "0"))
        points = None if ours or found["word"] == "unjudged" else found["points"] + bonus
        return StoredJudgement(
            result=result(points, found["sha256"], RunStatus(found["status"])), details=StaffDetails()
        )


@contextmanager
def open_fake(order: BatchConfig) -> Iterator[FakeBench]:
    """As a worker opens it."""
    yield FakeBench(order)


def result(points: float | None, sha256: str = "0" * 64, status: RunStatus = RunStatus.OK) -> Result:
    """One check, worth all there is."""
    verdict = Verdict.ERROR if points is None else Verdict.PASSED if points >= POSSIBLE else Verdict.FAILED
    works = results.check("run.works", verdict, POSSIBLE, points=points)
    score = results.graded(points, POSSIBLE)
    return results.result([works], "fake", sha256, run=results.run(status), score=score)


def order(folder: Path, **changes: object) -> BatchConfig:
    """An order for `folder`, with its store."""
    (folder / "store" / "uploads").mkdir(parents=True, exist_ok=True)
    plain = BatchConfig(
        folder=folder,
        profile=Profile.STRUCTURE,
        seed=0,
        cell_s=10,
        run_s=10,
        threads=1,
        code=digest_execution(ROOT),
        parts={"checks": "1"},
    )
    return plain.model_copy(update=changes)


def handed_in(folder: Path, *texts: str) -> tuple[Upload, ...]:
    """One student for each text; equal texts are equal contents."""
    import hashlib

    found = []
    for number, text in enumerate(texts):
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        (folder / "store" / "uploads").mkdir(parents=True, exist_ok=True)
        (folder / "store" / "uploads" / f"{sha256}.ipynb").write_text(text, encoding="utf-8")
        student = Student(key=f"s{number}", name=f"Student {number}", canvas_id=number)
        entry = f"s{number}_{number}_{number}_x.ipynb"
        found.append(Upload(id=f"u{number}", student=student, entry=entry, display_name="x.ipynb", sha256=sha256))
    return tuple(found)


class Inline:
    """A crew of one, in this process."""

    def __init__(self, order: BatchConfig, bench: FakeBench | None = None) -> None:
        self.order, self.bench = order, bench or FakeBench(order)
        self.waiting: list[Task] = []
        self.told: list[str] = []

    def slots(self) -> int:
        return 1

    def submit(self, task: Task) -> None:
        self.waiting.append(task)

    def taken(self, timeout_s: float) -> TaskOutcome | None:
        return TaskRunner(self.order, self.bench, self.waiting.pop(0), self.told.append).run()


class Deaf:
    """An audience that only remembers."""

    def __init__(self) -> None:
        self.again: list[bool] = []
        self.alone = 0

    def given(self, task: Task) -> None:
        pass

    def ended(self, outcome: TaskOutcome, again: bool) -> None:
        self.again.append(again)

    def on_no_workers(self) -> None:
        self.alone += 1
