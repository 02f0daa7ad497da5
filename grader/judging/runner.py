"""Runs the suite over a case, through pytest, and turns the outcomes into judgements.

The suite is trusted code and judges evidence only, in a process with bounds (`judging.apart`). pytest gives what a
home-made runner would lack: fixtures, selection, and plain `pytest tests/public --submission x.ipynb` for students,
with the same files.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from grader.errors import GraderError
from grader.evidence.untrusted import ProtocolViolation
from grader.judging import boundary, places
from grader.judging.boundary import Fault, Watch
from grader.judging.case import Case, locate_trainings
from grader.judging.suite import Failed, Outcome
from grader.model import CheckResult, Method, Place, Verdict, Visibility

CASE = pytest.StashKey[Case]()
Selection = str | frozenset[str] | None  # steps or ids of checks; None: all
GRADER_FAULT = (
    "This machine could not run the check, so it costs you nothing. If it happens again, tell the course staff."
)
MALFORMED = "Expected well-formed answers from the notebook; they are malformed or too large, so nothing can be judged."
OPTIONS = (
    *("-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:logging", "--disable-plugin-autoload"),
    *("-p", "no:unraisableexception"),  # collects garbage ten times per run, half a second where torch is loaded
    *("--import-mode=importlib", "-W", "ignore", "-o", "addopts="),
)


@dataclass(frozen=True)
class Judgement:
    """The outcome of one check. Its points are the rubric's business."""

    id: str
    title: str
    visibility: Visibility
    verdict: Verdict
    rationale: str = ""
    hint: str = ""
    fault: str = ""  # for staff: the error of the grader, or what is malformed
    place: Place | None = None  # of the cause of a failure
    cause: str = ""  # a name for it, where another step can fail by the same one
    requires: tuple[str, ...] = ()  # ids of the checks that it waits for
    repeats: str = ""  # the check that already cost points for the same cause
    held: bool = False  # it counts only after a person has read the notebook
    lacks_package: bool = False  # the reason: a package that is not here, which is nobody's mistake
    suspect: bool = False  # it raised what only the reference can explain

    def result(self, possible: float) -> CheckResult:
        """Add the points that the check is worth."""
        blocked = possible if self.repeats else 0.0
        points = {Verdict.PASSED: possible, Verdict.FAILED: 0.0, Verdict.BLOCKED: blocked}.get(self.verdict)
        return CheckResult(
            id=self.id,
            title=self.title,
            verdict=self.verdict,
            points=points,
            possible=possible,
            visibility=self.visibility,
            rationale=self.rationale,
            hint=self.hint,
            place=self.place,
        )


@dataclass(eq=False)  # pytest keeps plugins in sets
class Collector:
    """The pytest plugin that selects checks: all, or those of steps or ids (`only`) with what they wait for."""

    only: Selection = None
    collected: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the selected checks."""
        marks = {item: mark.kwargs for item in items if (mark := item.get_closest_marker("check"))}
        wanted = _add_prerequisites({mark["id"]: mark["requires"] for mark in marks.values()}, self.only)
        items[:] = [item for item, mark in marks.items() if mark["id"] in wanted]
        self.collected = [marks[item]["id"] for item in items]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note why a file of the suite cannot be loaded."""
        if report.failed:
            self.errors.append(_last_line(str(report.longrepr)))


