"""Times of handing in, from a file."""

from datetime import timedelta
from pathlib import Path

import pytest

from grader.errors import GraderError
from grader.grades.policy import Deadline, Extension, GradingPolicy, LatePenalty
from grader.grades.settlement import describe_gaps, require_one_each, settle
from grader.grades.times import add_times, load_times
from grader.intake.uploads import Upload
from grader.model import Verdict

from .classes import DUE, intake, result, student, upload

PER_DAY = GradingPolicy(deadline=Deadline(due=DUE), late=LatePenalty(per_day=10))
NO_DEADLINE = GradingPolicy(late=LatePenalty(per_day=10))
FLAT = GradingPolicy(deadline=Deadline(due=DUE), late=LatePenalty(flat=10))
HEADER, FIRST, SECOND = "student,submitted_at\n", "2026-12-01T10:00Z", "2026-12-02T10:00Z"


def times(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "times.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_days_late_cost_something_once_the_time_is_known(tmp_path: Path) -> None:
    found = intake(upload(late=True), upload("bob"), missing=(student("cy"),))
    text = f"{HEADER}ada,{(DUE + timedelta(days=2)).isoformat()}\nCY,{FIRST}\ncy,{FIRST}\n"
    known = add_times(found, load_times(times(tmp_path, text)), "times.csv")
    full = result(Verdict.PASSED, Verdict.PASSED)
    grades = settle(known, {u.id: full for u in known.uploads}, PER_DAY)
    assert [grade.points for grade in grades] == [80, 100, None]
    assert known.notes == ("The time of 'CY' belongs to no student here (did you mean cy?).",)


@pytest.mark.parametrize(
    ("policy", "late", "said"),
    [
        pytest.param(PER_DAY, True, 1, id="days cost something, and nobody knows them"),
        pytest.param(PER_DAY, False, 0, id="nobody is late"),
        pytest.param(FLAT, True, 0, id="the mark is enough"),
        pytest.param(GradingPolicy(), True, 1, id="there are no rules"),
        pytest.param(GradingPolicy(deadline=Deadline(due=DUE)), True, 0, id="lateness costs nothing, by the rules"),
        pytest.param(NO_DEADLINE, False, 1, id="days cost something, and there is no deadline"),
    ],
)
def test_unknown_times_are_said(policy: GradingPolicy, late: bool, said: int) -> None:
    assert len(list(describe_gaps(policy, intake(upload(late=late))))) == said


@pytest.mark.parametrize(
    ("students", "start"), [(["ada"], "1 upload is marked LATE and loses "), (["ada", "bob"], "2 uploads are marked ")]
)
def test_unknown_times_are_counted_and_asked_for(students: list[str], start: str) -> None:
    (said,) = describe_gaps(PER_DAY, intake(*(upload(student, late=True) for student in students)))
    assert said.startswith(start)
    assert "--times (TIMES=), which `make times` asks Canvas for." in said


def test_a_time_before_the_deadline_is_doubted_where_canvas_says_late() -> None:
    (said,) = describe_gaps(FLAT, intake(upload(late=True, after=timedelta(hours=-1)), upload("bob")))
    assert "which may be of an earlier attempt: 1 of the uploads" in said
    assert "`make times`" in said


HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DOUBT, DISPUTE = "1 of the uploads", "not marked LATE by Canvas: 1 upload (ada)"
MARKS = {  # attachment, mark LATE, own time, time after the deadline; then points, and what staff are told
    "a newer attempt's time": (11, False, False, DAY + HOUR, 100, DOUBT),
    "in time": (11, False, False, -HOUR, 100, ""),
    "its own time, and Canvas has a later deadline or none": (11, False, True, DAY + HOUR, 80, DISPUTE),
    "its own time, in the minute of the deadline": (11, False, True, HOUR / 120, 100, ""),
    "its own time, and Canvas has an earlier deadline": (11, True, True, -HOUR, 100, ""),
    "in the minute of the deadline": (11, False, False, HOUR / 120, 100, ""),
    "marked": (11, True, False, DAY + HOUR, 80, ""),
    "no file of Canvas, which marks none of them": (None, False, False, DAY + HOUR, 80, ""),
}


@pytest.mark.parametrize(("attachment", "late", "own", "after", "points", "told"), MARKS.values(), ids=MARKS)
def test_a_time_that_contradicts_the_mark(
    attachment: int | None, late: bool, own: bool, after: timedelta, points: float, told: str
) -> None:
    file = upload(late=late, after=after).model_copy(update={"attachment_id": attachment, "is_own_time": own})
    (grade,) = settle(intake(file), {file.id: result(Verdict.PASSED, Verdict.PASSED)}, PER_DAY)
    assert (grade.points, "please check" in grade.note, "have an extension?" in grade.note) == (
        points,
        told == DOUBT,
        told == DISPUTE,
    )
    assert [told in said for said in describe_gaps(PER_DAY, intake(file))] == [True] * bool(told)


def test_those_who_are_disputed_are_counted_and_named_once() -> None:
    files = [
        upload(f"s{number:02}", attempt, DAY).model_copy(update={"attachment_id": 1, "is_own_time": True})
        for number in range(14)
        for attempt in (1, 2)
    ]
    (said,) = describe_gaps(PER_DAY, intake(*files))
    assert "28 uploads (s00, s01, s02, " in said
    assert "s11 and 2 more)" in said


def test_an_hour_that_clocks_may_owe_is_said_with_the_way_out() -> None:
    due = DUE.replace(month=10, day=23) - HOUR  # 23:59 of a summer
    policy = GradingPolicy(deadline=Deadline(due=due), late=LatePenalty(per_day=10))
    file = upload().model_copy(update={"submitted_at": due + 2 * DAY + HOUR / 2})
    (said,) = describe_gaps(policy, intake(file))
    assert "cost less: 1 upload (ada). Give [deadline] a zone" in said


def test_a_time_that_names_attachments_counts_for_them_alone(tmp_path: Path) -> None:
    text = f"student,submitted_at,attachments\nada,{FIRST},12 13\nbob,{FIRST},21\ncy,{FIRST},\n"
    old, new, bob, cy = (
        upload(key).model_copy(update={"id": f"{key}_{attachment}", "attachment_id": attachment})
        for key, attachment in (("ada", 11), ("ada", 13), ("bob", 20), ("cy", 30))
    )
    later = {new.id, cy.id}  # they came in after the times were given
    known = add_times(intake(old, new, bob, cy), load_times(times(tmp_path, text)), "times.csv", later)
    assert [(u.submitted_at is not None, u.is_own_time) for u in known.uploads] == [
        (False, False),
        (True, True),
        (False, False),
        (False, False),
    ]
    (note,) = known.notes
    assert "of another attempt than the one here, for which only the mark LATE counts: bob." in note


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(f"student,submitted_at,attachments\nada,{FIRST},x\n", "'x' are no ids of attachments", id="ids"),
        pytest.param("name,time\nada,x\n", "the columns have to be student and submitted_at", id="columns"),
        pytest.param(f"{HEADER}ada,tomorrow\n", "line 2: 'tomorrow' is no time such as", id="no time"),
        pytest.param(f"{HEADER}ada,2026-12-01T10:00\n", "has no time zone", id="no zone"),
        pytest.param(f"{HEADER}ada,2026-12-01T10:00Z,x\n", "line 2 has more cells", id="more cells"),
        pytest.param(f"{HEADER}ada,{FIRST}\nada,{SECOND}\n", "line 3: 'ada' has another time already", id="two times"),
        pytest.param(f"{HEADER}ada,{FIRST}\nada@x,{SECOND}\n", "ada has two, under two names", id="two names"),
        pytest.param(None, "Cannot read the times", id="no file"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str | None, says: str) -> None:
    ada = upload().model_copy(update={"student": student("ada", login="ada@x")})
    path = tmp_path / "gone.csv" if text is None else times(tmp_path, text)
    with pytest.raises(GraderError, match=says):
        add_times(intake(ada), load_times(path), path.name)


SIS = Upload.model_validate(upload("bob").model_dump() | {"student": student("bob", sis_user_id="7").model_dump()})
CANVAS = Upload.model_validate(upload("ada").model_dump() | {"student": student("ada", canvas_id=7).model_dump()})


def test_a_name_of_two_students_gives_neither_a_time_nor_an_extension(tmp_path: Path) -> None:
    both = intake(CANVAS, SIS)
    with pytest.raises(GraderError, match="'7' is more than one student"):
        add_times(both, load_times(times(tmp_path, f"{HEADER}7,{FIRST}\n")), "times.csv")
    extension = Extension(student="7", due=DUE, author="M", reason="ill")
    with pytest.raises(GraderError, match="fits more than one student, ada and bob"):
        require_one_each(GradingPolicy(extension=(extension,)), both)
