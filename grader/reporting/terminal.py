"""What the terminal shows: the result of one submission and the findings of the doctor. Live progress: progress.py.

Readable on 80 columns and without colour; every verdict is a word as well as a symbol. Text that comes from a notebook
is never parsed as markup and passes through `inert_text` first.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol, TextIO

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from grader.model import CheckResult, Claim, Method, MethodSummary, Result, Verdict
from grader.reporting import words
from grader.reporting.outline import Step, count_verdicts, group_by_step, select_measured
from grader.reporting.sanitisation import sanitise_line, sanitise_text

WIDTH_MAX: Final = 100
RATIONALE_LIMIT: Final = 2_000

_STYLES: Final = {
    "passed": "green",
    "failed": "bold red",
    "blocked": "yellow",
    "error": "bold magenta",
    "not_judged": "dim",
    "ok": "green",
    "warning": "yellow",
    "missing": "bold red",
}
_SYMBOLS: Final = {
    "passed": "✓",
    "failed": "✗",
    "blocked": "⊘",
    "error": "!",
    "not_judged": "-",
    "ok": "✓",
    "warning": "!",
    "missing": "✗",
}
_ASCII_SYMBOLS: Final = {"✓": "+", "✗": "x", "⊘": "o"}  # for terminals that cannot encode the others


class FindingLike(Protocol):
    """One thing that the doctor looked at. The values of `status` are ok, warning and missing."""

    @property
    def what(self) -> str: ...
    @property
    def status(self) -> StrEnum: ...
    @property
    def detail(self) -> str: ...
    @property
    def hint(self) -> str: ...


def make_console(stream: TextIO | None = None) -> Console:
    """Return a console that cannot fail on a character which the stream is unable to encode (old Windows pipes)."""
    target = stream or sys.stdout
    reconfigure = getattr(target, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return Console(file=stream, highlight=False, markup=False, emoji=False)


def render_result(result: Result, reports: Iterable[Path] = ()) -> RenderableType:
    """Return the result of one submission, for a console; `reports` are the files to point to at the end."""
    return _ResultView(result, tuple(reports))


def render_checks(result: Result) -> RenderableType:
    """Return the checks alone, for a student who looks at them in a notebook."""
    return _ResultView(result, (), checks_only=True)


def render_findings(findings: Iterable[FindingLike]) -> RenderableType:
    """Return what the doctor found, one row each, with the hint under what is not ok."""
    return _FindingsView(tuple(findings))


@dataclass(frozen=True)
class _ResultView:
    result: Result
    reports: tuple[Path, ...]
    checks_only: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        narrow = options.update(max_width=min(options.max_width, WIDTH_MAX))
        ascii_only = options.ascii_only
        if self.checks_only:
            parts = Group(*(_step_table(step, ascii_only=ascii_only) for step in group_by_step(self.result.checks)))
        else:
            parts = Group(*_result_parts(self.result, self.reports, ascii_only=ascii_only))
        yield from console.render(parts, narrow)  # type: ignore[misc]  # segments are renderables to rich


@dataclass(frozen=True)
class _FindingsView:
    findings: tuple[FindingLike, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        table = _grid()
        for finding in self.findings:
            hint = "" if finding.status == "ok" else finding.hint
            body = _explain(Text(sanitise_line(finding.what), style="bold"), finding.detail, hint)
            table.add_row(_mark(finding.status, finding.status, ascii_only=options.ascii_only), body, "")
        yield table


def _result_parts(result: Result, reports: tuple[Path, ...], *, ascii_only: bool) -> Iterator[RenderableType]:
    yield _headline(result)
    for notice in words.list_notices(result):
        yield Text(f"! {notice}", style="bold yellow")
    for cell in result.run.failed_cells:
        yield Text(f"  Cell {cell.index + 1}: {sanitise_line(cell.error)}: {sanitise_line(cell.message)}")
    for step in group_by_step(result.checks):
        yield _step_table(step, ascii_only=ascii_only)
    if methods := select_measured(result.methods):
        yield _methods_table(methods)
    if result.claims:
        yield _claims_table(result.claims)
    yield from _totals(result)
    for path in reports:
        yield Text(f"  {sanitise_line(str(path), 1_000)}", overflow="fold")


def _headline(result: Result) -> RenderableType:
    name = Text(sanitise_line(result.submission.name), style="bold")
    calibration = sanitise_line(result.calibration or "none")
    facts = f"profile {result.profile.value}, seed {result.seed}, calibration {calibration}, sandbox "
    return Group(
        name, Text(f"{facts}{sanitise_line(result.sandbox)}, {words.format_seconds(result.run.wall_s)}", style="dim")
    )


def _step_table(step: Step, *, ascii_only: bool) -> RenderableType:
    heading = Table.grid(padding=(0, 1), expand=True)
    heading.add_column(ratio=1)
    heading.add_column(justify="right", no_wrap=True)
    total = f"{words.format_points(step.points)} / {words.format_points(step.possible)}"
    heading.add_row(Text(sanitise_line(step.title), style="bold"), Text(total, style="bold"))
    table = _grid()
    for check in step.checks:
        points = f"{words.format_points(check.points)} / {words.format_points(check.possible)}"
        mark = _mark(check.verdict, words.VERDICTS[check.verdict], ascii_only=ascii_only)
        table.add_row(mark, _check_body(check), Text(points))
    return Padding(Group(heading, table), (1, 0, 0, 0))


def _check_body(check: CheckResult) -> RenderableType:
    hint = check.hint if check.verdict is not Verdict.PASSED or check.rationale else ""
    return _explain(Text(sanitise_line(check.title)), check.rationale, hint)


def _methods_table(methods: Mapping[Method, MethodSummary]) -> RenderableType:
    table = _make_ruled_table("Method", "Trainable parameters", "Accuracy", "Asked for", "Training time", "Steps")
    for method, row in methods.items():
        table.add_row(
            words.METHODS[method],
            words.format_count(row.trainable_parameters),
            words.format_percent(row.accuracy),
            words.format_percent(row.threshold),
            words.format_seconds(row.train_s),
            words.format_count(row.steps),
        )
    return _add_title("The three methods, as measured", table)


def _claims_table(claims: Iterable[Claim]) -> RenderableType:
    table = _make_ruled_table("Method", "Figure", "Notebook says", "Measured", "Comparison")
    for claim in claims:
        table.add_row(
            words.METHODS[claim.method],
            claim.quantity.replace("_", " "),
            words.format_quantity(claim.quantity, claim.claimed),
            words.format_quantity(claim.quantity, claim.measured),
            words.format_agreement(claim.agrees),
            style="bold red" if claim.agrees is False else "",
        )
    return _add_title("Claimed against measured", table)


def _totals(result: Result) -> Iterator[RenderableType]:
    counts = ", ".join(f"{number} {words.VERDICTS[kind]}" for kind, number in count_verdicts(result.checks).items())
    points = words.format_points(result.score.points)
    total = f"{points} of {words.format_points(result.score.possible)} points"
    yield Text("")
    yield Text("Ungraded" if result.score.points is None else total, style="bold")
    if counts:
        yield Text(counts, style="dim")
    for verdict in (Verdict.BLOCKED, Verdict.ERROR, Verdict.NOT_JUDGED):
        if any(check.verdict is verdict for check in result.checks):
            yield Text(f"{words.VERDICTS[verdict]}: {words.MEANINGS[verdict]}", style="dim")


def _mark(status: str, word: str, *, ascii_only: bool) -> Text:
    symbol = _SYMBOLS.get(status, "?")
    shown = _ASCII_SYMBOLS.get(symbol, symbol) if ascii_only else symbol
    return Text(f"{shown} {word}", style=_STYLES.get(status, ""))


def _explain(title: Text, rationale: str, hint: str) -> RenderableType:
    """Put the rationale and the hint under a title, indented so that they stand apart without colour too."""
    lines = [rationale.strip(), hint and f"Hint: {hint.strip()}"]
    below = [Padding(Text(sanitise_text(line, RATIONALE_LIMIT)), (0, 0, 0, 2)) for line in lines if line]
    return Group(title, *below)


def _grid() -> Table:
    """Return a table with the columns mark, text and points; the text takes what is left."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=12, no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    return table


def _make_ruled_table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1))
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _add_title(title: str, table: Table) -> RenderableType:
    return Padding(Group(Text(title, style="bold"), table), (1, 0, 0, 0))