@dataclass(eq=False, kw_only=True)
class Judge(Collector):
    """The pytest plugin that hands out the case and notes how each check ends."""

    case: Case
    watch: Watch = field(default_factory=Watch)
    judgements: dict[str, Judgement] = field(default_factory=dict)

    def pytest_configure(self, config: pytest.Config) -> None:
        """Make the case available to the suite's own plugin."""
        config.stash[CASE] = self.case

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Tell which check begins, and do not run one in which a process was lost before."""
        mark = item.get_closest_marker("check")
        if mark is None:
            return
        name = mark.kwargs["id"]
        self.watch.begin(name)
        if how := self.watch.find_loss(name):
            if self.watch.is_of_the_grader(name, Fault.SUBMISSION):
                raise GraderError(how)
            raise ProtocolViolation(how)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        """Note how a check ended."""
        report = yield
        if call.when == "call" or (call.when == "setup" and call.excinfo):
            judgement = _judge(item, call.excinfo.value if call.excinfo else None, self.case, self.watch)
            self.judgements[judgement.id] = judgement
        return report


def _add_prerequisites(requires: dict[str, tuple[str, ...]], only: Selection) -> set[str]:
    """Select ids, and all that they require, directly or not."""
    wanted: set[str] = set()
    waiting = [name for name in requires if _is_selected(name, only)]
    while waiting:
        if (name := waiting.pop()) not in wanted:
            wanted.add(name)
            waiting += requires.get(name, ())
    return wanted


def _is_selected(check_id: str, only: Selection) -> bool:
    wanted = {only} if isinstance(only, str) else only
    return wanted is None or not wanted.isdisjoint((check_id, check_id.split(".")[0]))


def _judge(item: pytest.Item, raised: BaseException | None, case: Case, watch: Watch) -> Judgement:
    mark = item.get_closest_marker("check")
    assert mark is not None
    visibility = Visibility.HIDDEN if item.path.parent.name == "hidden" else Visibility.PUBLIC
    place = locate_cause(case, raised, mark.kwargs["about"])
    told = {name: mark.kwargs[name] for name in ("id", "title", "requires")}
    outcome = _read_outcome(raised, mark.kwargs["id"], watch)
    if isinstance(raised, Failed):
        outcome["rationale"] += explain_order(case, mark.kwargs["training"])
    return Judgement(**told, visibility=visibility, place=place, **outcome)


def locate_cause(case: Case, raised: BaseException | None, about: places.Finder | None) -> Place | None:
    """Return the place of a failure; None where the check did not fail, or the code does not show it."""
    find = (raised.at or about) if isinstance(raised, Failed) else None
    try:
        return places.locate(case, find) if find else None
    except Exception:  # malformed evidence, or code that nobody foresaw: a place is help, and must not change a verdict
        return None


def explain_order(case: Case, method: Method | None) -> str:
    """Return which cell defines something anew after the training of a step had used it; "" where none does."""
    try:
        found = places.find_redefinition(places.Notebook(case), method) if method else None
    except Exception:  # as in `locate_cause`
        return ""
    if found is None:
        return ""
    trained = next((cell for trained, cell in locate_trainings(case) if trained is method), None)
    return f" {found if case.in_file else found.explain_live(trained)}"


def _read_outcome(raised: BaseException | None, part: str, watch: Watch) -> dict[str, Any]:
    match raised:
        case None:
            return {"verdict": Verdict.PASSED}
        case Outcome():
            words = {"rationale": raised.rationale, "hint": raised.hint}
            return {"verdict": raised.verdict, "cause": raised.cause, **words}
        case ProtocolViolation():
            return {"verdict": Verdict.FAILED, "rationale": MALFORMED, "fault": str(raised)}
    fault = boundary.blame(raised)
    told = {"fault": boundary.describe(raised), "suspect": fault is not Fault.GRADER and watch.of_the_grader is None}
    if watch.is_of_the_grader(part, fault):
        return {"verdict": Verdict.ERROR, "rationale": GRADER_FAULT, **told}
    return {"verdict": Verdict.FAILED, "rationale": MALFORMED, **told}


def run_suite(
    case: Case, folders: Sequence[Path], only: Selection = None, watch: Watch | None = None
) -> tuple[Judgement, ...]:
    """Return all judgements, in the suite's order, or those of one step or check, or of several (`only`).

    `watch` is told which check begins, and knows which ended a process before.

    Raises GraderError when the suite itself cannot be run, or has nothing under that name.
    """
    judge = Judge(only, case=case, watch=watch or Watch())
    code, printed = _run_pytest(judge, folders)
    if code == pytest.ExitCode.INTERRUPTED and not judge.errors:
        raise KeyboardInterrupt  # pytest swallows it, and half a suite is not a verdict
    if judge.errors or code in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        why = (judge.errors or [_last_line(printed)])[0]
        raise GraderError(f"The suite cannot be run ({why}); restore {' and '.join(map(str, folders))}.")
    _require_complete(judge)
    return tuple(j for j in judge.judgements.values() if _is_selected(j.id, only))


def list_checks(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the ids of the checks in these folders. Runs none."""
    collector = Collector()
    _run_pytest(collector, folders, "--collect-only")
    return tuple(collector.collected)


def _run_pytest(plugin: Collector, folders: Sequence[Path], *more: str) -> tuple[int, str]:
    """Run pytest over the suite; return its exit code and what it prints."""
    printed = io.StringIO()
    with _ignore_user_options(), _avoid_brackets(folders) as places:
        # The suite's own conftest.py lies beside its folders; what lies further up is somebody else's.
        roots = [f"--{option}={places[0].parent}" for option in ("rootdir", "confcutdir")] if places else []
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = pytest.main([*map(str, places), *OPTIONS, *roots, *more], plugins=[plugin])
    return code, printed.getvalue()


@contextlib.contextmanager
def _avoid_brackets(folders: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield the folders under names that pytest takes for folders: in a path, it takes a bracket for a parameter."""
    if not any("[" in str(folder) for folder in folders):
        yield [*folders]
        return
    with tempfile.TemporaryDirectory(prefix="suite-") as name:
        link = Path(name) / "tests"
        link.symlink_to(folders[0].parent.absolute(), target_is_directory=True)
        yield [link / folder.name for folder in folders]


@contextlib.contextmanager
def _ignore_user_options() -> Iterator[None]:
    """Hide the options that this user has set for pytest: `-x` or `-k` would change verdicts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
            patch.delenv(name, raising=False)
        yield


def _require_complete(judge: Judge) -> None:
    if not judge.collected:
        missing = f"check or step {judge.only!r}." if judge.only else "checks; restore it."
        raise GraderError(f"The suite has no {missing}")
    twice = sorted({name for name in judge.collected if judge.collected.count(name) > 1})
    lost = [name for name in judge.collected if name not in judge.judgements]
    if twice or lost:
        what = f"two checks have the id {twice[0]}" if twice else f"{lost[0]} was not run"
        raise GraderError(f"The suite cannot be judged: {what}; restore it.")


def _last_line(text: str) -> str:
    """Return the line that names the error, at the end of what pytest or Python prints."""
    lines = [line.removeprefix("E").strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "pytest gave no reason"
