"""The suite's plugin, for tests/public and tests/hidden."""

from grader.suite_plugin import (  # noqa: F401 - pytest finds hooks and fixtures here by name
    case,
    pytest_addoption,
    pytest_configure,
    pytest_runtest_makereport,
    pytest_runtest_setup,
)
