"""What is left to do is done, once, and everything that goes wrong has a name and a stage."""

import errno
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from grader.batch import history, scheduling
from grader.batch.messages import BatchConfig, Stage, Task, TaskStatus
from grader.batch.scheduling import BatchSummary
from grader.batch.work import is_disk_full
from grader.errors import DiskFullError, GraderError
from grader.intake.uploads import Upload
from tests.harness.batch.fakes import HERE, FakeTools, InlineExecutor, SilentListener, hand_in, make_config


@dataclass
class Batch:
    """Uploads of one text each, and the configuration that they are graded with."""

    config: BatchConfig
    uploads: tuple[Upload, ...]
    listener: SilentListener = field(default_factory=SilentListener)

    def plan(self, **changes: object) -> list[Task]:
        return scheduling.plan(self.uploads, self.config.model_copy(update=changes), HERE)

    def grade(self, executor: InlineExecutor | None = None, **changes: object) -> BatchSummary:
        config = self.config.model_copy(update=changes)
        executor = executor or InlineExecutor(config)
        return scheduling.grade(self.uploads, self.plan(**changes), config, executor, self.listener)

    def find(self, name: str, upload: str = "u0") -> Path:
        return self.config.submissions / upload / name

    def read_points(self) -> list[float | None]:
        texts = [self.find("result.json", upload.id).read_text(encoding="utf-8") for upload in self.uploads]
        return [json.loads(text)["score"]["points"] for text in texts]

    def read_entries(self) -> list[history.HistoryEntry]:
        return [entry for upload in self.uploads if (entry := history.read_last(self.find("", upload.id)))]


def prepare(folder: Path, *texts: str, **changes: object) -> Batch:
    return Batch(make_config(folder, **changes), hand_in(folder, *texts))


def test_everything_that_a_submission_leaves(tmp_path: Path) -> None:
    batch = prepare(tmp_path, "points 7")
    summary = batch.grade()
    names = "executed.ipynb feedback.html history.jsonl log.txt result.json staff.html"
    assert sorted(path.name for path in batch.find("").iterdir()) == names.split()
    assert summary.outcomes[0].status is TaskStatus.GRADED
    assert "starting the kernel" in batch.find("log.txt").read_text(encoding="utf-8")
    assert not list((tmp_path / "store" / "incoming").iterdir())


def test_equal_contents_are_executed_once_and_a_late_copy_only_gets_reports(tmp_path: Path) -> None:
    batch = prepare(tmp_path, "points 7", "points 7", "points 8", "points 7")
    assert Batch(batch.config, batch.uploads[:3]).grade().executed == 2
    assert "u0" in batch.find("log.txt", "u1").read_text(encoding="utf-8")
    summary = batch.grade()
    assert (summary.done_before, summary.executed, batch.read_points()) == (3, 0, [7, 7, 8, 7])
    assert len((tmp_path / "executions").read_text(encoding="utf-8").splitlines()) == 2


CHANGES = [
    pytest.param({"seed": 1}, 1, id="another seed"),
    pytest.param({"cell_s": 99.0}, 1, id="another limit"),
    pytest.param({"code": "other"}, 1, id="other code that executes"),
    pytest.param({"sandboxed": False}, 1, id="no sandbox"),
    pytest.param({"parts": {"checks": "2"}}, 0, id="another suite"),
]


@pytest.mark.parametrize(("change", "executed"), CHANGES)
def test_what_changed_decides_what_is_done_again(change: dict[str, object], executed: int, tmp_path: Path) -> None:
    batch = prepare(tmp_path, "points 7")
    batch.grade()
    summary = batch.grade(**change)
    assert (summary.executed, summary.count_uploads(TaskStatus.GRADED)) == (executed, 1)


def test_the_reviews_of_a_judgement_belong_to_its_name(tmp_path: Path) -> None:
    batch = prepare(tmp_path, "points 7")
    batch.grade()
    others = replace(HERE, reviews_sha256="others")
    (task,) = scheduling.plan(batch.uploads, batch.config.model_copy(update={"execute": False}), others)
    entry = batch.read_entries()[0]
    assert task.evidence == entry.evidence
    assert task.result != entry.result


def test_judging_again_executes_nothing_and_remembers_what_was(tmp_path: Path) -> None:
    batch = prepare(tmp_path, "points 7", "points 9")
    batch.grade()
    assert batch.grade(parts={"checks": "1", "bonus": "1"}, code="newer", execute=False).executed == 0
    assert batch.read_points() == [8, 10]
    first, second = history.read(batch.find("", "u1"))
    assert (first.why, first.points) == ("first result", 9)
    assert (second.why, second.points, second.changed) == ("bonus changed", 10, ("run.works: failed → passed",))
    assert first.evidence == second.evidence


