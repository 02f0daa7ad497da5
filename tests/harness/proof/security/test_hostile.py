"""Every hostile notebook in every sandbox of this machine, and the tools that watch them.

A round runs in a process of its own, as `python -m grader hostile` has it, so that what it leaves can be told.
"""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from grader.execution.admission import Suspicion
from grader.judging import result, tampering
from grader.judging.runner import Judgement
from grader.model import RunStatus, Verdict, Visibility
from grader.sandbox import Backend
from tests.harness import needs
from tests.proof.security.canaries import place_canaries
from tests.proof.security.case_run import HostileResult, run_upload
from tests.proof.security.cases import HONEST_ID, PIECES, HostileUpload, fill_places, load_cases, load_uploads
from tests.proof.security.rounds import CORPUS, list_groups, order_cases, run_in_parts
from tests.proof.security.table import format_totals
from tests.proof.security.traces import Traces, capture_traces, find_leftovers

CASES, UPLOADS = load_cases(CORPUS), load_uploads(CORPUS)
GROUPS = list_groups(CASES)
COLD = pytest.mark.training  # as long as a training: a cold kernel takes seconds to import what notebooks use
BACKENDS = {Backend.WARM: (), Backend.BUBBLEWRAP: COLD, Backend.CONTAINER: COLD, Backend.LANDLOCK: COLD}


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("backend", [pytest.param(kind, marks=marks, id=kind) for kind, marks in BACKENDS.items()])
def test_every_notebook(backend: Backend, group: str) -> None:
    """Honest ones in between and last: those are graded as if nothing had happened."""
    needs.require_backend(backend)
    trials = run_in_parts(backend, GROUPS[group])
    assert {trial.id: trial.unexpected for trial in trials if trial.unexpected} == {}
    assert sorted(trial.id for trial in trials if trial.id != HONEST_ID) == sorted(GROUPS[group])
    assert sum(trial.id == HONEST_ID for trial in trials) >= 2


@pytest.mark.parametrize("upload", [pytest.param(upload, id=upload.id) for upload in UPLOADS])
def test_files_that_are_no_notebooks(upload: HostileUpload) -> None:
    assert run_upload(upload).unexpected == ()


# The table.


def test_every_row_of_the_list_has_cases() -> None:
    assert {one.row for one in (*CASES, *UPLOADS)} >= set(range(1, 26))
    assert len(CASES) >= 120


def test_every_hostile_case_is_in_one_group() -> None:
    dealt = [name for names in GROUPS.values() for name in names]
    assert sorted(dealt) == sorted(case.id for case in CASES if not case.honest)


def test_names_are_unique_and_places_are_known() -> None:
    assert len({case.id for case in CASES}) == len(CASES)
    places = PIECES | dict.fromkeys(("WORLD", "SECRET", "SOCKET", "ABSTRACT", "MARK", "PID", "PORT"), "1")
    assert not [case.id for case in CASES for cell in case.cells if "@" in fill_places(cell, places)]


def test_an_honest_one_in_between_and_last() -> None:
    ordered = list(order_cases(CASES))
    honest = [position for position, case in enumerate(ordered) if case.honest]
    assert len(honest) > 2
    assert honest[-1] == len(ordered) - 1
    assert {case.id for case in ordered} == {case.id for case in CASES}


# What watches the notebooks has to see something when there is something.


@pytest.fixture
def short() -> Iterator[Path]:
    """Paths of sockets are bounded."""
    with tempfile.TemporaryDirectory(prefix="h") as name:
        yield Path(name)


def test_a_secret_in_a_result_is_found(short: Path) -> None:
    with place_canaries(short / "canaries") as canaries:
        results = short / "results"
        results.mkdir()
        assert canaries.find_in(results) == []
        (results / "out.json").write_text("x" + (short / "canaries" / "secret").read_text(), encoding="utf-8")
        (results / "env").write_text(os.environ["A4_SECRET"], encoding="utf-8")
        assert canaries.find_in(results) == ["secret", "A4_SECRET"]


