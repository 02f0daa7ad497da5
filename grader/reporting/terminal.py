"""The views of the terminal: the result of one submission and the findings of the doctor. Live progress: progress.py.

Readable on 80 columns and without colour; every verdict is a word as well as a symbol. Text that comes from a notebook
is never parsed as markup and passes through `sanitise_text` first.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from grader.model import CheckResult, Claim, Method, MethodSummary, Place, Result, Verdict
from grader.reporting import words
from grader.reporting.outline import Step, count_verdicts, group_by_step, list_measurements, select_measured
from grader.reporting.sanitisation import sanitise_line, sanitise_text

if TYPE_CHECKING:
    from grader.machine.inventory import Finding

WIDTH_MAX: Final = 100
RATIONALE_LIMIT: Final = 2_000

# Verdicts and what the doctor says: a symbol, another one for terminals that know only ASCII, and a style.
_LOOKS: Final = {
    "passed": ("✓", "+", "green"),
    "failed": ("✗", "x", "bold red"),
    "blocked": ("⊘", "o", "yellow"),
    "error": ("!", "!", "bold magenta"),
    "not judged": ("-", "-", "dim"),
    "ok": ("✓", "+", "green"),
    "warning": ("!", "!", "yellow"),
    "missing": ("✗", "x", "bold red"),
}


def make_console(stream: TextIO | None = None) -> Console:
    """Return a console that cannot fail on a character which the stream is unable to encode (old Windows pipes)."""
    target = stream or sys.stdout
    reconfigure = getattr(target, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return Console(file=stream, highlight=False, markup=False, emoji=False)


def render_result(result: Result, reports: Iterable[Path] = ()) -> RenderableType:
    """Return the result of one submission, for a console; `reports` are the files to point to at the end."""
    return Constrain(Group(*_list_parts(result, reports)), WIDTH_MAX)


def render_findings(findings: "Iterable[Finding]") -> RenderableType:
    """Return what the doctor found, one row each, with the hint under what is not ok."""
    table = _make_grid()
    for finding in findings:
        hint = "" if finding.status == "ok" else finding.hint
        body = _explain(Text(sanitise_line(finding.what), style="bold"), finding.detail, hint)
        table.add_row(_Mark(finding.status.value), body, "")
    return table


@dataclass(frozen=True)
class _Mark:
    """A verdict or a state, as a symbol and a word."""

    word: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        symbol, ascii_symbol, style = _LOOKS[self.word]
        yield Text(f"{ascii_symbol if options.ascii_only else symbol} {self.word}", style=style)


def _list_parts(result: Result, reports: Iterable[Path]) -> Iterator[RenderableType]:
    yield Text(sanitise_line(result.submission.name), style="bold")
    yield Text(_describe_run(result), style="dim")
    for notice in words.list_notices(result):
        yield Text(f"! {notice}", style="bold yellow")
    for cell in result.run.failed_cells:
        yield Text(f"  Cell {cell.index + 1}: {sanitise_line(cell.error)}: {sanitise_line(cell.message)}")
    yield from map(_render_step, group_by_step(result.checks))
    if methods := select_measured(result.methods):
        yield _render_methods(methods)
    if result.claims:
        yield _render_claims(result.claims)
    yield from _sum_up(result)
    for path in reports:
        yield Text(f"  {sanitise_line(str(path), 1_000)}", overflow="fold")


def _describe_run(result: Result) -> str:
    calibration, sandbox = sanitise_line(result.calibration or "none"), sanitise_line(result.sandbox)
    facts = f"profile {result.profile.value}, seed {result.seed}, calibration {calibration}, sandbox {sandbox}"
    return f"{facts}, {words.format_seconds(result.run.wall_s)}"


def _render_step(step: Step) -> RenderableType:
    heading = Table.grid(padding=(0, 1), expand=True)
    heading.add_column(ratio=1)
    heading.add_column(justify="right", no_wrap=True)
    heading.add_row(Text(sanitise_line(step.title), style="bold"), Text(_format_share(step), style="bold"))
    table = _make_grid()
    for check in step.checks:
        hint = check.hint if check.verdict is not Verdict.PASSED or check.rationale else ""
        place = _name_place(check.place) if check.place else ""
        body = _explain(Text(sanitise_line(check.title)), check.rationale, hint, place)
        table.add_row(_Mark(words.VERDICTS[check.verdict]), body, Text(_format_share(check)))
    return Padding(Group(heading, table), (1, 0, 0, 0))


def _format_share(owner: Step | CheckResult) -> str:
    return f"{words.format_points(owner.points)} / {words.format_points(owner.possible)}"


def _render_methods(methods: Mapping[Method, MethodSummary]) -> RenderableType:
    rows = {method: list_measurements(summary, with_threshold=True) for method, summary in methods.items()}
    table = _make_table("Method", *next(iter(rows.values())))
    for method, row in rows.items():
        table.add_row(words.METHODS[method], *row.values())
    told = words.describe_accuracy(methods)
    body = Group(table, Text(told, style="dim")) if told else table
    return _add_title("The three methods, as measured", body)


def _render_claims(claims: Iterable[Claim]) -> RenderableType:
    table = _make_table("Method", "Figure", "Notebook says", "Measured", "Comparison")
    for claim in claims:
        figures = [words.format_quantity(claim.quantity, value) for value in (claim.claimed, claim.measured)]
        row = (words.METHODS[claim.method], claim.quantity.replace("_", " "), *figures)
        style = "bold red" if claim.agrees is False else ""
        table.add_row(*row, words.format_agreement(claim.agrees), style=style)
    return _add_title("Claimed against measured", table)


def _sum_up(result: Result) -> Iterator[RenderableType]:
    score, counts = result.score, count_verdicts(result.checks)
    total = f"{words.format_points(score.points)} of {words.format_points(score.possible)} points"
    yield Text("")
    yield Text("Ungraded" if score.points is None else total, style="bold")
    if counts:
        yield Text(", ".join(f"{number} {words.VERDICTS[kind]}" for kind, number in counts.items()), style="dim")
    for verdict in (Verdict.BLOCKED, Verdict.ERROR, Verdict.NOT_JUDGED):
        if verdict in counts:
            yield Text(f"{words.VERDICTS[verdict]}: {words.MEANINGS[verdict]}", style="dim")


def _name_place(place: Place) -> str:
    return f"{words.describe_place(place)}: {sanitise_line(place.source)}"


def _explain(title: Text, rationale: str, hint: str, place: str = "") -> RenderableType:
    """Put the rationale, the place and the hint under a title, indented so that they stand apart without colour too."""
    lines = [rationale.strip(), place, hint and f"Hint: {hint.strip()}"]
    below = [Padding(Text(sanitise_text(line, RATIONALE_LIMIT)), (0, 0, 0, 2)) for line in lines if line]
    return Group(title, *below)


def _make_grid() -> Table:
    """Return a table with the columns mark, text and points; the text takes what is left."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=12, no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    return table


def _make_table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    table.add_column(first, no_wrap=True)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _add_title(title: str, table: RenderableType) -> RenderableType:
    return Padding(Group(Text(title, style="bold"), table), (1, 0, 0, 0))