def test_what_another_version_wrote_into_the_history_stays(tmp_path: Path) -> None:
    batch = prepare(tmp_path, "points 7")
    batch.grade()
    path = batch.find(history.NAME)
    foreign = b'{"of": "another version"}\n\xff\n' + path.read_bytes().rstrip(b"\n")
    path.write_bytes(foreign)
    batch.grade(parts={"checks": "2"}, execute=False)
    assert path.read_bytes().startswith(foreign + b"\n")
    assert [entry.why for entry in history.read(path.parent)] == ["first result", "checks changed"]


def translate(cause: OSError) -> GraderError:
    error = GraderError("Cannot write to results; free disk space and retry.")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        pytest.param(DiskFullError("Less than 1 GiB are free."), True, id="too little room"),
        pytest.param(OSError(errno.ENOSPC, "No space left on device"), True, id="none left"),
        pytest.param(translate(OSError(errno.EDQUOT, "Disk quota exceeded")), True, id="none left, translated"),
        pytest.param(translate(PermissionError(errno.EACCES, "Permission denied")), False, id="forbidden, translated"),
    ],
)
def test_only_a_full_disk_stops_a_batch(error: Exception, is_full: bool) -> None:
    assert is_disk_full(error) is is_full


def test_a_second_run_does_nothing_and_judging_again_leaves_what_was_refused(tmp_path: Path) -> None:
    batch = prepare(tmp_path, "no notebook", "points 7")
    batch.grade()
    assert batch.plan() == []
    summary = batch.grade(parts={"checks": "2"}, execute=False)
    assert (summary.problems, summary.done_before) == ([], 1)
    assert len(history.read(batch.find(""))) == 1


def test_judging_again_without_evidence_is_a_failure_with_a_name(tmp_path: Path) -> None:
    (problem,) = prepare(tmp_path, "points 7", execute=False).grade().problems
    assert (problem.task.name, problem.stage, problem.executed) == ("u0", Stage.EXECUTE, False)
    assert "Nothing is stored" in problem.message


TRIES = [(2, TaskStatus.GRADED), (3, TaskStatus.UNGRADED)]


@pytest.mark.parametrize(("faults", "status"), TRIES, ids=["the third try helps", "nothing helps"])
def test_faults_of_the_grader_are_tried_three_times(faults: int, status: TaskStatus, tmp_path: Path) -> None:
    batch = prepare(tmp_path, f"broken {tmp_path / 'tries'} {faults}")
    summary = batch.grade()
    assert batch.listener.again == [True, True, False]
    assert [outcome.status for outcome in summary.outcomes] == [status]
    assert [entry.status.value for entry in batch.read_entries()] == [status.value]
    assert batch.read_points() == [5 if status is TaskStatus.GRADED else None]
    batch.grade()  # what is ungraded is tried in the next run
    assert batch.read_points() == [5]


def test_a_refused_notebook_is_no_failure_and_keeps_its_own_name(tmp_path: Path) -> None:
    config, (first, second) = make_config(tmp_path), hand_in(tmp_path, "no notebook", "no notebook")
    batch = Batch(config, (first, second.model_copy(update={"display_name": "mine.ipynb"})))
    summary = batch.grade()
    assert (batch.listener.again, summary.problems) == ([False], [])
    found = [(entry.status, entry.message) for entry in batch.read_entries()]
    assert found == [("refused", f"'{name}' is no notebook.") for name in ("x.ipynb", "mine.ipynb")]


def test_a_full_disk_stops_and_nothing_is_lost(tmp_path: Path) -> None:
    batch = prepare(tmp_path, "points 1", "full", "points 3", "points 4")
    summary = batch.grade()
    assert "No space left" in summary.stopped
    assert (summary.count_uploads(TaskStatus.GRADED), summary.left, len(batch.plan())) == (1, 3, 3)


def test_a_full_disk_while_evidence_is_written_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    batch, evidence = prepare(tmp_path, "points 1"), tmp_path / "store" / "evidence"
    with monkeypatch.context() as patched:
        patched.setattr("grader.batch.store.sync", full)
        assert batch.grade().stopped
    assert not evidence.exists() or not list(evidence.iterdir())
    assert batch.grade().count_uploads(TaskStatus.GRADED) == 1


def test_a_fault_nobody_foresaw_stops_nobody_else(tmp_path: Path) -> None:
    batch = prepare(tmp_path, "points 1")
    careless = FakeTools(batch.config)
    careless.judge = Mock(side_effect=ZeroDivisionError("division by zero"))  # type: ignore[method-assign]
    (problem,) = batch.grade(InlineExecutor(batch.config, careless)).problems
    assert (problem.stage, problem.message) == (Stage.JUDGE, "ZeroDivisionError: division by zero")
    assert "Traceback" in batch.find("log.txt").read_text(encoding="utf-8")


def test_missing_workers_are_mentioned_once(tmp_path: Path) -> None:
    class Slow(InlineExecutor):
        asked = 0

        def count_slots(self) -> int:
            self.asked += 1
            return int(self.asked > 100)

        def wait(self, timeout_s: float) -> object:
            return super().wait(timeout_s) if self.waiting else None

    batch = prepare(tmp_path, "points 1")
    batch.grade(Slow(batch.config))
    assert batch.listener.lonely == 1
