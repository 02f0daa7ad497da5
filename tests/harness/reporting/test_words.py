"""What the reports share: numbers, sentences, the order of checks, and text that steers no terminal or encoder."""

import math
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.assets.reviews import Source
from grader.model import CheckResult, Method, MethodSummary, Profile, RunStatus, Score, ScoreStatus, Verdict
from grader.reporting import words
from grader.reporting.outline import count_verdicts, group_by_step
from grader.reporting.sanitisation import LINE_LIMIT, sanitise_line, sanitise_text
from tests.harness import results

from .examples import full_marks


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        pytest.param(words.format_points(95.0), "95", id="points_whole"),
        pytest.param(words.format_points(2.5), "2.5", id="points_half"),
        pytest.param(words.format_points(1 / 3), "0.33", id="points_third"),
        pytest.param(words.format_points(0.0), "0", id="points_zero"),
        pytest.param(words.format_points(100.0), "100", id="points_keep_their_zeros"),
        pytest.param(words.format_points(None), "–", id="points_of_an_error"),
        pytest.param(words.format_count(66_955_010), "66,955,010", id="count"),
        pytest.param(words.format_count(1e300), "1e+300", id="count_huge"),
        pytest.param(words.format_percent(0.8264), "82.6%", id="percent"),
        pytest.param(words.format_percent(math.nan), "–", id="percent_not_a_number"),
        pytest.param(words.format_percent(1e300), "1e+300", id="percent_huge"),
        pytest.param(words.format_seconds(0.417), "0.42 s", id="seconds_below_one"),
        pytest.param(words.format_seconds(12.34), "12.3 s", id="seconds"),
        pytest.param(words.format_seconds(99.99), "1 min 40 s", id="seconds_round_to_minutes"),
        pytest.param(words.format_seconds(192), "3 min 12 s", id="minutes"),
        pytest.param(words.format_seconds(7_500), "2 h 05 min", id="hours"),
        pytest.param(words.format_seconds(-1), "–", id="seconds_negative"),
        pytest.param(words.format_seconds(math.inf), "–", id="seconds_infinite"),
        pytest.param(words.get_step_title("step3"), "Step 3: LoRA", id="step_known"),
        pytest.param(words.get_step_title("step4"), "Step 4", id="step_unknown"),
        pytest.param(words.get_step_title("bonus_task"), "Bonus task", id="step_named"),
        pytest.param(words.format_agreement(None), "not compared", id="nothing_to_compare"),
    ],
)
def test_formats(shown: str, expected: str) -> None:
    assert shown == expected


def test_every_member_has_words() -> None:
    tables = {Verdict: words.VERDICTS, Method: words.METHODS, Profile: words.PROFILES, RunStatus: words.RUNS}
    for members, mapping in (*tables.items(), (Verdict, words.MEANINGS)):
        assert set(mapping) == set(members)
        assert all(mapping.values())


SYNTHETIC = {"reviews": Source.SYNTHETIC.value}
UNGRADED = Score(points=None, possible=100, status=ScoreStatus.UNGRADED)
STOPPED = {"sandbox": "none", "run": results.run(RunStatus.TIMEOUT)}
NOTICES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing to say": ({}, []),
    "no sandbox": ({"sandbox": "none"}, ["run without a sandbox"]),
    "synthetic data": ({"environment": SYNTHETIC}, ["synthetic"]),
    "a name with the word": ({"environment": {"reviews": "not synthetic reviews"}}, []),
    "synthetic, nothing measured": ({"environment": SYNTHETIC, "methods": {}}, []),
    "ungraded": ({"score": UNGRADED}, ["ungraded"]),
    "most serious first": (STOPPED, ["run without a sandbox", "time limit"]),
}


@pytest.mark.parametrize(("changes", "expected"), NOTICES.values(), ids=NOTICES)
def test_notices(changes: dict[str, Any], expected: list[str]) -> None:
    shown = words.list_notices(full_marks().model_copy(update=changes))
    assert len(shown) == len(expected)
    assert all(part in text for part, text in zip(expected, shown, strict=True))


def _check(id_: str, verdict: Verdict = Verdict.PASSED, points: float | None = 1.0) -> CheckResult:
    return results.check(id_, verdict, 2.0, points=points)


