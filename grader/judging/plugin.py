"""The suite's fixture `case`, and the blocking of checks whose prerequisites did not pass.

The grader hands in a case. Plain `pytest tests/public --submission x.ipynb` executes the notebook first, in the fixture
`executed_case` of tests/conftest.py.
"""

from typing import Any

import pytest

from grader.judging.case import Case
from grader.judging.runner import CASE, explain_order, locate_cause
from grader.judging.suite import Advice, Blocked, NotJudged, Outcome, join_words

PASSED = pytest.StashKey[set[str]]()
TITLES = pytest.StashKey[dict[str, str]]()  # of the collected checks, by id


def pytest_configure(config: pytest.Config) -> None:
    """Register the suite's marker."""
    config.addinivalue_line("markers", "check(id, title, requires): one named check of a submission")
    config.stash[PASSED] = set()
    config.stash[TITLES] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Remember the titles of all checks: texts name a check by its title."""
    marks = [mark for item in items if (mark := item.get_closest_marker("check"))]
    config.stash[TITLES] |= {mark.kwargs["id"]: mark.kwargs["title"] for mark in marks}


@pytest.fixture(scope="session")
def case(request: pytest.FixtureRequest) -> Case:
    """Return the submission that is judged."""
    given = request.config.stash.get(CASE, None)
    found: Case = request.getfixturevalue("executed_case") if given is None else given
    return found


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Block a check whose prerequisites did not pass."""
    mark = item.get_closest_marker("check")
    missing = [r for r in mark.kwargs["requires"] if r not in item.config.stash[PASSED]] if mark else []
    if missing:
        titles = item.config.stash[TITLES]
        names = join_words([f"“{titles.get(name, name)}”" for name in missing])
        raise Blocked(f"Waits for {names}, which did not pass.", "Fix that first; this check then runs.")


def _tell_failure(mark: pytest.Mark, raised: Outcome, judged: Case | None) -> str:
    """Return the lines about a failed check: why, where, and what to try."""
    place = locate_cause(judged, raised, mark.kwargs["about"]) if judged is not None else None
    order = explain_order(judged, mark.kwargs["training"]) if judged is not None else ""
    where = [f"Cell {place.cell + 1}, line {place.line}: {place.source}"] if place else []
    return "\n  ".join([f"{mark.kwargs['title']}: {raised.rationale}{order}", *where, f"Hint: {raised.hint}"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Remember the checks that passed, and report the others in pytest's own words."""
    report = yield
    mark = item.get_closest_marker("check")
    if mark is None or (call.when != "call" and call.excinfo is None):
        return report
    match call.excinfo.value if call.excinfo else None:
        case None | Advice():
            item.config.stash[PASSED].add(mark.kwargs["id"])
            report.outcome, report.longrepr = "passed", None
        case Blocked() | NotJudged() as raised:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {raised.rationale}")
        case Outcome() as raised:
            report.longrepr = _tell_failure(mark, raised, getattr(item, "funcargs", {}).get("case"))
    return report
