"""The end of every run: what was skipped, and what it needs."""

from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the skipped tests by reason; where they stand is of no use to whoever wants them to run."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    terminalreporter.section(f"{len(skipped)} tests skipped, none of them failed: what they need is not here")
    for reason, number in reasons.most_common():
        terminalreporter.write_line(f"{number:4} × {reason}")
