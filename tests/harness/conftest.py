"""Which tests `make test` leaves to `make test-all`, and the end of every run: what was skipped, and what it needs."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

import pytest

# Beginnings of test ids below tests/harness, with what takes long. `make test` answers in five minutes.
SLOW: Final[Mapping[str, str]] = {
    "authoring/test_template.py::TestUntouchedTemplate": "executes the template",
    "batch/test_executor.py": "real Dask workers",
    "batch/test_messy_class.py": "a whole class, graded and sent",
    "batch/test_slurm_cluster.py": "real gradings in jobs of a real Slurm",
    "batch/test_stopped.py": "a batch that is stopped, and one that is killed ten times",
    "execution/test_backends.py": "a real grading in each sandbox",
    "execution/test_broker.py::test_nothing_outlives": "a real kernel in each sandbox",
    "execution/test_broker.py::test_a_controller_waits": "a real kernel in each sandbox",
    "execution/test_cut_short.py": "real gradings that are stopped",
    "execution/test_driver.py::test_a_cell_beyond_a_limit": "waits for limits",
    "execution/test_driver.py::test_a_flood_of_output": "60 MiB each",
    "execution/test_driver.py::test_a_kernel_that_dies": "a real kernel each",
    "execution/test_driver.py::test_a_preparation_that_fails": "waits for a limit",
    "execution/test_driver.py::test_messages_that_no_kernel_sends": "a real kernel each",
    "execution/test_driver.py::test_nothing_in_the_executed": "a real kernel",
    "execution/test_driver.py::test_trees_are_not_kept": "a real kernel each",
    "execution/test_precision.py": "real trainings in several precisions",
    "execution/test_secrets.py": "searches the memory of real kernels",
    "kernel/test_cells.py::test_no_cell_fails": "a process with all stubs",
    "kernel/test_loops.py": "real training loops",
    "kernel/test_processes.py": "a new interpreter each",
    "proof/generated/test_proof.py": "generated programs and mistakes",
    "proof/security/test_witness.py::test_the_reference": "five gradings",
    "proof/security/test_hostile.py::test_every_notebook": "all hostile notebooks",
    "proof/validity/test_habits.py": "whole notebooks",
    "proof/validity/test_repetition.py": "probes with many seeds, layers in several precisions",
    "proof/validity/test_training.py": "binomial bounds over whole tables",
    "proof/validity/test_verdicts.py": "all mutants and variants",
    "reporting/test_browser.py": "a real browser",
    "reporting/test_dashboard_browser.py": "a real browser",
    "review/test_browser.py": "a real browser",
    "sandbox/test_hostile_processes.py": "attacks in each sandbox",
    "sandbox/test_kernels.py": "a real kernel in each sandbox",
    "sandbox/test_ordinary_user.py": "real gradings as another user",
    "test_canary.py::test_real": "real gradings of the trial notebook",
}


@pytest.fixture(autouse=True)
def forget_threads_left_to_children() -> Iterator[None]:
    """Forget what a command reserved: this process has computed with several threads, so children must not."""
    yield
    if apart := sys.modules.get("grader.judging.apart"):
        apart._reserved.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes long: by the table above, and whatever trains."""
    for item in items:
        name = item.nodeid.removeprefix("tests/harness/")
        if name.startswith(tuple(SLOW)) or item.get_closest_marker("training"):
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the skipped tests by reason; where they stand is of no use to whoever wants them to run."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    terminalreporter.section(f"{len(skipped)} tests skipped, none of them failed: what they need is not here")
    for reason, number in reasons.most_common():
        terminalreporter.write_line(f"{number:4} × {reason}")
