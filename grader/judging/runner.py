"""Runs the suite over a case, through pytest, and turns what happens into check results.

The suite is trusted code and judges evidence only, so it runs in this process. pytest gives what a home-made runner
would lack: fixtures, selection, and plain `pytest tests/public --submission x.ipynb` for students, with the same files.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from grader.errors import GraderError
from grader.evidence.reader import ProtocolViolation
from grader.judging.case import Case
from grader.judging.suite import Advice, Blocked, Failed, NotJudged, Outcome
from grader.judging.tampering import HELD
from grader.model import CheckResult, Verdict, Visibility

CASE = pytest.StashKey[Case]()
OURS = "This machine could not run the check, so it costs you nothing. If it happens again, tell the course staff."

OPTIONS = (
    *("-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:logging", "--disable-plugin-autoload"),
    *("-p", "no:unraisableexception"),  # collects garbage ten times per run, half a second where torch is loaded
    *("--import-mode=importlib", "-W", "ignore", "-o", "addopts="),
)
MALFORMED = "Expected well-formed answers from the notebook; they are malformed or too large, so nothing can be judged."


@dataclass(frozen=True)
class Judgement:
    """What a check's function said. Points are the rubric's business."""

    id: str
    title: str
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
    collected: list[str] = field(default_factory=list)
    collection_errors: list[str] = field(default_factory=list)

    def pytest_configure(self, config: pytest.Config) -> None:
        """Make the case available to the suite's own plugin."""
        config.stash[CASE] = self.case

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep checks only; of one step if asked for, with what they wait for."""
        checks = [item for item in items if item.get_closest_marker("check")]
        wanted = _add_prerequisites(checks, self.only)
        items[:] = [item for item in checks if _id(item) in wanted]
        self.collected = [_id(item) for item in items]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A suite that cannot be loaded is a fault of ours."""
        if report.failed:
            self.collection_errors.append(_last_line(str(report.longrepr)))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        """Note how a check ended."""
        report = yield
        if call.when == "call" or (call.when == "setup" and call.excinfo):
            judgement = judge(item, call.excinfo.value if call.excinfo else None)
            self.judgements[judgement.id] = judgement
        return report


def _id(item: pytest.Item) -> str:
    return str(_mark(item).kwargs["id"])


def _mark(item: pytest.Item) -> pytest.Mark:
    mark = item.get_closest_marker("check")
    assert mark is not None
    return mark


def _is_selected(check_id: str, step: str | None) -> bool:
    return step is None or check_id == step or check_id.split(".")[0] == step


def _add_prerequisites(checks: Iterable[pytest.Item], only: str | None) -> set[str]:
    """Ids of the selected checks, and of all that they require, directly or not."""
    requires = {_id(item): _mark(item).kwargs["requires"] for item in checks}
    wanted: set[str] = set()
    waiting = [name for name in requires if _is_selected(name, only)]
    while waiting:
        if (name := waiting.pop()) not in wanted:
            wanted.add(name)
            waiting += requires.get(name, ())
    return wanted


def judge(item: pytest.Item, raised: BaseException | None) -> Judgement:
    """The judgement that an outcome stands for."""
    mark = _mark(item)
    hidden = item.path.parent.name == "hidden"
    return Judgement(
        id=mark.kwargs["id"],
        title=mark.kwargs["title"],
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


def excuse(judgement: Judgement) -> Judgement:
    """The same check after a run that we broke: whatever it says is our fault."""
    if judgement.verdict in (Verdict.PASSED, Verdict.NOT_JUDGED):
        return judgement
    return replace(judgement, verdict=Verdict.ERROR, rationale=OURS, hint="")


def hold(judgement: Judgement) -> Judgement:
    """The same check in a notebook that names the grader's own code: what passed waits for a person."""
    if judgement.verdict is not Verdict.PASSED:
        return judgement
    return replace(judgement, verdict=Verdict.ERROR, rationale=HELD, hint="")


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
    """All judgements, in the suite's order; those of one step or one check if asked for (`only`).

    Raises GraderError when the suite itself cannot be run, or has nothing under that name.
    """
    plugin = Judge(case, only)
    transcript = io.StringIO()
    with _ignore_user_options(), contextlib.redirect_stdout(transcript), contextlib.redirect_stderr(transcript):
        code = pytest.main([*map(str, folders), *OPTIONS, *_build_root_options(folders)], plugins=[plugin])
    if code == pytest.ExitCode.INTERRUPTED and not plugin.collection_errors:
        raise KeyboardInterrupt  # pytest swallows it, and half a suite is not a verdict
    if plugin.collection_errors or code in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        why = (plugin.collection_errors or [_last_line(transcript.getvalue())])[0]
        raise GraderError(f"The suite cannot be run ({why}); restore {' and '.join(map(str, folders))}.")
    _require_complete(plugin, only)
    return tuple(j for j in plugin.judgements.values() if _is_selected(j.id, only))


def _build_root_options(folders: Sequence[Path]) -> list[str]:
    """The suite's own conftest.py lies beside its folders; what lies further up is somebody else's."""
    return [f"--{option}={folders[0].parent}" for option in ("rootdir", "confcutdir")] if folders else []


class _Listing:
    """The pytest plugin that only looks at what there is."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note the checks."""
        self.ids += [_id(item) for item in items if item.get_closest_marker("check")]


def list_checks(folders: Sequence[Path]) -> tuple[str, ...]:
    """Ids of the checks in these folders. Runs none."""
    listing = _Listing()
    with _ignore_user_options(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pytest.main([*map(str, folders), *OPTIONS, *_build_root_options(folders), "--collect-only"], plugins=[listing])
    return tuple(listing.ids)


@contextlib.contextmanager
def _ignore_user_options() -> Iterator[None]:
    """Without what this user has set for pytest: `-x` or `-k` would change verdicts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
            patch.delenv(name, raising=False)
        yield


def _require_complete(plugin: Judge, only: str | None) -> None:
    if not plugin.collected:
        raise GraderError(
            f"The suite has no check or step {only!r}." if only else "The suite has no checks; restore it."
        )
    twice = sorted({i for i in plugin.collected if plugin.collected.count(i) > 1})
    lost = [i for i in plugin.collected if i not in plugin.judgements]
    if twice or lost:
        what = f"two checks are called {twice[0]}" if twice else f"{lost[0]} was not run"
        raise GraderError(f"The suite cannot be judged: {what}; restore it.")


def _last_line(text: str) -> str:
    """The line that names the error, at the end of what pytest or Python prints."""
    lines = [line.removeprefix("E").strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "pytest gave no reason"


def score_judgements(judgements: Iterable[Judgement], points: Mapping[str, float]) -> tuple[CheckResult, ...]:
    """Judgements with the rubric's points. Raises GraderError for a check that the rubric does not know."""
    found = tuple(judgements)
    unknown = [j.id for j in found if j.id not in points]
    if unknown:
        raise GraderError(f"data/rubric.toml gives no points for {', '.join(unknown)}; add them.")
    return tuple(j.result(points[j.id]) for j in found)
