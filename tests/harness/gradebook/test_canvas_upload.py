"""Scores, comments and feedback to a Canvas server that stands on this computer."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from grader.errors import GraderError
from grader.gradebook import canvas_upload
from grader.gradebook.canvas_times import fetch
from grader.gradebook.canvas_upload import Delivery, UploadReport, upload
from grader.grades.grade import Adjustment, AdjustmentKind, Answer, Grade, PassOutcome, Standing
from grader.grades.times import add_times, load_times
from grader.intake.uploads import Intake

from .classes import grade, student
from .classes import upload as handed_in
from .fake_canvas import ASSIGNMENT, COURSE, TOKEN, FakeCanvas

ADA, BOB, EVE = student(12), student(13, "Ross, Bob"), student(14, "Holt, Eve")


@pytest.fixture
def canvas(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCanvas]:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda seconds: None)
    fake = FakeCanvas()
    fake.enrol(12, 13, 14)
    with fake.serving():
        yield fake


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "feedback.html").write_text("<p>good å</p>", encoding="utf-8")
    return tmp_path / "feedback.html"


def deliver(
    canvas: FakeCanvas, *deliveries: Delivery, really: bool = True, environ: dict[str, str] | None = None
) -> tuple[UploadReport, list[str]]:
    said: list[str] = []
    done = upload(COURSE, ASSIGNMENT, deliveries, really, said.append, environ or canvas.environ)
    return done, said


def to(given: Grade, page: Path | None = None, comment: str = "Well done.") -> Delivery:
    return Delivery(grade=given, comment=comment, feedback=page)


def test_a_dry_run_sends_nothing(canvas: FakeCanvas, page: Path) -> None:
    deliver(canvas, to(grade(BOB, 80)))
    canvas.writes.clear()
    done, said = deliver(canvas, to(grade(ADA, 80), page), to(grade(BOB, 90)), really=False)
    assert (canvas.writes, canvas.files, done.sent) == ([], {}, 0)
    assert said == [
        "Lovelace, Ada: no score → 40.00, comment, feedback.html",
        "Ross, Bob: 40 → 45.00, comment",
        "Nothing was sent: this was a dry run for assignment 'Assignment 4' (104) of course 'NLP 2026' (5). "
        "The same command with --send (SEND=1) sends it.",
    ]


def test_a_dry_run_names_the_course_by_its_number_where_it_is_not_shown(canvas: FakeCanvas) -> None:
    canvas.shows_course = False
    _, said = deliver(canvas, to(grade(ADA, 80)), really=False)
    assert "a dry run for assignment 'Assignment 4' (104) of course 5. " in said[-1]


def test_an_assignment_that_is_graded_anonymously(canvas: FakeCanvas, tmp_path: Path) -> None:
    canvas.anonymous = True
    with pytest.raises(GraderError, match=r"graded anonymously.*turn “Anonymous Grading” off"):
        deliver(canvas, to(grade(ADA, 80)))
    with pytest.raises(GraderError, match="graded anonymously"):
        fetch(COURSE, ASSIGNMENT, tmp_path / "times.csv", canvas.environ)
    assert (canvas.writes, list(tmp_path.iterdir())) == ([], [])


def test_a_dry_run_of_partial_grades_names_what_sends_them(canvas: FakeCanvas) -> None:
    _, said = deliver(canvas, to(grade(ADA, 80).model_copy(update={"unjudged": 15.0})), really=False)
    assert "SEND=1 PARTIAL=1" in said[-1]


def test_people_of_the_same_name_are_told_apart(canvas: FakeCanvas) -> None:
    namesakes = (person.model_copy(update={"name": "Smith, John"}) for person in (ADA, BOB))
    _, said = deliver(canvas, *(to(grade(person, 80)) for person in namesakes), really=False)
    assert [line.split(":")[0] for line in said[:2]] == [f"Smith, John ({p.login or p.key})" for p in (ADA, BOB)]


def test_a_part_of_the_rubric_is_sent_only_if_somebody_says_so(canvas: FakeCanvas) -> None:
    delivery = to(grade(ADA, 80).model_copy(update={"unjudged": 15.0}))
    said: list[str] = []
    with pytest.raises(GraderError, match=r"Nothing was sent. .* 15 of 115 points were not judged .*PARTIAL=1"):
        upload(COURSE, ASSIGNMENT, [delivery], True, said.append, canvas.environ)
    assert (canvas.writes, said[0]) == ([], "Lovelace, Ada: no score → 40.00 (of the 100 points judged), comment")
    done = upload(COURSE, ASSIGNMENT, [delivery], True, said.append, canvas.environ, partial_too=True)
    assert done.sent == 1


def test_score_comment_and_page_go_out_together(canvas: FakeCanvas, page: Path) -> None:
    done, _ = deliver(canvas, to(grade(ADA, 80), page))
    assert (done.sent, done.failures) == (1, ())
    (_, asked), (path, sent) = canvas.writes
    assert path.endswith("/submissions/12")
    assert sent["submission[posted_grade]"] == ["40.00"]
    assert sent["comment[text_comment]"][0].startswith(
        "Well done.\nCanvas shows the same share of its 50 points: 40.\n\nReference: "
    )
    assert (sent["comment[file_ids][]"], asked["name"]) == (["900"], ["feedback.html"])
    assert canvas.files == {900: ("feedback.html", page.read_bytes())}


GOOD, BETTER = "<p>good</p>", "<p>better</p>"
AGAIN = {  # score that a person sets; points, comment and page of the second time; score that is sent, why nothing is
    "the same": (None, 80, "Well done.", GOOD, None, "up to date"),
    "another score": (None, 90, "Well done.", GOOD, ["45.00"], ""),
    "another comment": (None, 80, "Better.", GOOD, None, ""),
    "another page": (None, 80, "Well done.", BETTER, None, ""),
    "a person changed the score": (49.0, 80, "Well done.", GOOD, None, "a person changed the score in Canvas"),
    "and everything is another": (49.0, 90, "Well done.", BETTER, None, "a person changed the score in Canvas"),
}


@pytest.mark.parametrize("case", AGAIN.values(), ids=AGAIN)
def test_what_is_sent_the_second_time(canvas: FakeCanvas, page: Path, case: tuple[Any, ...]) -> None:
    by_hand, points, comment, text, score, reason = case
    page.write_text(GOOD)
    deliver(canvas, to(grade(ADA, 80), page))
    canvas.writes.clear()
    if by_hand is not None:
        canvas.submissions[12]["score"] = by_hand
    page.write_text(text)
    done, said = deliver(canvas, to(grade(ADA, points), page, comment))
    if reason:
        assert (done.sent, canvas.writes) == (0, [])
        assert said[0] == f"Lovelace, Ada: nothing to send ({reason})"
    else:
        assert (done.sent, len(canvas.submissions[12]["submission_comments"])) == (1, 2)
        assert canvas.writes[-1][1].get("submission[posted_grade]") == score
    assert canvas.submissions[12]["score"] == (by_hand or points / 2)


SAME_SCORE = {  # attachments in Canvas, the graded one; second comment; score that is sent, whether a comment is
    "another comment": ((22,), 22, "Once more.", ["40.00"], True),
    "another comment, and nothing tells the attempt": ((), None, "Once more.", ["40.00"], True),
    "the same comment": ((22,), 22, "Well done.", ["40.00"], False),
    "another comment on the attempt before": ((22,), 21, "Once more.", None, False),
    "nothing new on the attempt before": ((22,), 21, "Well done.", None, False),
    "nothing new, and nothing tells the attempt": ((), None, "Well done.", None, False),
}


@pytest.mark.parametrize("case", SAME_SCORE.values(), ids=SAME_SCORE)
def test_a_new_attempt_with_the_same_score_is_graded_in_canvas(canvas: FakeCanvas, case: tuple[Any, ...]) -> None:
    attachments, mine, comment, score, has_comment = case
    graded = grade(ADA, 80)
    deliver(canvas, to(graded))
    canvas.hand_in_again(12, *attachments)
    canvas.writes.clear()
    if mine:
        file = handed_in("x", ADA).model_copy(update={"attachment_id": mine})
        graded = graded.model_copy(update={"upload": file})
    deliver(canvas, to(graded, comment=comment))
    sent = canvas.writes[-1][1] if canvas.writes else {}
    assert (sent.get("submission[posted_grade]"), "comment[text_comment]" in sent) == (score, has_comment)
    assert canvas.submissions[12]["grade_matches_current_submission"] is (score is not None)
    canvas.writes.clear()
    deliver(canvas, to(graded, comment=comment))
    assert canvas.writes == []


OLD_ATTEMPT = "handed in again since this zip was downloaded; download it again"
ATTEMPTS = {  # attachments in Canvas, the graded one, others of the class; standing; whether anything is sent
    "the same": ((21,), 21, (), Standing.GRADED, True),
    "one of several": ((21, 22), 22, (), Standing.GRADED, True),
    "a newer one": ((22,), 21, (), Standing.GRADED, False),
    "a newer one of somebody who was refused": ((22,), None, (21,), Standing.REFUSED, False),
    "an earlier one counts, and the newest is known": ((22,), 21, (21, 22), Standing.GRADED, True),
    "Canvas does not tell": ((), 21, (), Standing.GRADED, True),
    "nothing tells which was graded": ((22,), None, (), Standing.GRADED, True),
}


@pytest.mark.parametrize("case", ATTEMPTS.values(), ids=ATTEMPTS)
def test_an_attempt_that_is_not_here_gets_nothing(canvas: FakeCanvas, case: tuple[Any, ...]) -> None:
    attachments, mine, others, standing, sends = case
    canvas.hand_in_again(12, *attachments)
    file = handed_in("x", ADA).model_copy(update={"attachment_id": mine}) if mine else None
    graded = grade(ADA, 80 if standing is Standing.GRADED else None, standing=standing)
    delivery = to(graded.model_copy(update={"upload": file}))
    delivery = delivery.model_copy(update={"attachments": frozenset(others)})
    done, said = deliver(canvas, delivery, to(grade(BOB, 80)))
    assert (done.sent, len(canvas.writes)) == (1 + sends, 1 + sends)
    assert (f"Lovelace, Ada: nothing to send ({OLD_ATTEMPT})" in said) is not sends
    (last,) = [line for line in said if line.startswith("1 student handed in again")] or [""]
    assert last.endswith("Lovelace, Ada. Download the zip again, and run `make batch` with it first.") is not sends


def test_many_who_handed_in_again_are_counted(canvas: FakeCanvas) -> None:
    people = [student(user, f"Ek, {user}") for user in range(100, 130)]
    canvas.enrol(*range(100, 130))
    for person in people:
        canvas.hand_in_again(person.canvas_id or 0, 22)
    file = handed_in("x").model_copy(update={"attachment_id": 21})
    _, said = deliver(canvas, *(to(grade(one, 80).model_copy(update={"upload": file})) for one in people), really=False)
    assert said[-2].startswith(
        "30 students handed in again since the zip was downloaded, and nothing is sent to them: "
    )
    assert " and 10 more, named above. Download" in said[-2]


def test_what_is_handed_in_while_the_class_is_sent_gets_nothing(canvas: FakeCanvas) -> None:
    canvas.hand_in_again(12, 21)
    file = handed_in("x", ADA).model_copy(update={"attachment_id": 21})
    canvas.hands_in_after_list = {12: 22}
    done, said = deliver(canvas, to(grade(ADA, 80).model_copy(update={"upload": file})))
    assert (done.sent, canvas.writes, said[-1]) == (0, [], f"Lovelace, Ada: not sent ({OLD_ATTEMPT})")


def test_going_back_to_an_earlier_grade_is_sent(canvas: FakeCanvas) -> None:
    assert [deliver(canvas, to(grade(ADA, points)))[0].sent for points in (80, 90, 80)] == [1, 1, 1]
    assert canvas.submissions[12]["score"] == 40.0


def test_times_are_asked_for(canvas: FakeCanvas, tmp_path: Path) -> None:
    canvas.submissions[12] |= {"submitted_at": "2026-12-02T10:00:00Z", "attachments": [{"id": 900}, {"id": 901}]}
    canvas.submissions[13]["submitted_at"] = None
    count = fetch(COURSE, ASSIGNMENT, tmp_path / "times.csv", canvas.environ)
    (ada,) = add_times(
        Intake(source="x.zip", uploads=(handed_in("x", ADA),)), load_times(tmp_path / "times.csv"), ""
    ).uploads
    assert (count, ada.submitted_at) == (1, datetime(2026, 12, 2, 10, tzinfo=UTC))
    assert load_times(tmp_path / "times.csv").attachments == {"12": (900, 901)}


def test_a_student_cannot_write_the_reference(canvas: FakeCanvas) -> None:
    wanted = to(grade(ADA, 80))
    canvas.comment(12, f"Reference: {canvas_upload.digest('40.00', wanted)}", author=12)
    done, _ = deliver(canvas, wanted)
    assert done.sent == 1


@pytest.mark.parametrize(
    ("given_grade", "excused", "reason"),
    [
        pytest.param(grade(ADA, None, standing=Standing.UNGRADED), False, "ungraded here", id="ungraded"),
        pytest.param(grade(ADA, None, standing=Standing.MISSING), False, "missing here", id="missing"),
        pytest.param(grade(ADA, None, standing=Standing.EXCUSED), False, "excused here", id="excused here"),
        pytest.param(grade(ADA, 80), True, "excused in Canvas", id="excused in Canvas"),
        pytest.param(grade(student(99), 80), False, "not assigned this in Canvas", id="not in the course"),
        pytest.param(grade(student(None), 80), False, "no Canvas id is known", id="anonymous"),
    ],
)
def test_who_gets_no_score(canvas: FakeCanvas, given_grade: Grade, excused: bool, reason: str) -> None:
    canvas.submissions[12]["excused"] = excused
    done, said = deliver(canvas, to(given_grade), to(grade(BOB, 80)))
    assert (done.sent, said[0]) == (1, f"Lovelace, Ada: nothing to send ({reason})")
    assert [path.rpartition("/")[2] for path, _ in canvas.writes] == ["13"]


def test_a_refused_submission_gets_a_comment_and_no_score(canvas: FakeCanvas) -> None:
    deliver(canvas, to(grade(ADA, None, standing=Standing.REFUSED), comment="'a.py' is a Python script."))
    ((_, sent),) = canvas.writes
    assert "submission[posted_grade]" not in sent
    assert sent["comment[text_comment]"][0].startswith("'a.py' is a Python script.")


SAID: dict[str, dict[str, Any]] = {
    "a comment": {"comment": "Hand in by Friday."},
    "a comment on a check": {"check_comments": {"step1.x": "Hand in by Friday."}},
    "an answer": {"answers": {"step1.x": Answer(claim="it works", answer="Hand in by Friday.")}},
}
WITHOUT_POINTS = (Standing.UNGRADED, Standing.MISSING, Standing.EXCUSED, Standing.REFUSED)


@pytest.mark.parametrize("excused", [False, True], ids=["", "excused in Canvas"])
@pytest.mark.parametrize("standing", WITHOUT_POINTS)
@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_what_a_person_wrote_reaches_those_without_points(
    canvas: FakeCanvas, said: dict[str, Any], standing: Standing, excused: bool
) -> None:
    canvas.submissions[12] |= {"excused": excused, "score": 3.0}
    wanted = to(grade(ADA, None, standing=standing).model_copy(update=said), comment="Hand in by Friday.")
    done, lines = deliver(canvas, wanted)
    assert (done.sent, lines) == (1, ["Lovelace, Ada: 3 stays, comment"])
    assert canvas.submissions[12]["score"] == 3.0
    assert canvas.submissions[12]["submission_comments"][0]["comment"].startswith("Hand in by Friday.\n\nReference: ")
    assert deliver(canvas, wanted)[1] == ["Lovelace, Ada: nothing to send (up to date)"]


def test_words_without_points_reach_somebody_whose_score_a_person_changed(canvas: FakeCanvas) -> None:
    deliver(canvas, to(grade(ADA, 80)))
    canvas.submissions[12]["score"] = 49.0
    done, _ = deliver(canvas, to(grade(ADA, None, standing=Standing.EXCUSED).model_copy(update=SAID["a comment"])))
    assert (done.sent, canvas.submissions[12]["score"]) == (1, 49.0)


REFUSED = to(grade(ADA, None, standing=Standing.REFUSED), comment="'a.py' is a Python script.")
CHANGED, NOT_OURS = "a person changed the score in Canvas", "the score in Canvas was not sent from here"
AFTER_A_REFUSAL = {  # score in Canvas before and after the comment; why nothing is sent then
    "a person entered one": (None, 31.0, CHANGED),
    "a person changed it": (20.0, 31.0, CHANGED),
    "nobody did": (None, None, ""),
    "it is as it was": (20.0, 20.0, NOT_OURS),
}


@pytest.mark.parametrize(("before", "after", "reason"), AFTER_A_REFUSAL.values(), ids=AFTER_A_REFUSAL)
def test_a_score_entered_before_or_after_a_refusal_stays(
    canvas: FakeCanvas, before: float | None, after: float | None, reason: str
) -> None:
    canvas.submissions[12]["score"] = before
    deliver(canvas, REFUSED)
    canvas.submissions[12]["score"] = after
    done, said = deliver(canvas, to(grade(ADA, 80)))
    assert (done.sent, canvas.submissions[12]["score"]) == ((0, after) if reason else (1, 40.0))
    assert not reason or said[0] == f"Lovelace, Ada: nothing to send ({reason})"


def test_a_score_that_was_sent_before_a_refusal_is_still_ours(canvas: FakeCanvas) -> None:
    assert [deliver(canvas, one)[0].sent for one in (to(grade(ADA, 80)), REFUSED, to(grade(ADA, 90)))] == [1, 1, 1]
    assert canvas.submissions[12]["score"] == 45.0


FIRST = "Canvas has another score than this class, which was not sent from here and stays, for 1 student: "
LATER = "A person changed in Canvas what was sent, and that stays, for 1 student: "
WAY_OUT = (
    ' To send the scores of this class to some of them all the same, name these: --replace (REPLACE="12"); '
    "to send all, REPLACE=all."
)
ENTERED = {  # points sent first, score that a person enters, attachments then; points and file of the second time; kept
    "before the first upload": (None, 31.0, (), 80, None, f"{FIRST}Lovelace, Ada (12): 31, here 40.00.{WAY_OUT}"),
    "the same": (None, 40.0, (), 80, None, ""),
    "after an upload": (60, 31.0, (), 95, None, f"{LATER}Lovelace, Ada (12): 31, here 47.50.{WAY_OUT}"),
    "after an upload, the same as now": (60, 47.5, (), 95, None, ""),
    "the score is gone": (60, None, (), 95, None, f"{LATER}Lovelace, Ada (12): no score, here 47.50.{WAY_OUT}"),
    "before the attempt that is graded": (60, 31.0, (22,), 95, 22, ""),
    "before the attempt that is graded, with nothing sent": (None, 31.0, (22,), 95, 22, ""),
    "before an attempt of which nothing tells": (
        60,
        31.0,
        (22,),
        95,
        None,
        f"{LATER}Lovelace, Ada (12): 31, here 47.50.",
    ),
}


@pytest.mark.parametrize("case", ENTERED.values(), ids=ENTERED)
def test_a_score_that_a_person_entered_stays_until_somebody_says_otherwise(
    canvas: FakeCanvas, case: tuple[Any, ...]
) -> None:
    first, by_hand, attachments, points, mine, kept = case
    if first is not None:
        deliver(canvas, to(grade(ADA, first)))
    canvas.submissions[12]["score"] = by_hand
    if attachments:
        canvas.hand_in_again(12, *attachments)
    file = handed_in("x", ADA).model_copy(update={"attachment_id": mine}) if mine else None
    wanted = to(grade(ADA, points).model_copy(update={"upload": file}))
    done, said = deliver(canvas, wanted)
    assert (done.sent, canvas.submissions[12]["score"]) == ((0, by_hand) if kept else (1, points / 2))
    assert [line for line in said if "stays, for" in line] == ([said[1]] if kept else [])
    assert not kept or said[1].startswith(kept)
    marked = canvas_upload.mark_replaced([wanted, to(grade(BOB, 80))], ["12"])
    assert [one.replaces for one in marked] == [True, False]
    done, said = deliver(canvas, *marked)
    assert (done.sent, canvas.submissions[12]["score"]) == (2 if kept else 1, points / 2)


def test_every_score_is_replaced_if_somebody_says_so(canvas: FakeCanvas) -> None:
    deliveries = [to(grade(who, 80)) for who in (ADA, BOB)]
    deliver(canvas, *deliveries)
    canvas.submissions[12]["score"], canvas.submissions[13]["score"] = 31.0, None
    assert deliver(canvas, *deliveries)[0].sent == 0
    assert deliver(canvas, *canvas_upload.mark_replaced(deliveries, ["all"]))[0].sent == 2
    assert [canvas.submissions[user]["score"] for user in (12, 13)] == [40.0, 40.0]
    assert deliver(canvas, *deliveries)[1] == [
        f"{name}: nothing to send (up to date)" for name in ("Lovelace, Ada", "Ross, Bob")
    ]


def test_whose_score_is_to_be_replaced_has_to_be_in_the_class() -> None:
    with pytest.raises(GraderError, match=r"Nothing was sent\. No student of this class is called '99'; .*REPLACE=all"):
        canvas_upload.mark_replaced([to(grade(ADA, 80))], ["12", "99"])


def test_a_reference_of_earlier_that_names_no_score_is_understood(canvas: FakeCanvas) -> None:
    deliver(canvas, REFUSED)
    (comment,) = canvas.submissions[12]["submission_comments"]
    comment["comment"] = comment["comment"].removesuffix(" (no score)")
    assert deliver(canvas, REFUSED)[1] == ["Lovelace, Ada: nothing to send (up to date)"]
    assert deliver(canvas, to(grade(ADA, 80)))[0].sent == 1


def test_a_group_gets_the_comment_together_and_points_need_no_scale(canvas: FakeCanvas) -> None:
    canvas.group, canvas.points_possible = True, None
    deliver(canvas, to(grade(ADA, 80)))
    assert canvas.writes[0][1]["comment[group_comment]"] == ["true"]
    assert canvas.submissions[12]["score"] == 80.0


def test_members_of_a_known_group_get_their_own_comment_each(canvas: FakeCanvas) -> None:
    canvas.group = True
    members = [to(grade(who, points).model_copy(update={"group": "Group 7"})) for who, points in ((ADA, 80), (BOB, 90))]
    done, said = deliver(canvas, *members)
    assert (done.sent, [len(canvas.submissions[i]["submission_comments"]) for i in (12, 13)]) == (2, [1, 1])
    assert not any("comment[group_comment]" in form for _, form in canvas.writes)
    assert any("one score, and in Group 7 they differ" in line for line in said)


def test_complete_and_incomplete_are_sent_as_words_and_once(canvas: FakeCanvas) -> None:
    canvas.pass_fail = True
    marks = ((ADA, PassOutcome.COMPLETE), (BOB, PassOutcome.INCOMPLETE), (EVE, PassOutcome.OPEN))
    deliveries = [to(grade(who, 80).model_copy(update={"outcome": outcome})) for who, outcome in marks]
    done, said = deliver(canvas, *deliveries)
    assert (done.sent, canvas.submissions[12]["grade"], canvas.submissions[13]["grade"]) == (
        2,
        "complete",
        "incomplete",
    )
    assert "which is not decided here" in said[2]
    assert deliver(canvas, *deliveries)[0].sent == 0
    canvas.submissions[13] |= {"grade": "complete", "score": 50.0}
    assert "a person changed the score" in deliver(canvas, *deliveries)[1][1]


# Faults


def test_a_busy_server_is_asked_again_and_that_is_said_once(
    canvas: FakeCanvas, capsys: pytest.CaptureFixture[str]
) -> None:
    canvas.find_faults = [429, 503, 403]
    canvas.read_faults = [500, 0, 403, 502, 504]
    done, _ = deliver(canvas, to(grade(ADA, 80)))
    assert (done.sent, done.failures, len(canvas.writes)) == (1, (), 1)
    assert capsys.readouterr().err.count("Canvas does not answer, or is busy; each request is tried for up to ") == 1


def test_a_token_without_rights_is_refused_at_once(canvas: FakeCanvas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canvas_upload, "RATE_LIMIT", "other words")
    canvas.read_faults = [403]
    with pytest.raises(GraderError, match="use a teacher's token"):
        deliver(canvas, to(grade(ADA, 80)))
    assert canvas.read_faults == []


def test_a_score_that_canvas_lowered_was_not_changed_by_a_person(canvas: FakeCanvas) -> None:
    deliver(canvas, to(grade(ADA, 80)))
    canvas.submissions[12] |= {"score": 36.0, "entered_score": 40.0, "points_deducted": 4.0}
    assert deliver(canvas, to(grade(ADA, 80)))[1] == ["Lovelace, Ada: nothing to send (up to date)"]
    assert deliver(canvas, to(grade(ADA, 90)))[1][0] == "Lovelace, Ada: 40 → 45.00, comment"


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("off", [0.0, -8.0])
def test_points_taken_off_here_and_in_canvas_are_said(canvas: FakeCanvas, enabled: bool, off: float) -> None:
    canvas.late_policy = enabled
    late = Adjustment(kind=AdjustmentKind.LATE, points=off, reason="Late.", author="late policy")
    _, said = deliver(canvas, to(grade(ADA, 80).model_copy(update={"adjustments": (late,)})), really=False)
    assert any("cost points twice" in line for line in said) is (enabled and off < 0)


FAULTS = {  # before Canvas acts, after it has acted upon a score and a comment, while it takes the bytes of a file
    "turned away": ([429, 403, 503], [], []),
    "broken before it acts": ([500, 502, 504, 0], [], []),
    "broken after it has acted": ([], [500, 0, 502], []),
    "broken while a file is sent": ([], [], [429, 500, 0]),
}


@pytest.mark.parametrize(("before", "after", "files"), FAULTS.values(), ids=FAULTS)
def test_everybody_gets_everything_once(
    canvas: FakeCanvas, page: Path, before: list[int], after: list[int], files: list[int]
) -> None:
    canvas.find_faults, canvas.lost_answers, canvas.file_faults = before, after, files
    done, _ = deliver(canvas, to(grade(ADA, 80), page), to(grade(BOB, 70)), to(grade(EVE, 60)))
    assert (done.sent, done.failures) == (3, ())
    assert not before + after + files
    assert [canvas.submissions[user]["score"] for user in (12, 13, 14)] == [40.0, 35.0, 30.0]
    assert [len(canvas.submissions[user]["submission_comments"]) for user in (12, 13, 14)] == [1, 1, 1]
    assert {content for _, content in canvas.files.values()} == {page.read_bytes()}  # whole, however often it is sent


def test_one_failure_does_not_stop_the_others(canvas: FakeCanvas) -> None:
    canvas.broken = {13}
    who = (ADA, BOB, EVE)
    done, said = deliver(canvas, *(to(grade(one, 80)) for one in who))
    assert (done.sent, done.failures) == (2, (said[-1],))
    assert said[-1].startswith("Ross, Bob: not sent (")
    canvas.broken.clear()
    done, _ = deliver(canvas, *(to(grade(one, 80)) for one in who))
    assert (done.sent, done.failures) == (1, ())
    assert [len(canvas.submissions[user]["submission_comments"]) for user in (12, 13, 14)] == [1, 1, 1]


def test_what_a_person_changes_meanwhile_stays(canvas: FakeCanvas) -> None:
    deliver(canvas, to(grade(ADA, 80)))
    canvas.find_faults, canvas.change_on_fault = [500], {12: 49.0}
    done, said = deliver(canvas, to(grade(ADA, 90)))
    assert (done.sent, said[-1]) == (0, "Lovelace, Ada: not sent (a person changed the score in Canvas)")
    assert canvas.submissions[12]["score"] == 49.0


@pytest.mark.parametrize("times", [0, 1], ids=["nothing was sent before", "a score was sent before"])
def test_what_a_person_enters_between_the_plan_and_the_sending_stays(
    canvas: FakeCanvas, page: Path, times: int
) -> None:
    for _ in range(times):
        deliver(canvas, to(grade(ADA, 80), page))
    canvas.change_after_list = {12: 49.0}
    done, said = deliver(canvas, to(grade(ADA, 90), page), to(grade(BOB, 70)))
    assert (done.sent, said[-1]) == (1, "Lovelace, Ada: not sent (a person changed the score in Canvas)")
    assert (canvas.submissions[12]["score"], canvas.submissions[13]["score"]) == (49.0, 35.0)
    assert len(canvas.submissions[12]["submission_comments"]) == times


def test_a_person_enters_a_score_while_a_request_fails(canvas: FakeCanvas) -> None:
    canvas.find_faults, canvas.change_on_fault = [500], {12: 49.0}
    done, said = deliver(canvas, to(grade(ADA, 90)))
    assert (done.sent, said[-1]) == (0, "Lovelace, Ada: not sent (a person changed the score in Canvas)")
    assert canvas.submissions[12]["score"] == 49.0


def test_a_canvas_that_shows_no_single_submission_is_sent_what_was_planned(
    canvas: FakeCanvas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canvas, "find", lambda path: None)
    assert deliver(canvas, to(grade(ADA, 80)))[0].sent == 1


WAITS = {  # what the server asks for -> the longest wait
    "nothing": ("", 1.0),
    "seconds": ("77", 77.0),
    "a time long ago": ("Wed, 21 Oct 2015 07:28:00 GMT", 1.0),
    "no time at all": ("soon", 1.0),
}


@pytest.mark.parametrize("fault", [429, 500])
@pytest.mark.parametrize(("asked", "longest_s"), WAITS.values(), ids=WAITS)
def test_the_server_says_how_long_to_wait(
    canvas: FakeCanvas, monkeypatch: pytest.MonkeyPatch, asked: str, longest_s: float, fault: int
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(canvas_upload.time, "sleep", waits.append)
    canvas.read_faults, canvas.retry_after = [fault], asked
    assert deliver(canvas, to(grade(ADA, 80)))[0].sent == 1
    assert max(waits) == longest_s


def test_nobody_waits_for_ever(canvas: FakeCanvas, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(canvas_upload.time, "sleep", waits.append)
    canvas.find_faults, canvas.retry_after = [429] * 1000, "400"
    done, _ = deliver(canvas, *(to(grade(one, 80)) for one in (ADA, BOB, EVE)))
    assert (done.sent, len(done.failures)) == (0, 3)
    assert sum(waits) <= canvas_upload.PATIENCE_S + sum(canvas_upload.AGAIN_S)


def test_what_is_not_there_stops_before_anything_is_sent(canvas: FakeCanvas, tmp_path: Path) -> None:
    with pytest.raises(GraderError, match=r"Cannot read .*gone\.html"):
        deliver(canvas, to(grade(ADA, 80)), to(grade(BOB, 80), tmp_path / "gone.html"))
    with pytest.raises(GraderError, match="not found; check the ids"):
        upload(COURSE, 999, [to(grade(ADA, 80))], True, print, canvas.environ)
    assert canvas.writes == []


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        pytest.param({"CANVAS_API_TOKEN": "7~wrong-secret"}, "token in CANVAS_API_TOKEN is not", id="wrong token"),
        pytest.param({"CANVAS_API_TOKEN": ""}, "Set CANVAS_API_URL", id="no token"),
        pytest.param({"CANVAS_API_URL": ""}, "Set CANVAS_API_URL", id="no address"),
        pytest.param({"CANVAS_API_URL": "http://canvas.example.edu"}, "would be sent unencrypted", id="not encrypted"),
        pytest.param({"CANVAS_API_URL": "canvas"}, "would be sent unencrypted", id="no address at all"),
        pytest.param({"CANVAS_API_URL": "http://127.0.0.1:9"}, "Canvas did not answer as expected", id="no server"),
    ],
)
def test_what_stops_an_upload_is_said_without_the_token(canvas: FakeCanvas, changed: dict[str, str], part: str) -> None:
    with pytest.raises(GraderError, match=part) as raised:
        deliver(canvas, to(grade(ADA, 80)), environ={**canvas.environ, **changed})
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_capital_letters_in_the_address_lose_no_page(canvas: FakeCanvas) -> None:
    shouted = {**canvas.environ, "CANVAS_API_URL": canvas.address.replace("127.0.0.1", "LOCALHOST")}
    canvas.address = canvas.address.replace("127.0.0.1", "localhost")  # as the server names itself in its answers
    assert deliver(canvas, *(to(grade(one, 80)) for one in (ADA, BOB, EVE)), environ=shouted)[0].sent == 3


def test_nothing_that_is_said_holds_the_token(canvas: FakeCanvas, page: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    canvas.find_faults = [500]
    _, said = deliver(canvas, to(grade(student(12, "\x1b[2JEvil"), 80), page), to(grade(BOB, 80)))
    assert TOKEN not in "\n".join(said) + caplog.text
    assert "\x1b" not in "\n".join(said)
