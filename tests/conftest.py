"""The suite's plugin, for tests/public and tests/hidden, and how students run it: `--submission my.ipynb`."""

from pathlib import Path

import pytest

from grader.errors import GraderError, SubmissionError
from grader.judging.case import Case
from grader.judging.plugin import (  # noqa: F401 - pytest finds hooks and fixtures here by name
    case,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_runtest_makereport,
    pytest_runtest_setup,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of the suite."""
    parser.addoption("--submission", metavar="NOTEBOOK", help="the notebook to run the public tests on")


@pytest.fixture(scope="session")
def executed_case(request: pytest.FixtureRequest) -> Case:
    """A case made by running the notebook in profile `structure`; a refusal ends the session with its sentence."""
    from grader.pipeline import make_structure_case

    submission = request.config.getoption("--submission")
    if not submission:
        pytest.exit("Say which notebook to check: pytest tests/public --submission my.ipynb", returncode=2)
    try:
        return make_structure_case(Path(submission))
    except SubmissionError as error:
        pytest.exit(str(error), returncode=1)
    except GraderError as error:
        pytest.exit(str(error), returncode=2)