@pytest.mark.parametrize(
    ("reviews", "said"),
    [
        pytest.param({}, "", id="nothing measured"),
        pytest.param(
            {Method.FULL: 128, Method.HEAD: 1_500, Method.LORA: 256},
            "on 128 to 1,500 held-out reviews: more where",
            id="several",
        ),
        pytest.param({Method.FULL: 256, Method.HEAD: 256}, "on 256 held-out reviews.", id="the same"),
        pytest.param({Method.FULL: None}, "on held-out reviews.", id="a result that does not tell"),
    ],
)
def test_on_how_many_reviews_accuracy_was_measured(reviews: dict[Method, int | None], said: str) -> None:
    told = words.describe_accuracy({m: MethodSummary(accuracy=0.8, reviews=number) for m, number in reviews.items()})
    assert said in told
    assert bool(told) == bool(said)


def test_steps_come_in_order_of_appearance_and_keep_the_order_of_checks() -> None:
    steps = group_by_step([_check("run.b"), _check("step9.x"), _check("run.a"), _check("alone")])
    found = [(step.key, [check.id for check in step.checks]) for step in steps]
    assert found == [("run", ["run.b", "run.a"]), ("step9", ["step9.x"]), ("alone", ["alone"])]
    assert group_by_step([]) == ()


def test_points_of_unjudged_checks_are_not_possible() -> None:
    unjudged = _check("s.b", Verdict.ERROR, None), _check("s.c", Verdict.NOT_JUDGED, None)
    (step,) = group_by_step([_check("s.a"), *unjudged])
    assert (step.points, step.possible) == (1.0, 2.0)


def test_problems_put_first_what_the_student_can_change() -> None:
    order = (Verdict.NOT_JUDGED, Verdict.BLOCKED, Verdict.PASSED, Verdict.FAILED)
    (step,) = group_by_step([_check(f"s.{verdict}", verdict) for verdict in order])
    assert [kind for kind, _ in step.problems] == [Verdict.FAILED, Verdict.BLOCKED, Verdict.NOT_JUDGED]
    assert [check.verdict for check in step.passed] == [Verdict.PASSED]
    assert count_verdicts(step.checks) == dict.fromkeys(order, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain text, 95 %", "plain text, 95 %", id="plain"),
        pytest.param("å ß 你好 🙂", "å ß 你好 🙂", id="letters_of_all_scripts"),
        pytest.param("a\n\tb", "a\n\tb", id="lines_and_tabs_stay"),
        pytest.param("a\r\nb\rc", "a\nb\nc", id="carriage_return_hides_nothing"),
        pytest.param("\x1b[0;31mred\x1b[0m", "red", id="colour_removed"),
        pytest.param("\x1b[2J\x1b[H", "␛[2J␛[H", id="clear_screen"),
        pytest.param("\x1b]0;title\x07", "␛]0;title␇", id="window_title"),
        pytest.param("\x9b31m", "⟨U+009B⟩31m", id="eight_bit_escape"),
        pytest.param("a\x00b\x7f", "a␀b⟨U+007F⟩", id="nul_and_delete"),
        pytest.param("\u202egnp.exe", "⟨U+202E⟩gnp.exe", id="right_to_left_override"),
        pytest.param("\u2066\u200b\ufeff", "⟨U+2066⟩⟨U+200B⟩⟨U+FEFF⟩", id="isolates_and_zero_width"),
        pytest.param("a\u2028b", "a⟨U+2028⟩b", id="line_separator"),
        pytest.param("\ud800x", "⟨U+D800⟩x", id="lone_surrogate"),
        pytest.param("e" + "\u0301" * 2, "e" + "\u0301" * 2, id="accents_stay"),
        pytest.param("e" + "\u0301" * 99 + "x", "e" + "\u0301" * 4 + "⟨95 more marks⟩x", id="piled_accents"),
        pytest.param("\U000e0041", "⟨U+E0041⟩", id="tag_character"),
    ],
)
def test_characters(text: str, expected: str) -> None:
    assert sanitise_text(text) == expected


@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_whatever_comes_in_only_visible_characters_come_out(text: str) -> None:
    shown = sanitise_text(text)
    shown.encode("utf-8")
    assert not [c for c in shown if c not in "\n\t" and unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]


def test_a_long_text_keeps_both_ends_and_says_what_is_missing() -> None:
    shown = sanitise_text("first" + "x" * 5_000_000 + "last", limit=100)
    assert shown.startswith("first")
    assert shown.endswith("last")
    assert "[4,999,909 characters left out]" in shown


def test_a_line_is_one_line() -> None:
    assert sanitise_line("  a\n\n\tb  ") == "a b"
    assert len(sanitise_line("word " * 10_000)) < LINE_LIMIT + 50  # the remark about the cut
