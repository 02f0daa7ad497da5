"""The suite's plugin: outcomes become verdicts, prerequisites block, and a broken suite is the grader's fault."""

import textwrap
from pathlib import Path
from typing import Any

import pytest

from grader import paths, pipeline
from grader.errors import GraderError
from grader.judging import scoring
from grader.judging.runner import GRADER_FAULT, MALFORMED, Judgement, list_checks, run_suite
from grader.model import Verdict, Visibility

CONFTEST = "from grader.judging.plugin import *\n"
HEADER = """
from grader.evidence.untrusted import ProtocolViolation
from grader.judging.suite import Advice, Blocked, NotJudged, check, expect, fail
"""
CASE: Any = {"answer": 42}  # the plugin hands it out as it is


def suite(folder: Path, **files: str) -> list[Path]:
    """A suite of files such as `public_a="..."`."""
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    folders = []
    for name, body in files.items():
        place, _, stem = name.partition("_")
        (folder / place).mkdir(exist_ok=True)
        unique = f"{stem}_{abs(hash(folder))}"  # pytest keeps imported modules by name
        (folder / place / f"test_{unique}.py").write_text(HEADER + textwrap.dedent(body), encoding="utf-8")
        folders.append(folder / place)
    return sorted(set(folders), reverse=True)  # public before hidden


def judged(folder: Path, only: str | None = None, **files: str) -> dict[str, Judgement]:
    return {j.id: j for j in run_suite(CASE, suite(folder, **files), only)}


def one(body: str, requires: str = "()") -> str:
    return f"@check('a.b', 'Title', requires={requires})\ndef test_b(case):\n    '''What it asks.'''\n    {body}\n"


OUTCOMES = [
    pytest.param("pass", Verdict.PASSED, "", "", id="returns"),
    pytest.param("assert case['answer'] == 42", Verdict.PASSED, "", "", id="the case is handed out"),
    pytest.param("raise Advice('so', 'hint')", Verdict.PASSED, "so", "hint", id="advice"),
    pytest.param("fail('why', 'hint')", Verdict.FAILED, "why", "hint", id="fails"),
    pytest.param("expect(False, 'why', 'hint')", Verdict.FAILED, "why", "hint", id="expectation"),
    pytest.param("expect(True, 'why', 'hint')", Verdict.PASSED, "", "", id="expectation that holds"),
    pytest.param("raise Blocked('first', 'hint')", Verdict.BLOCKED, "first", "hint", id="blocked"),
    pytest.param("raise NotJudged('not here')", Verdict.NOT_JUDGED, "not here", "", id="not judged"),
    pytest.param("raise ProtocolViolation('x')", Verdict.FAILED, MALFORMED, "", id="malformed evidence"),
    pytest.param("raise KeyError('secret')", Verdict.ERROR, GRADER_FAULT, "", id="a bug, described to staff only"),
    pytest.param("assert False", Verdict.ERROR, GRADER_FAULT, "", id="a bare assertion"),
    pytest.param("import pytest; pytest.skip()", Verdict.ERROR, GRADER_FAULT, "", id="a skip"),
    pytest.param("raise SystemExit(0)", Verdict.ERROR, GRADER_FAULT, "", id="an exit"),
]


@pytest.mark.parametrize(("body", "verdict", "rationale", "hint"), OUTCOMES)
def test_outcomes(body: str, verdict: Verdict, rationale: str, hint: str, tmp_path: Path) -> None:
    found = judged(tmp_path, public_a=one(body))["a.b"]
    assert (found.verdict, found.rationale, found.hint) == (verdict, rationale, hint)
    assert (found.title, found.visibility) == ("Title", Visibility.PUBLIC)
    assert ("KeyError" in found.fault, "secret" in found.result(5).model_dump_json()) == ("KeyError" in body, False)


CHAIN = """
@check('a.first', 'First')
def test_first(case):
    {}

@check('a.second', 'Second', requires=('a.first',))
def test_second(case):
    pass

@check('a.third', 'Third', requires=('a.second',))
def test_third(case):
    pass
"""


@pytest.mark.parametrize(
    ("body", "verdicts"),
    [
        pytest.param("pass", [Verdict.PASSED] * 3, id="passed"),
        pytest.param("raise Advice('x')", [Verdict.PASSED] * 3, id="passed with advice"),
        pytest.param("fail('x')", [Verdict.FAILED, Verdict.BLOCKED, Verdict.BLOCKED], id="failed"),
        pytest.param("raise NotJudged('x')", [Verdict.NOT_JUDGED, Verdict.BLOCKED, Verdict.BLOCKED], id="not judged"),
        pytest.param("raise Blocked('x')", [Verdict.BLOCKED, Verdict.BLOCKED, Verdict.BLOCKED], id="blocked"),
    ],
)
def test_prerequisites(body: str, verdicts: list[Verdict], tmp_path: Path) -> None:
    found = judged(tmp_path, public_a=CHAIN.format(body))
    assert [found[f"a.{name}"].verdict for name in ("first", "second", "third")] == verdicts
    if verdicts[1] is Verdict.BLOCKED:
        assert found["a.second"].rationale == "Waits for “First”, which did not pass."


