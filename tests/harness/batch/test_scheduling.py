"""What is left to do is done, once, and everything that goes wrong has a name and a stage."""

import errno
import json
from pathlib import Path

import pytest

from grader.batch import history, scheduling
from grader.batch.messages import BatchConfig, Stage, TaskStatus
from grader.batch.scheduling import BatchSummary
from grader.batch.store import Store
from grader.batch.work import is_disk_full
from grader.errors import DiskFullError, GraderError
from grader.intake.uploads import Upload
from tests.harness.batch.fakes import HERE, SilentListener, FakeTools, Inline, handed_in, order


def grade(uploads: tuple[Upload, ...], wanted: BatchConfig, listener: SilentListener | None = None) -> BatchSummary:
    tasks = scheduling.plan(uploads, wanted, HERE)
    return scheduling.grade(uploads, tasks, wanted, Inline(wanted), listener or SilentListener())


def caused(cause: OSError) -> GraderError:
    error = GraderError("Cannot write to results; free disk space and retry.")
    error.__cause__ = cause
    return error


def executions(wanted: BatchConfig) -> list[str]:
    path = wanted.folder / "executions"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def points(wanted: BatchConfig, upload: Upload) -> float | None:
    path = wanted.submissions / upload.id / "result.json"
    return json.loads(path.read_text(encoding="utf-8"))["score"]["points"]


def test_everything_that_a_submission_leaves(tmp_path: Path) -> None:
    wanted = order(tmp_path)
    uploads = handed_in(tmp_path, "points 7")
    summary = grade(uploads, wanted)
    folder = wanted.submissions / "u0"
    assert sorted(path.name for path in folder.iterdir()) == [
        "executed.ipynb",
        "feedback.html",
        "history.jsonl",
        "log.txt",
        "result.json",
        "staff.html",
    ]
    assert summary.outcomes[0].status is TaskStatus.GRADED
    assert "starting the kernel" in (folder / "log.txt").read_text(encoding="utf-8")
    assert not list((tmp_path / "store" / "incoming").iterdir())


def test_equal_contents_are_executed_once(tmp_path: Path) -> None:
    wanted = order(tmp_path)
    uploads = handed_in(tmp_path, "points 7", "points 7", "points 8", "points 7")
    summary = grade(uploads, wanted)
    assert (summary.executed, len(executions(wanted))) == (2, 2)
    assert [points(wanted, upload) for upload in uploads] == [7, 7, 8, 7]
    assert "u0" in (wanted.submissions / "u3" / "log.txt").read_text(encoding="utf-8")


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    wanted = order(tmp_path)
    uploads = handed_in(tmp_path, "points 7", "no notebook")
    grade(uploads, wanted)
    assert scheduling.plan(uploads, wanted, HERE) == []


def test_a_late_copy_of_something_graded_only_gets_reports(tmp_path: Path) -> None:
    wanted = order(tmp_path)
    first, second = handed_in(tmp_path, "points 7", "points 7")
    grade((first,), wanted)
    summary = grade((first, second), wanted)
    assert (summary.done_before, summary.executed, points(wanted, second)) == (1, 0, 7)


CHANGES = [
    pytest.param({"seed": 1}, 1, id="another seed"),
    pytest.param({"cell_s": 99.0}, 1, id="another limit"),
    pytest.param({"code": "other"}, 1, id="other code that executes"),
    pytest.param({"sandboxed": False}, 1, id="no sandbox"),
    pytest.param({"parts": {"checks": "2"}}, 0, id="another suite"),
]


@pytest.mark.parametrize(("change", "executed"), CHANGES)
def test_what_changed_decides_what_is_done_again(change: dict[str, object], executed: int, tmp_path: Path) -> None:
    wanted = order(tmp_path)
    uploads = handed_in(tmp_path, "points 7")
    grade(uploads, wanted)
    summary = grade(uploads, wanted.model_copy(update=change))
    assert (summary.executed, summary.count_uploads(TaskStatus.GRADED)) == (executed, 1)


def test_judging_again_executes_nothing_and_remembers_what_was(tmp_path: Path) -> None:
    wanted = order(tmp_path)
    uploads = handed_in(tmp_path, "points 7", "points 9")
    grade(uploads, wanted)
    later = wanted.model_copy(update={"parts": {"checks": "1", "bonus": "1"}, "code": "newer", "execute": False})
    summary = grade(uploads, later)
    assert summary.executed == 0
    assert [points(wanted, upload) for upload in uploads] == [8, 10]
    first, second = history.read(wanted.submissions / "u1")
    assert (first.why, first.points) == ("first result", 9)
    assert (second.why, second.points, second.changed) == ("bonus changed", 10, ("run.works: failed → passed",))
    assert first.evidence == second.evidence


def test_what_another_version_wrote_into_the_history_stays(tmp_path: Path) -> None:
    wanted = order(tmp_path)
    uploads = handed_in(tmp_path, "points 7")
    grade(uploads, wanted)
    path = wanted.submissions / "u0" / history.NAME
    foreign = b'{"of": "another version"}\n\xff\n' + path.read_bytes().rstrip(b"\n")
    path.write_bytes(foreign)
    grade(uploads, wanted.model_copy(update={"parts": {"checks": "2"}, "execute": False}))
    assert path.read_bytes().startswith(foreign + b"\n")
    assert [entry.why for entry in history.read(path.parent)] == ["first result", "checks changed"]


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        pytest.param(DiskFullError("Less than 1 GiB are free."), True, id="too little room"),
        pytest.param(OSError(errno.ENOSPC, "No space left on device"), True, id="none left"),
        pytest.param(caused(OSError(errno.EDQUOT, "Disk quota exceeded")), True, id="none left, translated"),
        pytest.param(caused(PermissionError(errno.EACCES, "Permission denied")), False, id="not allowed, translated"),
    ],
)
def test_only_a_full_disk_stops_a_batch(error: Exception, is_full: bool) -> None:
    assert is_disk_full(error) is is_full


