"""Runs the suite over a case, through pytest, and turns what happens into check results.

The suite is trusted code and judges evidence only, so it runs in this process. pytest gives what a home-made runner
would lack: fixtures, selection, and plain `pytest tests/public --submission x.ipynb` for students, with the same files.
"""

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from grader.case import Case
from grader.errors import GraderError
from grader.evidence import ProtocolViolation
from grader.model import CheckResult, Verdict, Visibility
from grader.suite import Advice, Blocked, Failed, NotJudged, Outcome

CASE = pytest.StashKey[Case]()
OURS = "This check could not be run; that is the grader's fault and costs nothing. Staff have been told."

MALFORMED = "The notebook's process sent answers that are malformed or too large, so there is nothing to judge."


@dataclass(frozen=True)
class Judgement:
    """What a check's function said. Points are the rubric's business."""

    id: str
    title: str
    description: str
    visibility: Visibility
    verdict: Verdict
    rationale: str = ""
    hint: str = ""
    fault: str = ""  # for staff, when the verdict is `error`

    def result(self, possible: float) -> CheckResult:
        """With the points that it is worth."""
        points = {Verdict.PASSED: possible, Verdict.FAILED: 0.0, Verdict.BLOCKED: 0.0}.get(self.verdict)
        return CheckResult(
            id=self.id,
            title=self.title,
            verdict=self.verdict,
            points=points,
            possible=possible,
            visibility=self.visibility,
            rationale=self.rationale,
            hint=self.hint,
        )


@dataclass(eq=False)  # pytest keeps plugins in sets
class Judge:
    """The pytest plugin: hands out the case, blocks checks whose prerequisites did not pass, collects verdicts."""

    case: Case
    only: str | None = None  # checks of this step alone
    judgements: dict[str, Judgement] = field(default_factory=dict)
    collection_errors: list[str] = field(default_factory=list)

    def pytest_configure(self, config: pytest.Config) -> None:
        """Make the case available to the suite's own plugin."""
        config.stash[CASE] = self.case

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep checks only, those of one step if asked for."""
        items[:] = [i for i in items if (m := i.get_closest_marker("check")) and _selected(m.kwargs["id"], self.only)]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A suite that cannot be loaded is a fault of ours."""
        if report.failed:
            self.collection_errors.append(str(report.longrepr)[-2000:])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        """Note how a check ended."""
        report = yield
        if call.when == "call" or (call.when == "setup" and call.excinfo):
            judgement = judge(item, call.excinfo.value if call.excinfo else None)
            self.judgements[judgement.id] = judgement
        return report


def _selected(check_id: str, step: str | None) -> bool:
    return step is None or check_id == step or check_id.split(".")[0] == step


def judge(item: pytest.Item, raised: BaseException | None) -> Judgement:
    """The judgement that an outcome stands for."""
    mark = item.get_closest_marker("check")
    assert mark is not None
    hidden = "hidden" in Path(str(item.path)).parts
    return Judgement(
        id=mark.kwargs["id"],
        title=mark.kwargs["title"],
        description=(getattr(item, "obj", None).__doc__ or "").strip(),
        visibility=Visibility.HIDDEN if hidden else Visibility.PUBLIC,
        verdict=_verdict(raised),
        **_words(raised),
    )


def _words(raised: BaseException | None) -> dict[str, str]:
    match raised:
        case None:
            return {}
        case Outcome():
            return {"rationale": raised.rationale, "hint": raised.hint}
        case ProtocolViolation():
            return {"rationale": MALFORMED, "fault": str(raised)}
    return {"rationale": OURS, "fault": f"{type(raised).__name__}: {raised}"}


def _verdict(raised: BaseException | None) -> Verdict:
    match raised:
        case None | Advice():
            return Verdict.PASSED
        case Failed() | ProtocolViolation():
            return Verdict.FAILED
        case Blocked():
            return Verdict.BLOCKED
        case NotJudged():
            return Verdict.NOT_JUDGED
    return Verdict.ERROR


def run_suite(case: Case, folders: Sequence[Path], only: str | None = None) -> tuple[Judgement, ...]:
    """All judgements, in the suite's order. Raises GraderError when the suite itself cannot be run."""
    plugin = Judge(case, only)
    arguments = [
        *map(str, folders),
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "--import-mode=importlib",
        "-W",
        "ignore",
    ]
    transcript = io.StringIO()
    with contextlib.redirect_stdout(transcript), contextlib.redirect_stderr(transcript):
        code = pytest.main([*arguments, "-o", "addopts="], plugins=[plugin])
    if plugin.collection_errors or code in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        raise GraderError(f"The suite cannot be run: {(plugin.collection_errors or [transcript.getvalue()[-800:]])[0]}")
    return tuple(plugin.judgements.values())


def results(judgements: Iterable[Judgement], points: Mapping[str, float]) -> tuple[CheckResult, ...]:
    """Judgements with the rubric's points. Raises GraderError for a check that the rubric does not know."""
    found = tuple(judgements)
    unknown = [j.id for j in found if j.id not in points]
    if unknown:
        raise GraderError(f"data/rubric.toml gives no points for {', '.join(unknown)}; add them.")
    return tuple(j.result(points[j.id]) for j in found)