def test_a_hidden_check_may_wait_for_a_public_one(tmp_path: Path) -> None:
    hidden = "@check('b.c', 'C', requires=('a.b',))\ndef test_c(case):\n    pass\n"
    found = judged(tmp_path, public_a=one("pass"), hidden_a=hidden)["b.c"]
    assert (found.verdict, found.visibility) == (Verdict.PASSED, Visibility.HIDDEN)


STEPS = {"a": {"a.first", "a.second", "a.third"}, "a.first": {"a.first"}, "b": {"b.x"}}


@pytest.mark.parametrize(("only", "found"), STEPS.items(), ids=["a step", "a check", "another step"])
def test_one_step(only: str, found: set[str], tmp_path: Path) -> None:
    other = "@check('b.x', 'X')\ndef test_x(case):\n    pass\n"
    assert set(judged(tmp_path, only, public_a=CHAIN.format("pass"), public_b=other)) == found
    with pytest.raises(GraderError, match="'step9'"):
        judged(tmp_path, "step9", public_a=one("pass"))


BROKEN = [
    pytest.param("import a_module_that_is_not_there", "a_module_that_is_not_there", id="import error"),
    pytest.param("def test_(:", "SyntaxError|invalid syntax", id="syntax error"),
    pytest.param("x = 1", "no checks", id="no checks"),
    pytest.param("def test_unmarked(case): pass", "no checks", id="no check among the tests"),
    pytest.param(one("pass") + one("pass").replace("_b", "_c"), "two checks have the id a.b", id="one id twice"),
]


@pytest.mark.parametrize(("body", "why"), BROKEN)
def test_a_broken_suite_is_the_graders_fault(body: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(GraderError, match=why) as raised:
        judged(tmp_path, public_a=body)
    assert "\n" not in str(raised.value)


def test_a_suite_that_is_stopped_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        judged(tmp_path, public_a=one("raise KeyboardInterrupt"))


@pytest.mark.parametrize("options", ["-x", "-k nothing", "--collect-only", "--unknown-option"])
def test_options_of_a_user_change_no_verdict(options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", options)
    assert len(judged(tmp_path, public_a=CHAIN.format("fail('x')"))) == 3


def test_a_folder_with_brackets_in_its_name_is_no_parameter(tmp_path: Path) -> None:
    """As of a course: `[DAT450] lab 4`."""
    folder = tmp_path / "[DAT450] lab 4"
    folder.mkdir()
    assert [*judged(folder, public_a=one("pass"))] == ["a.b"]


def test_checks_are_listed_without_running_them(tmp_path: Path) -> None:
    folders = suite(tmp_path, public_a=CHAIN.format("raise SystemExit(1)"))
    assert list_checks(folders) == ("a.first", "a.second", "a.third")


class Collected:
    """Notes the checks of the suite and runs none of them."""

    def __init__(self) -> None:
        self.checks: dict[str, pytest.Item] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.checks = {mark.kwargs["id"]: item for item in items if (mark := item.get_closest_marker("check"))}


@pytest.fixture(scope="module")
def real_suite() -> dict[str, pytest.Item]:
    """All checks by id, in the order in which they run."""
    collected = Collected()
    folders = [str(folder) for folder in pipeline.list_suite_folders()]
    options = ["--collect-only", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-o", "addopts="]
    assert pytest.main([*folders, *options], plugins=[collected]) == pytest.ExitCode.OK
    return collected.checks


def test_the_rubric_names_exactly_the_checks_of_the_suite(real_suite: dict[str, pytest.Item]) -> None:
    rubric = scoring.load_rubric(paths.RUBRIC)
    scoring.require_agreement(real_suite, rubric, complete=True)
    assert min(rubric.values()) > 0


def test_prerequisites_come_first_and_in_the_same_step(real_suite: dict[str, pytest.Item]) -> None:
    order = list(real_suite)
    for id, item in real_suite.items():
        for needed in item.get_closest_marker("check").kwargs["requires"]:
            assert order.index(needed) < order.index(id)
            assert needed.split(".")[0] == id.split(".")[0]  # `--step` leaves other steps out


def test_every_check_tells_students_what_it_asks(real_suite: dict[str, pytest.Item]) -> None:
    assert not [id for id, item in real_suite.items() if len((item.obj.__doc__ or "").strip()) < 40]
