"""Which cases and attacks a run may leave out: none but those that the page of this very code vouches for."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from grader.paths import ROOT
from tests.proof import sample
from tests.proof.security.rounds import GROUPS
from tests.proof.validity import corpus_run

CODE = "0123456789abcdef"
CASES = sum(not case.training for case in corpus_run.load()[1]) + len(corpus_run.load_notebooks())
List = Callable[[Path, str], Iterator[str]]
KINDS = pytest.mark.parametrize("listed", [sample.list_judged, sample.list_attacked])


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(f"Measured on 2026-11-30, on code `{CODE}`.\n", encoding="utf-8")
    return path


def test_a_sample_is_judged_again_where_the_page_is_of_this_code(page: Path) -> None:
    left_out = set(sample.list_judged(page, CODE))
    assert CASES * 0.83 < len(left_out) < CASES * 0.97


def test_one_group_of_attacks_runs_again_where_the_page_is_of_this_code(page: Path) -> None:
    assert len(set(sample.list_attacked(page, CODE))) == GROUPS - 1


@KINDS
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("on code `fedcba9876543210`", id="another code"),
        pytest.param("Not measured on this code yet", id="no code"),
        pytest.param("", id="empty"),
    ],
)
def test_everything_is_tried_otherwise(page: Path, text: str, listed: List) -> None:
    page.write_text(text, encoding="utf-8")
    assert list(listed(page, CODE)) == []


def test_another_code_has_another_sample(page: Path) -> None:
    names = [str(number) for number in range(200)]
    drawn = {code: {name for name in names if sample.is_drawn(name, code)} for code in (CODE, CODE[::-1])}
    assert drawn[CODE] != drawn[CODE[::-1]]
    assert set().union(*drawn.values()) < set(names)


@KINDS
def test_left_out_are_tests_that_exist(page: Path, listed: List) -> None:
    for option in listed(page, CODE):
        file, _, test = option.removeprefix("--deselect=").partition("::")
        assert f"def {test.partition('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8")