def test_a_knock_is_heard(short: Path) -> None:
    with place_canaries(short / "canaries") as canaries:
        tcp, named, abstract = (canaries.places[name] for name in ("PORT", "SOCKET", "ABSTRACT"))
        local = ("127.0.0.1", int(tcp))
        for kind, address in ((socket.AF_INET, local), (socket.AF_UNIX, named), (socket.AF_UNIX, f"\0{abstract}")):
            with socket.socket(kind) as line:
                line.connect(address)
                line.recv(1)  # it is closed from the other side
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.sendto(b"x", local)
        knocks = set()
        while len(knocks) < 4:  # a test that hangs here says that a knock is not heard
            knocks |= set(canaries.find_in(short / "canaries" / "nothing"))
        assert knocks == {"tcp connection", "unix socket", "abstract socket", "datagram"}


def test_what_is_left_is_seen(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.proof.security.traces.SETTLED_S", 0.1)
    look = partial(capture_traces, short, "a-mark-of-this-test")
    before = look()
    assert find_leftovers(before, lambda: before) == []
    (short / "left").touch()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "a-mark-of-this-test"]) as process:
        found = find_leftovers(before, look)
        process.kill()
    assert [what.split()[0] for what in found] == ["file", "process"]


def test_what_other_graders_leave_is_not_counted() -> None:
    """A group that was there before, of somebody who lived then and is dead now."""
    before = Traces(frozenset({"group a"}), others=frozenset({"group b"}))
    assert Traces(frozenset({"group a", "group b", "group c"})).list_new(before) == ["group c"]


def test_totals_count_everything() -> None:
    good = HostileResult(id="a", row=1, backend="warm", outcome="ok", growth_mib=3)
    wrong = {"leaks": 2, "points": 1.5, "leftovers": 3, "unexpected": ("x",), "growth_mib": 0}
    bad = good.model_copy(update={"id": "b", "backend": "landlock", **wrong})
    assert format_totals([good, bad]).plain == (
        "1 of 2 as expected on landlock, warm: 2 leaks, 1.5 undeserved points, 3 leftovers; "
        "the grader's own processes grew by at most 3 MiB."
    )


# Places where the grader itself is touched.


def test_what_passed_waits_for_a_person() -> None:
    passed = Judgement("a.b", "B", Visibility.PUBLIC, Verdict.PASSED)
    failed = replace(passed, verdict=Verdict.FAILED, rationale="why", hint="how")
    summary = SimpleNamespace(status=RunStatus.OK, failed_cells=())
    run = SimpleNamespace(summary=summary, suspicions=(), faults=())
    honest = SimpleNamespace(run=run, sources={0: "x = 1"})
    hostile = SimpleNamespace(run=run, sources={0: "import grader.kernel.session"})
    assert result.adjust_judgements((passed, failed), honest) == (passed, failed)
    waiting, kept = result.adjust_judgements((passed, failed), hostile)
    assert (waiting.verdict, waiting.held, waiting.result(1.0).points) == (Verdict.ERROR, True, None)
    assert kept == failed
    told = Suspicion(words="json.dumps is replaced", witness=True)
    run.suspicions = (told.model_copy(update={"witness": False}),)
    assert result.adjust_judgements((passed,), honest) == (passed,)
    run.suspicions = (told,)
    assert [judgement.held for judgement in result.adjust_judgements((passed,), honest)] == [True]
    run.faults = ("the counters of the witness",)  # which such a notebook may have caused
    waiting, excused = result.adjust_judgements((passed, failed), honest)
    assert (waiting.held, excused.held, excused.verdict) == (True, False, Verdict.ERROR)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        pytest.param("from grader.student import check\ncheck('step1')", False, id="the kit"),
        pytest.param("from grader import student", False, id="the kit in other words"),
        pytest.param("# my grader is nice. It passed", False, id="prose"),
        pytest.param("# feedback from grader: none", False, id="prose that looks like an import"),
        pytest.param("grader = Evaluator(model)\ngrader.run(x.grading)", False, id="a name of the student's own"),
        pytest.param("x = 1; from grader import kernel", True, id="an import within a line"),
        pytest.param("import grader.kernel.session as s", True, id="the witness"),
        pytest.param("os.environ['SANDBOX_EVIDENCE']", True, id="the folder"),
        pytest.param("json.dump(results, open('trainings.json', 'w'))", False, id="a file with a name that we use too"),
        pytest.param("x = 1  # see .grading, or SANDBOX_EVIDENCE", False, id="a comment"),
        pytest.param("s = '#'; import grader.kernel", True, id="behind what is no comment"),
    ],
)
def test_touching_the_grader_is_noted(source: str, named: bool) -> None:
    assert bool(tampering.find_tampering({0: "x = 1", 2: source})) is named
