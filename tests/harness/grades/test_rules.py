"""The rules as staff write them, and what being late costs."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from grader.errors import GraderError
from grader.grades.policy import (
    GradingPolicy,
    NameIndex,
    compute_deduction,
    compute_delay,
    describe,
    format_duration,
    load_policy,
)

from .classes import student, upload

ROOT = Path(__file__).resolve().parents[3]
DEADLINE = "[deadline]\ndue = 2026-12-01T23:59:00+01:00\ngrace_min = 15\n"
LATE = DEADLINE + "[late]\nper_day = 10\nflat = 25\n"
UNEXPLAINED = "[[extension]]\nstudent = 'ada'\ndays = 2\nauthor = 'x'\n"
EXTENDED = UNEXPLAINED + "reason = 'y'\n"
DAY, HOUR, MINUTE, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
TO_THE_SECOND = LATE.replace("23:59:00", "23:58:59").replace("grace_min = 15", "")
NO_GRACE = LATE.replace("grace_min = 15", "")
CLOCKS = "[deadline]\ndue = 2026-10-23T23:59:00+02:00\nzone = 'Europe/Stockholm'\n"  # set back on 25 October


def policy_of(tmp_path: Path, text: str) -> GradingPolicy:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return load_policy(path)


def test_the_policy_that_comes_with_the_project_takes_nothing_off() -> None:
    policy = load_policy(ROOT / "data" / "policy.toml")
    assert compute_delay(upload(after=10 * DAY, late=True), policy).penalty == 0


def test_what_is_commented_out_in_it_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "data" / "policy.toml").read_text(encoding="utf-8")
    lines = [line.removeprefix("# ") for line in text.splitlines() if line.startswith(("# [", "#"))]
    keys = "\n".join(line for line in lines if line.startswith("[") or (" = " in line and not line[0].isupper()))
    policy = policy_of(tmp_path, keys.replace("cap = 50", ""))
    assert policy.deadline is not None
    assert (policy.extension[0].days, policy.manual[0].possible) == (7, 10)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("[late]\nper_day = -1", "table [late], key per_day: ", id="negative"),
        pytest.param("[late]\nper_day = nan", "table [late], key per_day: ", id="not a number"),
        pytest.param("[late]\nper_day = 101", "above 100 percent", id="more than everything"),
        pytest.param("[late]\nunit = 'stars'", "table [late], key unit: ", id="unknown unit"),
        pytest.param("[late]\nperday = 1", "table [late], key perday: ", id="slip of the pen"),
        pytest.param("[deadline]\ndue = 2026-12-01T23:59:00", "table [deadline], key due: ", id="no time zone"),
        pytest.param("[attempts]\ncounts = 'first'", "table [attempts], key counts: ", id="unknown attempt"),
        pytest.param(DEADLINE + UNEXPLAINED, "table [[extension]] 1, key reason: ", id="extension without a reason"),
        pytest.param(EXTENDED, "need a deadline", id="days of what"),
        pytest.param(CLOCKS.replace("Stock", "Stok"), "such as Europe/Stockholm", id="a zone, misspelt"),
        pytest.param(CLOCKS.replace("/Stockholm", ""), "'Europe' is no time zone", id="a folder of zones"),
        pytest.param(CLOCKS.replace("+02", "+01"), "2026-10-24T00:59:00+02:00; correct the offset", id="not so there"),
        pytest.param(
            CLOCKS + EXTENDED.replace("days = 2", "due = 2026-12-01T23:59:00+02:00"), "the offset", id="until"
        ),
        pytest.param(DEADLINE + EXTENDED.replace("'ada'", "7"), "'7' is no text; put it in quotes", id="a number"),
        pytest.param("[deadline]\ndue = 2026-12-01", "'2026-12-01' is no time with a zone", id="no time of day"),
        pytest.param("late = 3", "table [late]: ", id="no table"),
        pytest.param("[late", "it is not TOML", id="not TOML"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    words = rf"^[^\n]*policy\.toml: [^\n]*{re.escape(says)}[^\n]*; correct the file\.\Z"
    with pytest.raises(GraderError, match=words):
        policy_of(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "after", "late", "penalty"),
    [
        pytest.param(LATE, -HOUR, False, 0, id="in time"),
        pytest.param(LATE, timedelta(0), False, 0, id="to the second"),
        pytest.param(NO_GRACE, 59 * SECOND, False, 0, id="in the minute of the deadline"),
        pytest.param(NO_GRACE, MINUTE, False, 10, id="in the minute after"),
        pytest.param(NO_GRACE, DAY + 59 * SECOND, False, 10, id="in the minute in which a day ends"),
        pytest.param(TO_THE_SECOND, -SECOND / 2, False, 0, id="in the second of the deadline"),
        pytest.param(TO_THE_SECOND, 0 * SECOND, False, 10, id="in the second after"),
        pytest.param(LATE, 15 * MINUTE, True, 0, id="within the grace, whatever Canvas marks"),
        pytest.param(LATE, -HOUR, True, 25, id="a time before the deadline, which is of an earlier attempt"),
        pytest.param(LATE + EXTENDED, -HOUR, True, 0, id="a time before the deadline, and an extension"),
        pytest.param(LATE, 16 * MINUTE, False, 10, id="beyond the grace"),
        pytest.param(LATE, DAY, False, 10, id="one day"),
        pytest.param(LATE, DAY + MINUTE, False, 20, id="a second day has started"),
        pytest.param(LATE + "cap = 15", 3 * DAY, False, 15, id="capped"),
        pytest.param(LATE + "count = 'days'", 6 * HOUR, False, 2.5, id="a quarter of a day"),
        pytest.param(LATE, None, True, 25, id="only marked"),
        pytest.param(LATE + "cap = 15", None, True, 15, id="only marked, capped"),
        pytest.param(LATE, None, False, 0, id="not marked"),
        pytest.param(LATE + EXTENDED, 2 * DAY, True, 0, id="within the extension"),
        pytest.param(LATE + EXTENDED, 2 * DAY + 30 * SECOND, True, 0, id="in the minute in which the extension ends"),
        pytest.param(LATE + EXTENDED, 3 * DAY, True, 10, id="beyond the extension"),
        pytest.param(LATE + EXTENDED, None, True, 0, id="marked against another deadline"),
        pytest.param("[late]\nper_day = 10\nflat = 25\n", DAY, True, 25, id="no deadline: only the mark says it"),
    ],
)
def test_penalty(tmp_path: Path, text: str, after: timedelta | None, late: bool, penalty: float) -> None:
    assert compute_delay(upload(after=after, late=late), policy_of(tmp_path, text)).penalty == pytest.approx(penalty)


RATE = "[late]\nper_day = 10\n"
THREE_DAYS = EXTENDED.replace("2", "3")
FIXED = CLOCKS.replace("zone = 'Europe/Stockholm'\n", "")
SPRING = CLOCKS.replace("10-23T23:59:00+02", "03-28T23:59:00+01")  # set forward on 29 March


@pytest.mark.parametrize(
    ("text", "at", "penalty", "doubted"),
    [
        pytest.param(CLOCKS + RATE + THREE_DAYS, "10-26T23:59:30+01:00", 0, False, id="an extension across the change"),
        pytest.param(CLOCKS + RATE + THREE_DAYS, "10-27T00:00:00+01:00", 10, False, id="beyond it"),
        pytest.param(CLOCKS + RATE, "10-25T23:30:00+01:00", 20, False, id="the second day has 25 hours"),
        pytest.param(CLOCKS.replace("23T", "24T") + RATE, "10-25T23:30:00+01:00", 10, False, id="the first one has"),
        pytest.param(CLOCKS + RATE, "10-25T22:30:00+00:00", 20, False, id="the time is in another zone"),
        pytest.param(CLOCKS.replace("23:59:00+02:00", "21:59:00Z") + RATE, "10-25T23:30:00+01:00", 20, False, id="Z"),
        pytest.param(CLOCKS + RATE + "count = 'days'", "10-25T11:59:00+01:00", 15, False, id="in proportion"),
        pytest.param(SPRING + RATE, "03-30T00:30:00+02:00", 20, False, id="a day of 23 hours"),
        pytest.param(CLOCKS.replace("23T23:59", "25T02:30") + RATE, "10-25T02:10:00+01:00", 10, False, id="hour twice"),
        pytest.param(FIXED + RATE + THREE_DAYS, "10-26T23:30:00+01:00", 10, True, id="no zone, less than an hour over"),
        pytest.param(FIXED + RATE, "10-25T23:30:00+01:00", 30, True, id="no zone, less than an hour into a day"),
        pytest.param(FIXED.replace("23:59:00+02:00", "21:59:00Z") + RATE, "10-25T23:30:00+01:00", 30, True, id="no, Z"),
        pytest.param(
            FIXED + RATE + THREE_DAYS.replace("days = 3", "due = 2026-10-26T23:59:00+01:00"),
            *("10-27T00:30:00+01:00", 10, False),
            id="no zone, and the extension has a time",
        ),
        pytest.param(FIXED + RATE, "10-25T22:30:00+01:00", 20, False, id="no zone, and an hour changes nothing"),
        pytest.param(FIXED + RATE, "10-24T00:30:00+02:00", 10, False, id="no zone, before the change"),
        pytest.param(FIXED + RATE + "cap = 5", "10-25T23:30:00+01:00", 5, False, id="no zone, capped already"),
        pytest.param(
            FIXED.replace("+02", "+05") + RATE, "10-25T23:30:00+05:00", 20, False, id="no clocks change there"
        ),
    ],
)
def test_days_across_a_change_of_clocks(tmp_path: Path, text: str, at: str, penalty: float, doubted: bool) -> None:
    at_ = datetime.fromisoformat(f"2026-{at}").astimezone(UTC)
    delay = compute_delay(upload().model_copy(update={"submitted_at": at_}), policy_of(tmp_path, text))
    assert (delay.penalty, "Clocks may have been set back" in delay.note) == (pytest.approx(penalty), doubted)


def test_the_words_give_the_time_of_the_zone(tmp_path: Path) -> None:
    at = datetime.fromisoformat("2026-10-27T00:30:00+01:00")
    policy = policy_of(tmp_path, CLOCKS + RATE + THREE_DAYS)
    words = compute_delay(upload().model_copy(update={"submitted_at": at}), policy).words
    assert words.startswith("Handed in 31 min after the deadline (2026-10-26 23:59 CET): 1 started day, ")
    assert describe(policy)[0] == "Deadline 2026-10-23 23:59 UTC+02:00, days by the clocks of Europe/Stockholm."


KNOWN = (
    student("ek_50033", canvas_id=50033, login="Ek@x"),
    student("berg_50034", canvas_id=50034).model_copy(update={"name": "Berg, Bo"}),
)
NAMES = {  # typed; whom it finds, whom it finds if it was recorded earlier, and who may be meant
    "key": ("ek_50033", ("ek_50033",), ("ek_50033",), None),
    "Canvas id": ("50034", ("berg_50034",), ("berg_50034",), None),
    "the number of somebody else": ("berg_50033", (), ("ek_50033",), "ek_50033"),
    "an unknown name": ("lovelace_50034", (), ("berg_50034",), "berg_50034"),
    "other letters": ("EK_50033", (), ("ek_50033",), "ek_50033"),
    "other letters in the login": ("ek@X", (), (), "ek_50033"),
    "the name": ("berg, Bo", (), (), "berg_50034"),
    "a slip of the pen": ("brg_5034", (), (), "berg_50034"),
    "a number near that of somebody": ("50035", (), (), ""),
    "nobody": ("zz", (), (), ""),
}


@pytest.mark.parametrize(("name", "typed", "recorded", "meant"), NAMES.values(), ids=NAMES)
def test_a_name_that_contradicts_its_number_is_nobodys_unless_it_was_recorded(
    name: str, typed: tuple[str, ...], recorded: tuple[str, ...], meant: str | None
) -> None:
    known = NameIndex(KNOWN)
    assert (known.find(name), known.find_recorded(name), NameIndex(KNOWN, [name]).find(name)) == (
        typed,
        recorded,
        recorded,
    )
    if meant is not None:
        assert known.suggest(name) == (f" (did you mean {meant}?)" if meant else "")


def test_the_words_give_delay_deadline_and_rate_and_leave_a_mark_without_a_time_to_staff(tmp_path: Path) -> None:
    words = compute_delay(upload(after=DAY + 2 * HOUR), policy_of(tmp_path, LATE + "cap = 15")).words
    assert words == (
        "Handed in 1 d 2 h after the deadline (2026-12-01 23:59 UTC+01:00): 2 started days, "
        "10% of the points possible per day, at most 15% of the points possible."
    )
    assert "please check" in compute_delay(upload(late=True), policy_of(tmp_path, LATE + EXTENDED)).note


@pytest.mark.parametrize(
    ("late", "points", "off"),
    [
        pytest.param("per_day = 10", 80, 5, id="percent of the points possible, not of those gained"),
        pytest.param("per_day = 10\nunit = 'points'", 80, 10, id="points"),
        pytest.param("per_day = 10", 3, 3, id="not below zero"),
        pytest.param("per_day = 100\nfloor = 60", 50, 20, id="not below the floor"),
        pytest.param("per_day = 100\nfloor = 60", 20, 0, id="below the floor already"),
    ],
)
def test_what_is_taken_off(tmp_path: Path, late: str, points: float, off: float) -> None:
    policy = policy_of(tmp_path, f"{DEADLINE}[late]\n{late}")
    assert compute_deduction(points, 50, compute_delay(upload(after=DAY), policy), policy.late) == pytest.approx(off)


def test_a_time_without_a_zone_is_a_fault_of_the_grader(tmp_path: Path) -> None:
    naive = upload(after=DAY).model_copy(update={"submitted_at": upload(after=DAY).submitted_at.replace(tzinfo=None)})  # type: ignore[union-attr]
    with pytest.raises(GraderError, match="time zone"):
        compute_delay(naive, policy_of(tmp_path, LATE))


def test_the_rules_in_sentences(tmp_path: Path) -> None:
    assert describe(policy_of(tmp_path, LATE)) == (
        "Deadline 2026-12-01 23:59 UTC+01:00, 15 min grace.",
        "Late: 10% of the points possible per started day.",
        "Marked LATE without a time: 25% of the points possible.",
        "The last attempt counts.",
    )


SPANS = {timedelta(seconds=45): "45 s", HOUR: "1 h", DAY + HOUR + MINUTE: "1 d 1 h", timedelta(0): "0 s"}


@pytest.mark.parametrize(("span", "words"), SPANS.items(), ids=["seconds", "one unit", "two units", "nothing"])
def test_duration(span: timedelta, words: str) -> None:
    assert format_duration(span) == words