def test_what_was_refused_stays_refused_when_others_are_judged_again(tmp_path: Path) -> None:
    wanted = order(tmp_path)
    uploads = handed_in(tmp_path, "no notebook", "points 7")
    grade(uploads, wanted)
    later = wanted.model_copy(update={"parts": {"checks": "2"}, "execute": False})
    summary = grade(uploads, later)
    assert (summary.problems, summary.done_before) == ([], 1)
    assert len(history.read(wanted.submissions / "u0")) == 1


def test_judging_again_without_evidence_is_a_failure_with_a_name(tmp_path: Path) -> None:
    wanted = order(tmp_path, execute=False)
    summary = grade(handed_in(tmp_path, "points 7"), wanted)
    (problem,) = summary.problems
    assert (problem.task.recipients[0].id, problem.stage, problem.executed) == ("u0", Stage.EXECUTE, False)
    assert "Nothing is stored" in problem.message


TRIES = [
    pytest.param(2, TaskStatus.GRADED, id="the third try helps"),
    pytest.param(3, TaskStatus.UNGRADED, id="nothing helps"),
]


@pytest.mark.parametrize(("faults", "fate"), TRIES)
def test_our_faults_are_tried_three_times(faults: int, fate: TaskStatus, tmp_path: Path) -> None:
    wanted, listener = order(tmp_path), SilentListener()
    uploads = handed_in(tmp_path, f"broken {tmp_path / 'tries'} {faults}")
    summary = grade(uploads, wanted, listener)
    assert listener.again == [True, True, False]
    assert [outcome.status for outcome in summary.outcomes] == [fate]
    entry = history.read_last(wanted.submissions / "u0")
    assert entry is not None
    assert entry.status == ("graded" if fate is TaskStatus.GRADED else "ungraded")


def test_what_is_ungraded_is_tried_in_the_next_run(tmp_path: Path) -> None:
    wanted = order(tmp_path)
    uploads = handed_in(tmp_path, f"broken {tmp_path / 'tries'} 3")
    grade(uploads, wanted)
    assert points(wanted, uploads[0]) is None
    assert grade(uploads, wanted).count_uploads(TaskStatus.GRADED) == 1
    assert points(wanted, uploads[0]) == 5


def test_a_refused_notebook_is_no_failure_and_keeps_its_own_name(tmp_path: Path) -> None:
    wanted, listener = order(tmp_path), SilentListener()
    uploads = handed_in(tmp_path, "no notebook", "no notebook")
    renamed = (uploads[0], uploads[1].model_copy(update={"display_name": "mine.ipynb"}))
    summary = grade(renamed, wanted, listener)
    assert listener.again == [False]
    assert not summary.problems
    entries = [history.read_last(wanted.submissions / upload.id) for upload in uploads]
    assert [(entry.status, entry.message) for entry in entries if entry] == [
        ("refused", "'x.ipynb' is no notebook."),
        ("refused", "'mine.ipynb' is no notebook."),
    ]


def test_a_full_disk_stops_and_nothing_is_lost(tmp_path: Path) -> None:
    wanted = order(tmp_path)
    uploads = handed_in(tmp_path, "points 1", "full", "points 3", "points 4")
    summary = grade(uploads, wanted)
    assert "No space left" in summary.stopped
    assert (summary.count_uploads(TaskStatus.GRADED), summary.left) == (1, 3)
    assert len(scheduling.plan(uploads, wanted, HERE)) == 3


def test_a_full_disk_while_evidence_is_written_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = order(tmp_path)
    uploads = handed_in(tmp_path, "points 1")

    def no_room(path: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("grader.batch.store.sync", no_room)
        assert grade(uploads, wanted).stopped
    assert not (tmp_path / "store" / "evidence").exists() or not list((tmp_path / "store" / "evidence").iterdir())
    assert grade(uploads, wanted).count_uploads(TaskStatus.GRADED) == 1


def test_a_fault_nobody_foresaw_is_ours_and_stops_nobody_else(tmp_path: Path) -> None:
    class Careless(FakeTools):
        def judge(self, folder: Path) -> object:
            raise ZeroDivisionError("division by zero")

    wanted = order(tmp_path)
    uploads = handed_in(tmp_path, "points 1")
    tasks = scheduling.plan(uploads, wanted, HERE)
    summary = scheduling.grade(uploads, tasks, wanted, Inline(wanted, Careless(wanted)), SilentListener())
    (problem,) = summary.problems
    assert (problem.stage, problem.message) == (Stage.JUDGE, "ZeroDivisionError: division by zero")
    assert "Traceback" in (wanted.submissions / "u0" / "log.txt").read_text(encoding="utf-8")


def test_two_batches_at_once(tmp_path: Path) -> None:
    first, second = Store(tmp_path / "store"), Store(tmp_path / "store")
    with first.lock(), pytest.raises(GraderError, match="Another batch is at work"), second.lock():
        pass


def test_a_crew_without_workers_is_mentioned_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Inline):
        asked = 0

        def count_slots(self) -> int:
            self.asked += 1
            return int(self.asked > 100)

        def wait(self, timeout_s: float) -> object:
            return super().wait(timeout_s) if self.waiting else None

    wanted, listener = order(tmp_path), SilentListener()
    uploads = handed_in(tmp_path, "points 1")
    scheduling.grade(uploads, scheduling.plan(uploads, wanted, HERE), wanted, Slow(wanted), listener)
    assert listener.alone == 1
