"""Text from a notebook cannot steer a terminal, reverse a line or stop an encoder."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.reporting.sanitisation import LINE_LIMIT, sanitise_line, sanitise_text


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
