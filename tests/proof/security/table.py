"""The outcome of the hostile notebooks, for people."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tests.proof.security.case_run import HostileResult


def format_line(trial: HostileResult) -> str:
    """One case in one line, and what is not as expected below it."""
    wrong = "".join(f"\n    UNEXPECTED {what}" for what in trial.unexpected)
    return f"{trial.backend:10}  {trial.id:45}  {trial.outcome:18}  {trial.seconds:5.1f} s{wrong}"


def build_table(trials: Sequence[HostileResult]) -> RenderableType:
    """Case × backend, then what is not as expected, then totals."""
    columns = ("row", "case", "backend", "outcome", "leaks", "points", "left", "MiB", "s")
    rows = Table(*columns, box=None, pad_edge=False)
    for trial in sorted(trials, key=lambda trial: (trial.row, trial.id)):
        figures = (trial.leaks, f"{trial.points:g}", trial.leftovers, f"{trial.growth_mib:.0f}", f"{trial.seconds:.1f}")
        style = "bold red" if trial.unexpected else ""
        rows.add_row(str(trial.row), trial.id, trial.backend, trial.outcome, *map(str, figures), style=style)
    texts = (f"UNEXPECTED {t.id} ({t.backend}): {'; '.join(t.unexpected)}" for t in trials if t.unexpected)
    return Group(rows, *(Text(text, style="bold red") for text in texts), format_totals(trials))


def format_totals(trials: Sequence[HostileResult]) -> Text:
    """One paragraph."""
    good = sum(not trial.unexpected for trial in trials)
    backends = sorted({trial.backend for trial in trials})
    return Text(
        f"{good} of {len(trials)} as expected on {', '.join(backends)}: "
        f"{sum(trial.leaks for trial in trials)} leaks, {sum(trial.points for trial in trials):g} undeserved points, "
        f"{sum(trial.leftovers for trial in trials)} leftovers; the grader's own processes grew by at most "
        f"{max((trial.growth_mib for trial in trials), default=0):.0f} MiB."
    )
