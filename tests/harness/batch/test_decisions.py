"""Decisions of people: what holds, what takes them away, and that nothing loses them."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from grader.batch import decisions as book
from grader.batch.attempts import NAME as ATTEMPTS
from grader.batch.attempts import AttemptRecord
from grader.batch.decisions import NAME, append_decision, load_rulings, read_decisions, take_over, withdraw
from grader.batch.request import BatchRequest
from grader.errors import GraderError
from grader.grades.decisions import (
    Appeal,
    Comment,
    Decision,
    HandInTimes,
    Matter,
    Origin,
    Reviewed,
    Rules,
    combine,
    list_in_force,
)
from grader.grades.earlier_files import tell_of_earlier
from grader.grades.grade import PassOutcome
from grader.grades.overrides import Override, OverrideKind
from grader.grades.policy import Extension, GradingPolicy, ManualItem, PassRule
from grader.grades.settlement import settle
from grader.intake.uploads import Group, Intake, Refusal, Upload
from grader.judging.scoring import score
from grader.model import RunStatus, Verdict
from grader.paths import ROOT
from tests.harness import results
from tests.harness.grades.classes import DUE, intake, student, upload

CLASS = intake(upload("ada"), upload("bob"), missing=(student("cy", canvas_id=7),))
CHECK = "step1.accuracy"  # worth 6


def change(points: float | None = 5, student: str = "ada", target: str = CHECK, **changes: Any) -> Override:
    plain = {"kind": OverrideKind.CHECK, "student": student, "target": target, "points": points}
    return Override.model_validate({**plain, "author": "M", "reason": "seen", **changes})


def entry(points: int, student: str = "ada") -> str:
    return f'[[check]]\nstudent = "{student}"\ncheck = "{CHECK}"\npoints = {points}\nauthor = "M"\nreason = "seen"\n'


def give(folder: Path, text: str, found: Intake = CLASS, name: str = "overrides") -> tuple[str, ...]:
    """Name a file of overrides, or of the policy, in a run."""
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return take_over(BatchRequest(source=folder, folder=folder, **{name: path}), found)


def holds(folder: Path) -> list[tuple[str, float | None]]:
    """The students and points of the overrides that are applied."""
    return [(e.student, e.points) for e in load_rulings(folder, CLASS).overrides.entries]


def test_a_file_that_is_given_again_says_nothing_new(tmp_path: Path) -> None:
    give(tmp_path, entry(5))
    append_decision(tmp_path, change(4), Origin.REVIEW)
    give(tmp_path, entry(5))
    assert (holds(tmp_path), len(read_decisions(tmp_path))) == ([("ada", 4)], 2)
    give(tmp_path, entry(3))  # a person corrected the file
    assert holds(tmp_path) == [("ada", 3)]


def name_file(folder: Path, option: str, name: str, text: str, found: Intake = CLASS) -> tuple[str, ...]:
    """Name a file of any kind in a run."""
    (path := folder / name).write_text(text, encoding="utf-8")
    return take_over(BatchRequest.model_validate({"source": folder, "folder": folder, option: path}), found)


AGAIN = "In a.{0} as before, and what was given since holds: d2: "
PLACE = "b.{0} takes the place of d1: "
CONTRADICTING = {  # two texts about the same, and whether the second takes the place of the first
    "overrides": ("toml", entry(6), entry(2), True),
    "policy": ("toml", "[late]\nflat = 10\n", "[late]\nflat = 20\n", True),
    "times": (
        "csv",
        "student,submitted_at\nada,2026-12-01T10:00Z\n",
        "student,submitted_at\nada,2026-12-02T10:00Z\n",
        False,
    ),
}


@pytest.mark.parametrize(
    ("option", "kind", "first", "second", "replaces"), [(o, *c) for o, c in CONTRADICTING.items()], ids=CONTRADICTING
)
def test_of_two_files_that_contradict_the_later_one_holds_and_the_other_revives_nothing(
    option: str, kind: str, first: str, second: str, replaces: bool, tmp_path: Path
) -> None:
    assert name_file(tmp_path, option, f"a.{kind}", first) == ()
    told = name_file(tmp_path, option, f"b.{kind}", second)
    assert [note.startswith(PLACE.format(kind)) for note in told] == [True] * replaces
    (note,) = name_file(tmp_path, option, f"a.{kind}", first)
    assert note.startswith(AGAIN.format(kind))
    assert note.endswith(f"Take d2 away if a.{kind} should hold.")
    assert name_file(tmp_path, option, f"b.{kind}", second) == ()
    assert [decision.id for decision in read_decisions(tmp_path)] == ["d1", "d2"]
    withdraw(tmp_path, ["d2"], "M", "a mistake")
    assert name_file(tmp_path, option, f"a.{kind}", first) == ()
    assert list_in_force(read_decisions(tmp_path))[-1].id == "d1"


def test_a_copy_of_a_file_under_another_name_says_nothing_new(tmp_path: Path) -> None:
    for name in ("a.toml", "copy.toml"):
        assert name_file(tmp_path, "overrides", name, entry(5)) == ()
    assert len(read_decisions(tmp_path)) == 1


MOVED = "In another group than 'one' by b.csv, which was given later and holds: "
SECTIONS = [  # what two files of groups say, who hands in together then, and what is said
    pytest.param("ada,one bob,one", "cy,two di,two", {"one": "ada bob", "two": "cy di"}, [], id="two sections"),
    pytest.param("ada,one bob,one", "cy,one di,one", {"one": "ada bob", "one (b.csv)": "cy di"}, [], id="one name"),
    pytest.param("ada,one bob,one", "bob,two cy,two", {"one": "ada", "two": "bob cy"}, ["Bob ('two')."], id="in two"),
    pytest.param(
        "ada,one bob,one", "ada,two bob,three", {"two": "ada", "three": "bob"}, ["Ada ('two'), Bob"], id="all"
    ),
    pytest.param("ada,one bob,one", "ada,one bob,one cy,one", {"one": "ada bob cy"}, [], id="a new list"),
    pytest.param("ada,one bob,one", "ada,one bob,one", {"one": "ada bob"}, [], id="the same"),
]


@pytest.mark.parametrize(("first", "second", "expected", "said"), SECTIONS)
def test_groups_of_two_files_hold_beside_each_other(
    first: str, second: str, expected: dict[str, str], said: list[str], tmp_path: Path
) -> None:
    found = intake(*(upload(name) for name in ("ada", "bob", "cy", "di")))
    for name, text in (("a.csv", first), ("b.csv", second), ("a.csv", first)):
        assert name_file(tmp_path, "groups", name, f"student,group\n{text}\n".replace(" ", "\n"), found) == ()
    made = load_rulings(tmp_path, found).intake
    assert {g.name: " ".join(member.key for member in g.members) for g in made.groups} == expected
    assert [note.startswith(MOVED + words) for note, words in zip(made.notes, said, strict=True)] == [True] * len(said)


def test_a_new_version_of_a_file_of_groups_takes_its_place_and_says_what_is_gone(tmp_path: Path) -> None:
    name_file(tmp_path, "groups", "g.csv", "student,group\nada,one\ncy,two\n")
    (note,) = name_file(tmp_path, "groups", "g.csv", "student,group\nada,one\nbob,one\n")
    assert note.startswith("No longer in a group by g.csv: cy. If it is the file of another section")
    assert [g.name for g in load_rulings(tmp_path, CLASS).intake.groups] == ["one"]


RULES = "[deadline]\ndue = 2026-12-01T23:59:00+01:00\n"
LONGEST = [
    pytest.param("days = 2", "days = 5", {"days": 5}, id="in days"),
    pytest.param("days = 5", "days = 2", {"days": 5}, id="the first"),
    pytest.param("days = 2", "due = 2026-12-20T12:00:00Z", {"days": None}, id="a date"),
    pytest.param("days = 30", "due = 2026-12-20T12:00:00Z", {"days": 30}, id="days beyond a date"),
]


@pytest.mark.parametrize(("first", "second", "expected"), LONGEST)
def test_of_two_extensions_in_a_file_the_longest_holds_in_every_run(
    first: str, second: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    people = zip(("7", "cy"), (first, second), strict=True)  # two names of the same student
    tables = [f'[[extension]]\nstudent = "{name}"\n{what}\nauthor = "M"\nreason = "ill"\n' for name, what in people]
    for _ in range(3):
        (note,) = give(tmp_path, RULES + "".join(tables), name="policy")
        assert note == "policy.toml has 2 extensions of cy: the longest one holds; leave only that."
        assert len(read_decisions(tmp_path)) == 2
        (extension,) = load_rulings(tmp_path, CLASS).policy.extension
        assert {"days": extension.days} == expected


def test_what_left_a_file_stays_and_is_named(tmp_path: Path) -> None:
    give(tmp_path, entry(5) + entry(6, "bob"))
    (note,) = give(tmp_path, entry(5))
    assert (
        note == f"No longer in overrides.toml, and still in force: d2: bob, {CHECK}: 6 points (M, overrides.toml: seen)"
    )
    assert holds(tmp_path) == [("ada", 5), ("bob", 6)]


def test_a_withdrawal_brings_back_what_was_replaced_and_can_be_withdrawn(tmp_path: Path) -> None:
    give(tmp_path, entry(5))
    append_decision(tmp_path, change(2), Origin.REVIEW)
    for ids, points in (("d2", [("ada", 5)]), ("d1", []), ("d4", [("ada", 5)])):
        withdraw(tmp_path, [ids], "M", "a mistake")
        assert holds(tmp_path) == points
    withdraw(tmp_path, ["d1"], "M", "it was one")
    (note,) = give(tmp_path, entry(5))
    assert "stays taken away: d1" in note
    assert holds(tmp_path) == []


@pytest.mark.parametrize("wrong", ["d9", "d1"], ids=["unknown", "away already"])
def test_only_what_is_there_is_taken_away_and_nothing_else_then(wrong: str, tmp_path: Path) -> None:
    append_decision(tmp_path, change(), Origin.REVIEW)
    append_decision(tmp_path, change(student="bob"), Origin.REVIEW)
    withdraw(tmp_path, ["d1"], "M", "a mistake")
    with pytest.raises(GraderError, match=f"'{wrong}' (does not exist|is taken away already)"):
        withdraw(tmp_path, ["d2", wrong], "M", "a mistake")
    assert holds(tmp_path) == [("bob", 5)]


FITTING = [
    pytest.param(change(9), [("ada", 6.0)], "gives 9 points and counts as 6", id="the check is worth less by now"),
    pytest.param(change(target="step9.gone"), [], "the rubric has no 'step9.gone'", id="the check is gone"),
    pytest.param(change(student="eve"), [], "'eve' is no student here", id="the student is gone"),
]


@pytest.mark.parametrize(("override", "expected", "note"), FITTING)
def test_a_decision_that_fits_no_longer_is_kept_and_named(
    override: Override, expected: list[Any], note: str, tmp_path: Path
) -> None:
    append_decision(tmp_path, override, Origin.REVIEW)
    assert holds(tmp_path) == expected
    assert note in load_rulings(tmp_path, CLASS).notes[0]
    assert list_in_force(read_decisions(tmp_path))[0].matter == override


FULL = {"points": None, "verdict": Verdict.PASSED}
WORTH = [  # a check is worth 6 by now
    pytest.param(change(4, possible=4), FULL, "gives all points of step1.accuracy, worth 4 points then", id="more"),
    pytest.param(change(8, possible=8), FULL, "worth 8 points then and 6 now: it counts as 6.", id="less"),
    pytest.param(change(3, possible=4), {"points": 3}, "it counts as 3. Decide again", id="a part, and more"),
    pytest.param(change(7, possible=8), {"points": 6}, "it counts as 6. Decide again", id="a part, and less"),
    pytest.param(change(None, verdict="passed", possible=4), FULL, "says passed for", id="a verdict"),
    pytest.param(change(4, possible=6), {"points": 4}, "", id="the same"),
    pytest.param(
        change(4), {"points": 4}, "Not recorded what the check was worth when somebody decided: d1.", id="old"
    ),
    pytest.param(change(6), {"points": 6}, "", id="old, and all points"),
    pytest.param(change(0), {"points": 0}, "", id="old, and none"),
]


@pytest.mark.parametrize(("override", "expected", "note"), WORTH)
def test_a_check_that_changed_its_worth(
    override: Override, expected: dict[str, Any], note: str, tmp_path: Path
) -> None:
    append_decision(tmp_path, override, Origin.REVIEW)
    found = load_rulings(tmp_path, CLASS)
    assert found.overrides.entries == (override.model_copy(update=expected),)
    assert [note in said for said in found.notes] == [True] * bool(note)


def test_a_file_records_what_its_checks_are_worth_and_says_nothing_new_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(tmp_path, entry(6))
    (matter,) = (decision.matter for decision in read_decisions(tmp_path))
    assert isinstance(matter, Override)
    assert matter.possible == 6
    monkeypatch.setattr(book, "load_rubric", lambda path: {CHECK: 9.0})
    give(tmp_path, entry(6))
    assert len(read_decisions(tmp_path)) == 1
    assert [e.verdict for e in load_rulings(tmp_path, CLASS).overrides.entries] == [Verdict.PASSED]


BEFORE, NOW, REFUSED = upload("ada"), upload("ada", attempt=2), Refusal(entry="a.pdf", reason="A PDF.", sha256="p")
EARLIER = [  # what was there when the file of overrides came, what is there now, and what is said
    pytest.param(intake(BEFORE), intake(NOW), "for an earlier file of Ada", id="another file"),
    pytest.param(intake(missing=(student("ada"),)), intake(NOW), "before Ada handed in", id="the first file"),
    pytest.param(intake(BEFORE), intake(BEFORE), "", id="the same file"),
    pytest.param(intake(BEFORE), intake(BEFORE.model_copy(update={"id": "ada_2"})), "", id="the same file again"),
    pytest.param(intake(BEFORE, NOW), intake(BEFORE, NOW), "", id="two files"),
    pytest.param(intake(BEFORE), intake(missing=(student("ada"),)), "", id="no file any more"),
    pytest.param(
        intake(BEFORE),
        intake(refusals=(REFUSED.model_copy(update={"student": student("ada")}),)),
        "for an earlier file of Ada",
        id="a refused file",
    ),
]


@pytest.mark.parametrize(("before", "now", "said"), EARLIER)
def test_a_change_of_a_file_holds_for_a_later_notebook_and_is_named(
    before: Intake, now: Intake, said: str, tmp_path: Path
) -> None:
    for _ in range(2):  # a file that is given again does not say for which notebook
        give(tmp_path, entry(5), before)
    give(tmp_path, entry(5), now)
    found = load_rulings(tmp_path, now)
    told, (grade,) = tell_of_earlier(found, settle(found.intake, {}, found.policy, found.overrides))
    assert ([said in note for note in told.notes], [*told.earlier]) == (([True], ["ada"]) if said else ([], []))
    assert [e.points for e in told.overrides.entries] == [5]
    assert ("Made for an earlier file" in grade.note) is (bool(said) and grade.upload is not None)


def test_what_a_member_of_a_group_handed_in_is_no_earlier_file_of_another_one(tmp_path: Path) -> None:
    found = CLASS.model_copy(update={"groups": (Group(name="one", members=(student("ada"), student("bob"))),)})
    give(tmp_path, entry(5), found)
    rulings = load_rulings(tmp_path, found)
    assert tell_of_earlier(rulings, settle(rulings.intake, {}, rulings.policy, rulings.overrides))[0].earlier == {}


def test_a_mark_of_all_points_stays_one() -> None:
    mark = change(8, kind="manual", target="talk", possible=8)
    rules = GradingPolicy(manual=(ManualItem(id="talk", title="Talk", possible=10),))
    matters = (Rules(policy=rules, author="M"), mark)
    drafts = [Decision(id=f"d{i}", at=DUE, origin=Origin.REVIEW, matter=m) for i, m in enumerate(matters)]
    assert [e.points for e in combine(drafts, CLASS, {}).overrides.entries] == [10]


def test_a_check_worth_more_takes_nobodys_pass_away() -> None:
    passing = GradingPolicy(passing=PassRule(checks=("step2.b",), points=60))
    for worth in (40.0, 45.0):
        draft = Decision(id="d1", at=DUE, origin=Origin.REVIEW, matter=change(40, target="step2.b", possible=40))
        checks = [
            results.check("step1.a", Verdict.PASSED, 100 - worth),
            results.check("step2.b", Verdict.FAILED, worth),
        ]
        found = results.result(checks, "a", run=results.run(RunStatus.OK), score=score(checks, RunStatus.OK))
        one = upload("ada")
        rulings = combine([draft], intake(one), {"step1.a": 100 - worth, "step2.b": worth})
        (grade,) = settle(rulings.intake, {one.id: found}, passing, rulings.overrides)
        assert (grade.points, grade.outcome, grade.lacking) == (100, PassOutcome.COMPLETE, ())


def test_rules_and_extensions_are_decisions_of_their_own(tmp_path: Path) -> None:
    rules = "[deadline]\ndue = 2026-12-01T23:59:00+01:00\n[late]\nper_day = {0}\n"
    extension = '[[extension]]\nstudent = "7"\ndays = 3\nauthor = "M"\nreason = "ill"\n'
    give(tmp_path, rules.format(10) + extension, name="policy")
    (note,) = give(tmp_path, rules.format(20), name="policy")
    assert "still in force: d2: extension of cy of 3 days (M, policy.toml: ill)" in note
    found = load_rulings(tmp_path, CLASS).policy
    assert (found.late.per_day, [one.student for one in found.extension]) == (20, ["cy"])
    give(tmp_path, rules.format(10) + extension, name="policy")  # back to the first
    assert load_rulings(tmp_path, CLASS).policy.late.per_day == 10


GIVEN = {
    "policy": ("toml", "[late]\nflat = 10\n"),
    "times": ("csv", "student,submitted_at\nada,2026-12-01T10:00Z\n"),
    "groups": ("csv", "student,group\nada,one\nbob,one\n"),
}


@pytest.mark.parametrize(("option", "kind", "text"), [(o, *given) for o, given in GIVEN.items()], ids=GIVEN)
def test_what_was_taken_away_stays_away_when_somebody_else_repeats_the_command(
    option: str, kind: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := tmp_path / f"given.{kind}").write_text(text, encoding="utf-8")
    request = BatchRequest.model_validate({"source": tmp_path, "folder": tmp_path, option: path})
    monkeypatch.setattr("grader.batch.decisions.name_author", lambda: "ann")
    take_over(request, CLASS)
    withdraw(tmp_path, ["d1"], "ann", "a mistake")
    monkeypatch.setattr("grader.batch.decisions.name_author", lambda: "bea")
    (note,) = take_over(request, CLASS)
    assert "stays taken away: d1" in note
    assert list_in_force(read_decisions(tmp_path)) == ()


def come(folder: Path, at: datetime, *uploads: Upload) -> None:
    """Note that a run first found uploads at this time."""
    known = [AttemptRecord(student=u.student.key, upload=u.id, sha256=u.sha256, attempt=1, at=at) for u in uploads]
    with (folder / ATTEMPTS).open("a", encoding="utf-8") as file:
        file.writelines(f"{record.model_dump_json()}\n" for record in known)


def test_times_count_for_what_came_before_they_were_given(tmp_path: Path) -> None:
    hour, first, second = timedelta(hours=1), upload("ada"), upload("ada", attempt=2, late=True)
    times = {"ada": datetime(2026, 12, 1, tzinfo=UTC)}
    given = append_decision(tmp_path, HandInTimes(times=times, author="M"), Origin.FILE)
    come(tmp_path, given.at - hour, first)
    come(tmp_path, given.at + hour, second)
    before, after = load_rulings(tmp_path, intake(first)).intake, load_rulings(tmp_path, intake(second)).intake
    assert ([u.submitted_at for u in before.uploads], before.notes) == ([times["ada"]], ())
    assert [u.submitted_at for u in after.uploads] == [None]
    assert "older than 1 upload" in after.notes[0]
    assert "`make times`" in after.notes[0]


ADAM, EVE = (student(f"{name}_12", canvas_id=12) for name in ("adam", "eve"))
RENAMED = Intake(source="class.zip", uploads=(upload().model_copy(update={"student": EVE}),))


def test_a_student_who_is_renamed_keeps_every_decision(tmp_path: Path) -> None:
    append_decision(tmp_path, change(4, student=ADAM.key, possible=6), Origin.REVIEW)
    append_decision(tmp_path, Comment(student=ADAM.key, text="seen", author="M"), Origin.REVIEW)
    append_decision(tmp_path, Extension(student=ADAM.key, due=DUE, author="M", reason="ill"), Origin.FILE)
    append_decision(tmp_path, HandInTimes(times={ADAM.key: DUE}, author="M"), Origin.FILE)
    found = load_rulings(tmp_path, RENAMED)
    assert [e.points for e in found.overrides.of(EVE)] == [4]
    assert (found.comments, [e.student for e in found.policy.extension]) == ({EVE.key: {"": "seen"}}, [EVE.key])
    assert ([u.submitted_at for u in found.intake.uploads], found.notes) == ([DUE], ())


def test_of_two_decisions_under_two_names_of_a_student_the_later_one_holds(tmp_path: Path) -> None:
    give(tmp_path, entry(5, ADAM.key), intake(upload().model_copy(update={"student": ADAM})))
    append_decision(tmp_path, change(2, student=EVE.key), Origin.REVIEW)
    give(tmp_path, entry(5, ADAM.key), RENAMED)  # the file says nothing new
    assert [e.points for e in load_rulings(tmp_path, RENAMED).overrides.entries] == [2]


WRONG = "lovelace_7"  # a name with the number of cy
EXTENSION = f'[[extension]]\nstudent = "{WRONG}"\ndue = 2026-12-05T23:59:00Z\nauthor = "M"\nreason = "ill"\n'
MISNAMED = {
    "policy": ("toml", EXTENSION),
    "times": ("csv", f"student,submitted_at\n{WRONG},2026-12-01T10:00Z\n"),
    "overrides": ("toml", entry(5, WRONG)),
}


@pytest.mark.parametrize(("option", "kind", "text"), [(o, *given) for o, given in MISNAMED.items()], ids=MISNAMED)
def test_a_name_that_contradicts_its_number_is_refused_with_who_may_be_meant(
    option: str, kind: str, text: str, tmp_path: Path
) -> None:
    (path := tmp_path / f"given.{kind}").write_text(text, encoding="utf-8")
    request = BatchRequest.model_validate({"source": tmp_path, "folder": tmp_path, option: path})
    with pytest.raises(GraderError, match=rf"'{WRONG}' is no student of this class \(did you mean cy\?\)"):
        take_over(request, CLASS)
    assert read_decisions(tmp_path) == ()
    come(tmp_path, datetime(2026, 12, 1, tzinfo=UTC), upload(WRONG))  # it was cy's key once
    take_over(request, CLASS)
    assert len(list_in_force(read_decisions(tmp_path))) == 1 + (option == "policy")  # the rules are one more


def test_an_extension_that_came_before_its_student_is_said_where_only_the_number_fits(tmp_path: Path) -> None:
    give(tmp_path, EXTENSION, intake(upload("ada")), name="policy")
    found = load_rulings(tmp_path, CLASS)
    assert [one.student for one in found.policy.extension] == ["cy"]
    (note,) = found.notes
    assert f"d2, an extension for '{WRONG}', counts for cy, by the Canvas id alone; check" in note
    give(tmp_path, EXTENSION, name="policy")  # the file says nothing new
    assert len(read_decisions(tmp_path)) == 2


STRANGE = [
    Comment(student="eve", text="seen", author="M"),
    Appeal(student="eve", contests=CHECK, claim="it is right", author="M"),
    Reviewed(student="eve", upload="eve_1", author="M"),
]


@pytest.mark.parametrize("matter", STRANGE, ids=["comment", "appeal", "reviewed"])
def test_words_about_nobody_here_are_named(matter: Matter, tmp_path: Path) -> None:
    append_decision(tmp_path, matter, Origin.REVIEW)
    assert load_rulings(tmp_path, CLASS).notes == ("Decision d1 has no effect: 'eve' is no student here.",)


def test_a_file_with_a_mistake_changes_nothing(tmp_path: Path) -> None:
    give(tmp_path, entry(5))
    with pytest.raises(GraderError, match="'eve' is no student of this class"):
        give(tmp_path, entry(4) + entry(6, "eve"))
    assert holds(tmp_path) == [("ada", 5)]


def test_two_at_once_lose_nothing(tmp_path: Path) -> None:
    def decide(number: int) -> Decision:
        return append_decision(tmp_path, Comment(student=f"s{number}", text="seen", author="M"), Origin.REVIEW)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(decide, range(40)))
    assert sorted(made, key=lambda d: int(d.id[1:])) == list(read_decisions(tmp_path))
    assert len({decision.id for decision in made}) == 40


KILLED = """
import sys
from pathlib import Path
from grader.batch.decisions import append_decision
from grader.grades.decisions import Comment, Origin
while True:
    made = append_decision(Path(sys.argv[1]), Comment(student="ada", text="x" * 5000, author="M"), Origin.REVIEW)
    print(made.id, flush=True)
"""


def test_a_writer_that_is_killed_loses_nothing_that_it_reported(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline().strip() for _ in range(20)]
        writer.kill()
        told += writer.stdout.read().split()
    found = [decision.id for decision in read_decisions(tmp_path)]
    assert found[: len(told)] == told
    assert append_decision(tmp_path, change(), Origin.REVIEW).id == f"d{len(found) + 1}"


def test_a_line_that_cannot_be_read_stops_everything(tmp_path: Path) -> None:
    append_decision(tmp_path, change(), Origin.REVIEW)
    with (tmp_path / NAME).open("a", encoding="utf-8") as file:
        file.write('{"id": "d2", "of a newer version": 1}\n')
    with pytest.raises(GraderError, match=r"Line 2 of .*decisions\.jsonl is no decision that this version can read"):
        append_decision(tmp_path, change(), Origin.REVIEW)
