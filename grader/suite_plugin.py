"""What `tests/conftest.py` gives to the suite: the fixture `case`, prerequisites, and `--submission` for students.

Used the same way by the grader, which brings a case along, and by plain `pytest tests/public --submission x.ipynb`,
which has the notebook executed first.
"""

from pathlib import Path
from typing import Any

import pytest

from grader.case import Case
from grader.judging import CASE
from grader.suite import Advice, Blocked, NotJudged, Outcome

PASSED = pytest.StashKey[set[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of the suite."""
    parser.addoption("--submission", metavar="NOTEBOOK", help="the notebook to run the public tests on")


def pytest_configure(config: pytest.Config) -> None:
    """Register the suite's marker."""
    config.addinivalue_line("markers", "check(id, title, requires): one named check of a submission")
    config.stash[PASSED] = set()


@pytest.fixture(scope="session")
def case(request: pytest.FixtureRequest) -> Case:
    """The submission under judgement."""
    brought = request.config.stash.get(CASE, None)
    if brought is not None:
        return brought
    submission = request.config.getoption("--submission")
    if not submission:
        pytest.exit("Say which notebook to check: pytest tests/public --submission my.ipynb", returncode=2)
    return executed(Path(submission))


def executed(notebook: Path) -> Case:
    """A case made by running the notebook in profile `structure`; a refusal ends the session with its sentence."""
    from grader.errors import GraderError, SubmissionError
    from grader.grading import structure_case

    try:
        return structure_case(notebook)
    except SubmissionError as error:
        pytest.exit(str(error), returncode=1)
    except GraderError as error:
        pytest.exit(str(error), returncode=2)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Block a check whose prerequisites did not pass."""
    mark = item.get_closest_marker("check")
    missing = [r for r in mark.kwargs["requires"] if r not in item.config.stash[PASSED]] if mark else []
    if missing:
        raise Blocked(f"Waits for {', '.join(missing)}, which did not pass.", "Mend that first; this check then runs.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Remember what passed, and show the rest in pytest's own words."""
    report = yield
    mark = item.get_closest_marker("check")
    if mark is None or (call.when != "call" and call.excinfo is None):
        return report
    raised = call.excinfo.value if call.excinfo else None
    if raised is None or isinstance(raised, Advice):
        item.config.stash[PASSED].add(mark.kwargs["id"])
        report.outcome, report.longrepr = "passed", None
    elif isinstance(raised, (Blocked, NotJudged)):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {raised.rationale}")
    elif isinstance(raised, Outcome):
        report.longrepr = f"{mark.kwargs['id']}: {raised.rationale}\n  hint: {raised.hint}"
    return report
