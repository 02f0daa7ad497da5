"""Tools that need no kernels: the first line of a notebook says how it is graded.

`points N`        N of 10 points
`unmeasured`      5 points, and a check worth 5 that this profile does not cover
`unjudged`        a check cannot be judged through a fault of the grader
`broken FILE N`   a fault of the grader, until FILE holds N lines; each execution adds one
`deadly FILE N`   the same, but the process dies
`full`            the disk is full
`no notebook`     refused
`slow S`          5 points after S seconds
"""

import errno
import hashlib
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
from grader.model import Profile, Result, RunStatus, StaffDetails, Verdict
from tests.harness import results

ROOT = Path(__file__).resolve().parents[3]
HERE = Conditions("checkpoint", "reviews", "synthetic reviews")
POSSIBLE = 10.0


class FakeTools:
    """Executes by looking at the first line. `executions` is a file with a line for each execution that ended well."""

    def __init__(self, config: BatchConfig) -> None:
        self.config = config
        self.executions = config.folder / "executions"

    def execute(self, task: Task, folder: Path, listener: Listener) -> RunStatus:
        listener.stage("starting the kernel")
        word, *rest = task.notebook.read_text(encoding="utf-8").splitlines()[0].split()
        status = self.obey(task, word, rest)
        (folder / "evidence").mkdir()
        points = float(rest[0]) if word == "points" else 5.0
        evidence = {"word": word, "points": points, "status": status, "sha256": task.notebook.stem}
        (folder / "evidence" / "run.json").write_text(json.dumps(evidence), encoding="utf-8")
        (folder / "evidence" / "executed.ipynb").write_text("{}", encoding="utf-8")
        if status is not RunStatus.INFRA_ERROR:
            self.count(self.executions, task.notebook.stem)
        return status

    def obey(self, task: Task, word: str, rest: list[str]) -> RunStatus:
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
        status = RunStatus(found["status"])
        bonus = float(self.config.parts.get("bonus", "0"))
        unknown = status is RunStatus.INFRA_ERROR or found["word"] == "unjudged"
        points = None if unknown else found["points"] + bonus
        made = make_result(points, found["sha256"], status)
        if found["word"] == "unmeasured":
            more = results.check("step1.accuracy", Verdict.NOT_JUDGED, POSSIBLE / 2)
            made = made.model_copy(update={"checks": (*made.checks, more)})
        return StoredJudgement(result=made, details=StaffDetails())


@contextmanager
def open_fake(config: BatchConfig) -> Iterator[FakeTools]:
    """Open the fake tools as a worker opens the real ones."""
    yield FakeTools(config)


def make_result(points: float | None, sha256: str, status: RunStatus) -> Result:
    """Make a result of one check, worth all there is."""
    verdict = Verdict.ERROR if points is None else Verdict.PASSED if points >= POSSIBLE else Verdict.FAILED
    works = results.check("run.works", verdict, POSSIBLE, points=points)
    score = results.graded(points, POSSIBLE)
    return results.result([works], "fake", sha256, run=results.run(status), score=score)


def make_config(folder: Path, **changes: object) -> BatchConfig:
    """Configure a batch for `folder`, and make its store."""
    (folder / "store" / "uploads").mkdir(parents=True, exist_ok=True)
    limits = {"profile": Profile.STRUCTURE, "cell_s": 10, "run_s": 10, "threads": 1}
    plain = BatchConfig(folder=folder, code=digest_execution(ROOT), parts={"checks": "1"}, **limits)
    return plain.model_copy(update=changes)


def hand_in(folder: Path, *texts: str) -> tuple[Upload, ...]:
    """Store a text for each of as many students; equal texts are equal contents."""
    uploads = folder / "store" / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    found = []
    for number, text in enumerate(texts):
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        (uploads / f"{sha256}.ipynb").write_text(text, encoding="utf-8")
        student = Student(key=f"s{number}", name=f"Student {number}", canvas_id=number)
        entry = f"s{number}_{number}_{number}_x.ipynb"
        found.append(Upload(id=f"u{number}", student=student, entry=entry, display_name="x.ipynb", sha256=sha256))
    return tuple(found)


class InlineExecutor:
    """One worker, in this process."""

    def __init__(self, config: BatchConfig, tools: FakeTools | None = None) -> None:
        self.config, self.tools = config, tools or FakeTools(config)
        self.waiting: list[Task] = []

    def count_slots(self) -> int:
        return 1

    def submit(self, task: Task) -> None:
        self.waiting.append(task)

    def wait(self, timeout_s: float) -> TaskOutcome | None:
        return TaskRunner(self.config, self.tools, self.waiting.pop(0), lambda line: None).run()


class SilentListener:
    """A listener that only remembers."""

    def __init__(self) -> None:
        self.again: list[bool] = []
        self.lonely = 0

    def on_start(self, task: Task) -> None:
        pass

    def on_end(self, outcome: TaskOutcome, again: bool) -> None:
        self.again.append(again)

    def on_no_workers(self) -> None:
        self.lonely += 1
