"""From a zip of Canvas to everything that goes back, with fake kernels; and the sentences at the end."""

import csv
import html
import io
import json
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import typer
from rich.console import Console

from grader.batch import digests, executor, history, session
from grader.batch.decisions import append_decision
from grader.batch.messages import BatchConfig
from grader.batch.outputs import BatchOutputs, build_deliveries
from grader.batch.request import BatchRequest, load_batch
from grader.batch.scheduling import Conditions
from grader.batch.session import BatchResult, WorkerSettings
from grader.batch.store import Store
from grader.cli import batch as commands
from grader.cli.batch import derive_class_name
from grader.errors import GraderError
from grader.gradebook import canvas_upload
from grader.gradebook.canvas_upload import Delivery, UploadReport
from grader.grades import decisions
from grader.grades.decisions import Appeal, Origin
from grader.grades.grade import Standing
from grader.model import Profile
from grader.paths import ROOT
from grader.sandbox import Backend, Sandbox, SandboxPolicy, attach
from tests.harness.batch.fakes import HERE, InlineExecutor, make_config

ADA, ASA, ALAN = "lovelaceada_1_11", "öbergåsa_2_12", "turingalan_4_14"
LATE_ADA = "lovelaceada_LATE_1_11"
EXPORT = """\
Student,ID,SIS User ID,SIS Login ID,Section,A4 (77),Current Score
    Points Possible,,,,,10,(read only)
"Lovelace, Ada",1,S1,ada,DAT,5,
"Öberg, Åsa",2,S2,asa,DAT,,
"Hopper, Grace",3,S3,grace,DAT,EX,
"Turing, Alan",4,S4,alan,DAT,4,
"Student, Test",9,,test,DAT,,
"""
TWO_COLUMNS = EXPORT.replace("A4 (77)", "A3 (76),A4 (77)").replace(",10,(read only)", ",10,10,(read only)")
BARRED = TWO_COLUMNS.replace(",10,10,(read only)", ",10,(read only),(read only)")
LATE_POLICY = '[late]\nunit = "points"\nflat = 2\n'
SIGNED = 'author = "M"\nreason = "seen by hand"\n'


@dataclass
class Classroom:
    """A class in a folder, graded in this process without Dask."""

    root: Path
    workers: WorkerSettings
    shown: str = ""  # by the last batch

    @property
    def folder(self) -> Path:
        return self.root / "results"

    def write(self, name: str, text: str) -> Path:
        (self.root / name).write_text(text, encoding="utf-8")
        return self.root / name

    def request(self, **changes: Any) -> BatchRequest:
        export = self.write("export.csv", EXPORT)
        plain = {"source": self.root / "a4.zip", "folder": self.folder, "gradebook": export}
        return BatchRequest(**{**plain, "profile": Profile.STRUCTURE, **changes})

    def hand_in(self, **texts: str) -> None:
        """Make the archive of Canvas: the first line of each file by the owner and ids in its name."""
        with zipfile.ZipFile(self.root / "a4.zip", "w") as archive:
            for name, text in texts.items():
                archive.writestr(f"{name}_x.ipynb", text)

    def grade(self, texts: dict[str, str] | None = None, quiet: bool = False, **changes: Any) -> BatchResult:
        """Grade what is handed in, these texts if some are given."""
        if texts:
            self.hand_in(**texts)
        text = io.StringIO()
        result = session.run_batch(self.request(**changes), self.workers, Console(file=text, width=200), quiet)
        self.shown = text.getvalue()
        return result

    def rejudge(self) -> BatchResult:
        return session.rejudge(self.folder, self.workers, Console(file=io.StringIO()))

    def renew(self, **changes: Any) -> BatchOutputs:
        return session.renew_outputs(self.folder, changes)[1]

    def summarise(self, result: BatchResult) -> str:
        return "\n".join(session.list_last_lines(result, self.folder, quiet=True))

    def find(self, name: str, upload: str = ADA) -> Path:
        return self.folder / "submissions" / upload / name

    def read_entry(self) -> history.HistoryEntry:
        entry = history.read_last(self.find(""))
        assert entry is not None
        return entry

    def read_page(self) -> str:
        return self.find("feedback.html").read_text(encoding="utf-8")


@pytest.fixture
def a4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Classroom:
    monkeypatch.setattr(executor, "connect", lambda cluster, config, *_: nullcontext(InlineExecutor(config)))
    monkeypatch.setattr(session, "find_conditions", lambda request: HERE)
    return Classroom(tmp_path, WorkerSettings(open_cluster=nullcontext, threads=1))


@pytest.fixture
def graded(a4: Classroom) -> Classroom:
    """Ada's notebook has got 7 points."""
    a4.grade({ADA: "points 7"})
    return a4


def find_points(outputs: BatchOutputs, canvas_id: int = 1) -> float | None:
    return next(grade.points for grade in outputs.grades if grade.student.canvas_id == canvas_id)


def break_forever(a4: Classroom) -> str:
    return f"broken {a4.root / 'tries'} 99"


def test_a_class(a4: Classroom) -> None:
    a4.hand_in(**{ADA: "points 7", "öbergåsa_LATE_2_12": "no notebook", ALAN: break_forever(a4)})
    assert a4.grade().exit_code == 2
    names = {"index.html", "similar.html", "gradebook.csv", "feedback.zip", "checks.csv", "checks.json"}
    assert names <= {path.name for path in a4.folder.iterdir()}
    column = [line.split(",")[6] for line in (a4.folder / "gradebook.csv").read_text("utf-8").splitlines()[2:]]
    assert column == ["7.00", "", "EX", "4", ""]  # what is ungraded keeps its old value
    with zipfile.ZipFile(a4.folder / "feedback.zip") as archive:
        assert archive.namelist() == ["lovelaceada_1_11_x.ipynb", "öbergåsa_LATE_2_12_x.ipynb"]
        assert "7 of 10" not in (refused := archive.read("öbergåsa_LATE_2_12_x.ipynb").decode())
        assert "'x.ipynb' is no notebook." in html.unescape(refused)
    written = sorted(path.name for path in (a4.folder / "gradescope").iterdir())
    assert written == ["lovelaceada_1.json", "turingalan_4.json", "öbergåsa_2.json"]
    assert "turingalan_4_14: ungraded at stage execute: " in a4.shown
    assert "'x.ipynb' is no notebook." in a4.shown


def test_a_class_without_problems_ends_with_0_and_says_where_things_are(a4: Classroom) -> None:
    result = a4.grade({ADA: "points 7", ASA: "no notebook"})
    uploads, students, place, todo = a4.summarise(result).splitlines()
    assert result.exit_code == 0
    assert uploads == "Notebooks: 2 (1 graded now, 1 refused). Executed in this run: 1."
    page = (a4.folder / "index.html").read_text(encoding="utf-8")
    assert "2, 1 of them refused, 2 with different contents" in page
    assert students == "Students: 4 (1 graded, 1 refused, 2 missing)."
    assert place.startswith(f"Results in {a4.folder}: ")
    upload = f"then `make upload CLASS={a4.folder} COURSE=id ASSIGNMENT=id`, or import gradebook.csv."
    assert todo == f"Next: open {a4.folder}/index.html, decide with `make review CLASS={a4.folder}`, {upload}"
    assert a4.shown.splitlines()[0] == "Found 2 notebooks, 2 students without a gradable file."
    found = json.loads(a4.find("result.json").read_text(encoding="utf-8"))
    assert (found["schema"], found["submission"]["name"]) == (1, ADA)


def test_quiet_says_only_what_is_wrong_and_the_last_line_counts_it(a4: Classroom) -> None:
    a4.hand_in(**{ADA: "points 7", ALAN: break_forever(a4)})
    assert a4.summarise(a4.grade(quiet=True)).splitlines()[:2] == [
        "Notebooks: 2 (1 graded now, 1 ungraded, named above). Executed in this run: 2.",
        "Students: 4 (1 graded, 1 ungraded, 2 missing).",
    ]
    assert [ALAN in line for line in a4.shown.splitlines()] == [True] * 3  # three tries


def change_code(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """Pretend that a file was edited that these digests stand for."""
    now = {**digests._digest_all(ROOT), **changes}
    monkeypatch.setattr(digests, "_digest_all", lambda root: now)


def find_outdated(outputs: BatchOutputs) -> list[str]:
    return [note for note in outputs.notes if "older code" in note or "today's" in note]


def test_evidence_of_other_code_is_never_taken_for_new(a4: Classroom, monkeypatch: pytest.MonkeyPatch) -> None:
    a4.grade({ADA: "points 7", ASA: "no notebook"})
    before = a4.read_entry().depends[digests.EXECUTION]
    change_code(monkeypatch, execution="f" * 32, judge="e" * 32)
    again = a4.rejudge()
    assert find_outdated(again.outputs) == [
        f"1 of 1 uploads were executed by older code (version {before[:8]}; now ffffffff). Their verdicts are up to "
        "date, their evidence is not. Run `make batch` again to execute them."
    ]
    assert "1 executed by older code" in a4.summarise(again)
    assert "executed by older code" in (a4.folder / "index.html").read_text(encoding="utf-8")
    assert (again.summary.executed, a4.read_entry().why) == (0, "judge changed")
    assert a4.read_entry().depends == {**digests.digest_judging(ROOT), digests.EXECUTION: before}
    newly = a4.grade()
    assert (newly.summary.executed, find_outdated(newly.outputs), newly.outputs.outdated) == (1, [], 0)
    entry = a4.read_entry()
    assert (entry.why, entry.depends[digests.EXECUTION]) == ("execution changed", "f" * 32)


def test_a_history_that_does_not_say_what_executed(graded: Classroom) -> None:
    path = graded.find(history.NAME)
    line = json.loads(path.read_text(encoding="utf-8"))
    del line["depends"][digests.EXECUTION]
    path.write_text(json.dumps(line), encoding="utf-8")
    (graded.root / "a4.zip").unlink()  # judging again needs the folder alone
    again = graded.rejudge()
    assert (again.exit_code, again.summary.executed, again.summary.done_before) == (0, 0, 1)
    assert "(version not recorded; now " in find_outdated(again.outputs)[0]
    assert find_points(again.outputs) == 7


def test_verdicts_of_another_suite_are_noted(graded: Classroom, monkeypatch: pytest.MonkeyPatch) -> None:
    change_code(monkeypatch, suite="f" * 32)
    (note,) = find_outdated(graded.renew())
    assert note.startswith("1 of 1 uploads were judged by other tests, points or code than today's.")
    assert find_outdated(graded.rejudge().outputs) == []


def test_judging_again_lists_whom_to_tell(a4: Classroom, monkeypatch: pytest.MonkeyPatch) -> None:
    a4.grade({ADA: "points 6", ASA: "points 7"})
    key = next(grade.student.key for grade in a4.renew().grades if grade.points == 7)
    appeal = Appeal(student=key, contests="run.works", claim="it works", author="M")
    append_decision(a4.folder, appeal, Origin.REVIEW)
    (line,) = a4.rejudge().told[1:]
    assert line.endswith("7 → 7 (+0); open appeal on run.works")
    change_code(monkeypatch, bonus="4")
    told = a4.rejudge().told
    assert told[0] == "2 gained, 0 lost. To tell (changes.csv has all of them):"
    assert [line.partition(": ")[2] for line in told[1:]] == [
        "6 → 10 (+4); run.works: failed → passed",
        "7 → 11 (+4); run.works: failed → passed; open appeal on run.works",
    ]
    table = (a4.folder / "changes.csv").read_text(encoding="utf-8-sig").splitlines()
    assert ",6.0,10.0,4.0,run.works: failed → passed,," in table[1]
    append_decision(a4.folder, appeal.model_copy(update={"answer": "it does"}), Origin.REVIEW)
    none, earlier = a4.rejudge().told
    assert none == "Nobody gained or lost, and no appeal is open."
    assert earlier.startswith(
        "changes.csv also has what earlier judgings changed for 2 students, with the time of each"
    )


def read_changes(classroom: Classroom) -> list[dict[str, str]]:
    with (classroom.folder / "changes.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def list_points(classroom: Classroom) -> list[tuple[str, str]]:
    return [(row["before"], row["after"]) for row in read_changes(classroom)]


def test_judging_again_keeps_whom_to_tell_of_earlier(graded: Classroom, monkeypatch: pytest.MonkeyPatch) -> None:
    for bonus, listed in (
        ("3", [("7.0", "10.0")]),
        ("3", [("7.0", "10.0")]),
        ("1", [("10.0", "8.0"), ("7.0", "10.0")]),
    ):
        change_code(monkeypatch, bonus=bonus)
        graded.rejudge()
        assert list_points(graded) == listed
    assert all(row["judged_at"].startswith("20") for row in read_changes(graded))
    (graded.folder / "changes.csv").unlink()  # everybody is told
    graded.rejudge()
    assert list_points(graded) == []


def test_a_judging_that_stopped_is_listed_once(graded: Classroom, monkeypatch: pytest.MonkeyPatch) -> None:
    change_code(monkeypatch, bonus="3")
    with monkeypatch.context() as patch:
        patch.setattr(session, "hand_out", Mock(side_effect=GraderError("The disk is full.")))
        with pytest.raises(GraderError):
            graded.rejudge()
    graded.rejudge()
    assert list_points(graded) == [("7.0", "10.0")]


HEAD = "student,name,before,after,change,checks,open_appeals"
LISTS = {  # changes.csv as it is found; the points listed after a judging that changes nothing; what is kept aside
    "of an older version": (f"{HEAD}\na_1,Ada,7.0,10.0,3.0,x: failed → passed,\n", [("7.0", "10.0")], False),
    "of an appeal alone": (f"{HEAD}\na_1,Ada,7.0,7.0,0.0,,run.works\n", [], False),
    "saved by a spreadsheet": (f"{HEAD};told\na_1;Ada;7;10;3;;;yes\n".replace(",", ";"), [("7", "10")], False),
    "another table": ("who,what\nada,told\n", [], True),
    "with cells too many": (f"{HEAD}\na_1,Ada,7.0,10.0,3.0,,,,told\n", [], True),
    "in another encoding": (b"\xff\xfe\x00", [], True),
    "empty": ("", [], True),
}


@pytest.mark.parametrize(("content", "listed", "aside"), LISTS.values(), ids=LISTS)
def test_a_list_of_changes_that_is_there_is_continued_or_kept_aside(
    content: str | bytes, listed: list[tuple[str, str]], aside: bool, graded: Classroom
) -> None:
    raw = content.encode() if isinstance(content, str) else content
    (graded.folder / "changes.csv").write_bytes(raw)
    told = graded.rejudge().told
    assert list_points(graded) == listed
    assert [path.read_bytes() for path in graded.folder.glob("changes-1.csv")] == ([raw] if aside else [])
    assert any("kept as changes-1.csv" in line for line in told) is aside
    assert "told" not in raw.decode(errors="replace") or not listed or read_changes(graded)[0]["told"] == "yes"


def test_whom_to_tell_is_kept_when_the_handing_out_stops(graded: Classroom, monkeypatch: pytest.MonkeyPatch) -> None:
    change_code(monkeypatch, bonus="3")
    monkeypatch.setattr(session, "hand_out", Mock(side_effect=GraderError("The disk is full.")))
    with pytest.raises(GraderError):
        graded.rejudge()
    table = (graded.folder / "changes.csv").read_text(encoding="utf-8-sig").splitlines()
    assert table[1].startswith('lovelaceada_1,"Lovelace, Ada",7.0,10.0,3.0,')


def test_another_policy_is_handed_out_without_judging_and_kept(a4: Classroom) -> None:
    a4.grade({LATE_ADA: "points 7"})
    made = a4.renew(policy=a4.write("policy.toml", LATE_POLICY))
    assert [find_points(outputs) for outputs in (made, a4.renew(), a4.rejudge().outputs)] == [5, 5, 5]
    page = a4.read_page()
    assert "5 of 10" in page or "5 / 10" in page or "−2" in page


def test_a_class_with_a_folder_for_each_student(a4: Classroom) -> None:
    for number, name in enumerate(("ada", "alan"), 5):
        (a4.root / "class" / name).mkdir(parents=True)
        a4.write(f"class/{name}/assignment.ipynb", f"points {number}")
    outputs = a4.grade(source=a4.root / "class").outputs
    assert (find_points(outputs, 1), find_points(outputs, 4)) == (5, 6)
    assert "feedback.zip" not in {path.name for path in outputs.files}  # Canvas would take nothing of it


def test_points_for_a_check_that_could_not_be_judged_stand_in_the_report(a4: Classroom) -> None:
    first = a4.grade({ADA: "unjudged"})
    changes = a4.write("overrides.toml", f'[[total]]\nstudent = "1"\npoints = 9\n{SIGNED}')
    assert (first.exit_code, find_points(a4.renew(overrides=changes))) == (2, 9)
    assert "seen by hand" in a4.read_page()
    assert a4.grade().summary.done_before == 0  # a fault of the grader is looked into again, whatever is stored


def test_another_notebook_has_no_grade_before_it_was_graded(a4: Classroom) -> None:
    a4.grade({ADA: "points 7", ALAN: "no notebook"})
    with pytest.raises(GraderError, match="No space left"):
        a4.grade({ADA: "full", ALAN: "full"})
    standings = {grade.student.canvas_id: grade.standing for grade in a4.renew().grades}
    assert (standings[1], standings[4]) == (Standing.UNGRADED, Standing.UNGRADED)


OTHERWISE = {"profile structure and seed 3": {"seed": 3}, "profile quick and seed 0": {"profile": Profile.QUICK}}


@pytest.mark.parametrize(("words", "changes"), OTHERWISE.items(), ids=["seed", "profile"])
def test_what_was_graded_in_another_way_is_no_grade_and_not_judged_again(
    changes: dict[str, Any], words: str, graded: Classroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(session, "_judge", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):  # before anything is graded
            graded.grade(**changes)
    assert find_points(graded.renew()) is None
    with pytest.raises(GraderError, match=rf"1 of 1 uploads were graded with profile structure and seed 0.*{words}"):
        graded.rejudge()


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["lost", "empty"])
def test_a_lost_result_is_written_again_from_the_store(graded: Classroom, lose: Callable[[Path], object]) -> None:
    result = graded.find("result.json")
    before = result.read_bytes()
    lose(result)
    again = graded.grade()
    assert (again.summary.executed, find_points(again.outputs)) == (0, 7)
    assert result.read_bytes() == before


def test_files_of_an_earlier_run_do_not_stay(graded: Classroom) -> None:
    graded.grade(gradebook=None)
    assert (graded.folder / "gradebook.csv").exists()  # the export of the run before is still the class's
    lines = session.take_away(graded.folder, ["gradebook"], "M", "another course's")
    assert "note: gradebook.csv of an earlier run is removed." in lines
    assert not (graded.folder / "gradebook.csv").exists()


RULES = '[deadline]\ndue = 2026-12-01T23:59:00+01:00\n[late]\nunit = "points"\nper_day = 2\n'
TIMES = "student,submitted_at,attachments\n1,2026-12-02T12:00:00+01:00,11 12\n"


def give_everything(a4: Classroom) -> dict[str, Path]:
    """Files of rules, times and overrides by which Ada has 7 - 2 points, Alan 60 and Grace is excused."""
    total, excused = f'[[total]]\nstudent = "4"\npoints = 60\n{SIGNED}', f'[[excused]]\nstudent = "3"\n{SIGNED}'
    texts = {"policy": ("p.toml", RULES), "times": ("t.csv", TIMES), "overrides": ("o.toml", total + excused)}
    return {option: a4.write(name, text) for option, (name, text) in texts.items()}


def test_a_late_second_attempt_does_not_get_the_time_of_the_first(
    a4: Classroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "SAME_RUN", timedelta(0))  # the runs of a test follow within seconds
    rules = {"policy": a4.write("p.toml", f"{RULES}flat = 3\n")}
    in_time = {"times": a4.write("in-time.csv", "student,submitted_at\n1,2026-12-01T12:00:00+01:00\n")}
    assert find_points(a4.grade({ADA: "points 7"}, **rules, **in_time).outputs) == 7
    late = {"lovelaceada_LATE_1_12": "points 7"}
    ended = a4.grade(late)
    assert find_points(ended.outputs) == 4
    assert any("`make times`" in note for note in ended.outputs.notes)
    assert find_points(a4.grade(times=a4.write("new.csv", TIMES)).outputs) == 5


AGAIN: dict[str, Callable[[Classroom], BatchOutputs]] = {
    "batch": lambda a4: a4.grade().outputs,
    "rejudge": lambda a4: a4.rejudge().outputs,
    "hand-out": lambda a4: a4.renew(),
    "batch without the gradebook": lambda a4: a4.grade(gradebook=None).outputs,
}


@pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN)
def test_decisions_hold_in_runs_that_do_not_name_their_files(
    again: Callable[[Classroom], BatchOutputs], a4: Classroom
) -> None:
    files = give_everything(a4)
    a4.grade({ADA: "points 7", ALAN: "points 5"}, **files)
    for path in files.values():
        path.unlink()  # what they said belongs to the class
    made = again(a4)
    assert [find_points(made, student) for student in (1, 4, 3)] == [5, 60, None]
    assert {g.student.canvas_id for g in made.grades if g.standing is Standing.EXCUSED} == {3}
    a4.grade()
    for line in ("Decisions in force: 4:", "d3: turingalan_4, total: 60 points (M, o.toml: seen by hand)"):
        assert line in a4.shown


def test_a_class_that_an_older_version_graded_keeps_what_its_files_said(a4: Classroom) -> None:
    a4.grade({ADA: "points 7", ALAN: "points 5"})
    saved = json.loads((a4.folder / "batch.json").read_text(encoding="utf-8"))
    saved["request"] |= {option: str(path) for option, path in give_everything(a4).items()}
    (a4.folder / "batch.json").write_text(json.dumps(saved), encoding="utf-8")
    assert find_points(a4.grade().outputs) == 5
    assert find_points(a4.renew(), 4) == 60


def test_gradescope_hears_what_people_changed(a4: Classroom) -> None:
    a4.hand_in(**{ADA: "points 7", ALAN: "points 5"})
    changes = f'[[total]]\nstudent = "1"\npoints = 70\n{SIGNED}[[excused]]\nstudent = "4"\n{SIGNED}'
    a4.grade(overrides=a4.write("o.toml", changes))
    found = json.loads((a4.folder / "gradescope" / "lovelaceada_1.json").read_text(encoding="utf-8"))
    assert (found["score"], "Total set to 70 points. seen by hand" in found["output"]) == (70, True)
    assert [path.name for path in (a4.folder / "gradescope").iterdir()] == ["lovelaceada_1.json"]


def test_results_inside_of_the_source_are_not_handed_in(a4: Classroom) -> None:
    (a4.root / "class").mkdir()
    a4.write(f"class/{ADA}_x.ipynb", "points 7")
    places = {"source": a4.root / "class", "folder": a4.root / "class" / "results" / "class"}
    first, again = a4.grade(**places).summary, a4.grade(**places).summary
    assert (first.total, again.total, again.done_before) == (1, 1, 1)


def test_two_unpacked_downloads_in_one_folder_stop_nothing(a4: Classroom) -> None:
    for folder in ("monday", "tuesday"):
        (a4.root / "class" / folder).mkdir(parents=True)
        a4.write(f"class/{folder}/{ADA}_x.pdf", "%PDF")
        a4.write(f"class/{folder}/{ALAN}_x.ipynb", "points 7")
    a4.grade(source=a4.root / "class")
    with zipfile.ZipFile(a4.folder / "feedback.zip") as archive:
        assert sorted(archive.namelist()) == [f"{ADA}_x.pdf", f"{ALAN}_x.ipynb"]


def test_the_zip_of_one_late_student_adds_to_the_class(a4: Classroom) -> None:
    a4.grade({ADA: "points 7", ALAN: "no notebook"})
    ended = a4.grade({"öbergåsa_LATE_2_12": "points 8"})
    assert (find_points(ended.outputs), find_points(ended.outputs, 2), ended.summary.executed) == (7, 8, 1)
    said = "not in this source: 2 students (Lovelace, Ada; Turing, Alan). Their files and grades stay"
    assert [said in note for note in ended.outputs.notes].count(True) == 1
    assert find_points(a4.rejudge().outputs) == 7
    with zipfile.ZipFile(a4.folder / "feedback.zip") as archive:
        assert len(archive.namelist()) == 3


def test_the_zip_of_another_course_changes_nothing(graded: Classroom) -> None:
    before = {path: path.read_bytes() for path in graded.folder.rglob("*.json*")}
    with pytest.raises(GraderError, match=r"another class: .* where 1 student handed in .*Ada.*; found .*eva.*OUT="):
        graded.grade({"bergeva_51_61": "points 1"})
    assert {path: path.read_bytes() for path in graded.folder.rglob("*.json*")} == before


MOODLE = "Identifier,Full name,Status,Grade,Maximum grade\nParticipant 333,Bo Ek,,,10\nParticipant 334,Ada Ek,,,10\n"


def test_decisions_hold_when_the_list_of_students_comes_later(a4: Classroom) -> None:
    for name, text in (("Bo Ek_333", "points 7"), ("Ada Ek_334", "points 5")):
        (a4.root / "class" / f"{name}_assignsubmission_file").mkdir(parents=True)
        a4.write(f"class/{name}_assignsubmission_file/a.ipynb", text)
    source, total = a4.root / "class", f'[[total]]\nstudent = "Bo_Ek_333"\npoints = 70\n{SIGNED}'
    a4.grade(source=source, gradebook=None, overrides=a4.write("o.toml", total))
    ended = a4.grade(source=source, gradebook=a4.write("ws.csv", MOODLE))
    assert {g.student.key: g.points for g in ended.outputs.grades} == {"boek": 70, "adaek": 5}
    assert not [note for note in ended.outputs.notes if "no student here" in note]
    assert ended.summary.executed == 0


NAMES = {  # a source, the classes that there are, the name
    "zip": ("a4.zip", (), "a4"),
    "downloaded again": ("a4 (1).zip", ("a4",), "a4"),
    "downloaded again, and nothing graded": ("a4 (1).zip", (), "a4"),
    "downloaded again by Firefox": ("a4(1).zip", ("a4",), "a4"),
    "numbered": ("a4-2.zip", ("a4",), "a4"),
    "numbered after a space": ("a4 2.zip", ("a4",), "a4"),
    "numbered and downloaded again": ("a4-2(1).zip", ("a4",), "a4"),
    "numbered, and no class has the name": ("a4-2.zip", (), "a4-2"),
    "a year, and no class has the name": ("HT 2026.zip", ("a4",), "HT 2026"),
    "a class of its own": ("a4-2.zip", ("a4", "a4-2"), "a4-2"),
    "a class of its own, downloaded again": ("a4-2(1).zip", ("a4", "a4-2"), "a4-2"),
    "a class that an older version opened": ("a4(1).zip", ("a4", "a4(1)"), "a4(1)"),
    "folder with a point": ("HT26.groupA", (), "HT26.groupA"),
    "only a number": ("(1).zip", (), "(1)"),
}


@pytest.mark.parametrize(("source", "classes", "name"), NAMES.values(), ids=NAMES)
def test_the_name_of_a_class(source: str, classes: tuple[str, ...], name: str, tmp_path: Path) -> None:
    path, out = tmp_path / source, tmp_path / "results"
    path.touch() if path.suffix == ".zip" else path.mkdir()
    for known in classes:
        (out / known).mkdir(parents=True)
        (out / known / "batch.json").touch()
    assert derive_class_name(path, out) == name


def test_nothing_is_handed_out_while_a_batch_runs_or_without_the_export(graded: Classroom) -> None:
    with Store(graded.folder / "store").lock(), pytest.raises(GraderError, match="Another batch runs in"):
        graded.renew()


GONE: dict[str, Callable[[Classroom], BatchOutputs]] = {
    "hand-out": lambda a4: a4.renew(),
    "rejudge": lambda a4: a4.rejudge().outputs,
    "batch": lambda a4: a4.grade(gradebook=None).outputs,
    "batch with the same name": lambda a4: a4.grade(gradebook=a4.root / "downloaded.csv").outputs,
}


@pytest.mark.parametrize("again", GONE.values(), ids=GONE)
def test_a_gradebook_that_is_gone_is_filled_from_its_copy(
    again: Callable[[Classroom], BatchOutputs], a4: Classroom
) -> None:
    export = a4.write("downloaded.csv", EXPORT)
    a4.grade({ADA: "points 7"}, gradebook=export)
    export.unlink()
    a4.hand_in(**{ADA: "points 7", ASA: "points 3"})
    made = again(a4)
    (note,) = [note for note in made.notes if "cannot be read any more" in note]
    assert note.startswith(f"{export} cannot be read any more; the class's copy of it is filled, as it was on 20")
    column = [line.split(",")[6] for line in (a4.folder / "gradebook.csv").read_text("utf-8").splitlines()[2:]]
    assert column[0] == "7.00"
    assert not any("cannot be read" in note for note in a4.renew(gradebook=a4.write("new.csv", EXPORT)).notes)


def test_a_copy_of_an_earlier_gradebook_goes_and_one_that_is_wanted_stays(a4: Classroom) -> None:
    a4.grade({ADA: "points 7"}, gradebook=(export := a4.write("one.csv", EXPORT)))
    export.unlink()
    with pytest.raises(GraderError, match="does not tell which column to fill"):
        a4.renew(gradebook=a4.write("two.csv", TWO_COLUMNS))
    assert a4.renew().grades
    a4.renew(gradebook=a4.write("three.csv", EXPORT))
    assert len(list((a4.folder / "store").glob("export-*.csv"))) == 1
    session.take_away(a4.folder, ["gradebook"], "M", "of another course")
    assert list((a4.folder / "store").glob("export-*.csv")) == []


def test_a_gradebook_without_a_copy_says_how_to_go_on(graded: Classroom) -> None:
    (graded.root / "export.csv").unlink()
    for copy in (graded.folder / "store").glob("export-*.csv"):  # a class of an older version has none
        copy.unlink()
    said = r"Cannot read .*export.csv \(No such file or directory\); name another .*GRADEBOOK=.*TAKE_AWAY=gradebook"
    with pytest.raises(GraderError, match=said):
        graded.renew()
    with pytest.raises(GraderError, match=r"Cannot read .*nowhere.csv .*; check the path"):
        graded.renew(gradebook=graded.root / "nowhere.csv")
    session.take_away(graded.folder, ["gradebook"], "M", "deleted")
    assert graded.renew().grades


def test_an_upload_passes_on_whose_score_it_replaces(
    a4: Classroom, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a4.grade({ADA: "points 7", ASA: "points 3"})
    sent = Mock(return_value=UploadReport(sent=0, failures=("one",)))
    monkeypatch.setattr(canvas_upload, "upload", sent)
    with pytest.raises(typer.Exit):
        commands.upload(a4.folder, course=1, assignment=2, replace=["1 asa"])
    assert {d.grade.student.canvas_id for d in sent.call_args.args[2] if d.replaces} == {1, 2}
    assert "SEND=1 REPLACE='1 asa'" in capsys.readouterr().out


@pytest.mark.parametrize("send", [True, False], ids=["sends", "only shows"])
def test_one_upload_sends_at_a_time(send: bool, graded: Classroom, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver = Mock(return_value=UploadReport(sent=0))
    monkeypatch.setattr(canvas_upload, "upload", deliver)
    with Store(graded.folder / "store").lock_upload(), pytest.raises(GraderError if send else typer.Exit):
        commands.upload(graded.folder, course=1, assignment=2, send=send)
    assert deliver.called is not send


WRONG_FILES = [
    pytest.param("policy", "p.toml", "[late", "it is not TOML", id="policy"),
    pytest.param("policy", "nowhere.toml", None, "Cannot read the policy .*check the path", id="no policy"),
    pytest.param("overrides", "o.toml", "[[total]]", "Cannot use the overrides", id="overrides"),
    pytest.param("times", "t.csv", "who,when", "Cannot use the times", id="times"),
    pytest.param("gradebook", "barred.csv", BARRED, "does not tell which column to fill", id="a column not imported"),
    pytest.param("gradebook", "two.csv", TWO_COLUMNS, "does not tell which column to fill", id="two columns"),
    pytest.param("gradebook", "nowhere.csv", None, "Cannot read .*nowhere.csv", id="no gradebook"),
]


@pytest.mark.parametrize(("option", "name", "text", "says"), WRONG_FILES)
def test_a_wrong_file_is_said_first(option: str, name: str, text: str | None, says: str, a4: Classroom) -> None:
    a4.hand_in(**{ADA: "points 7"})
    if text is not None:
        a4.write(name, text)
    with pytest.raises(GraderError, match=says):
        a4.grade(**{option: a4.root / name})
    assert not (a4.folder / "submissions").exists()


UNREADABLE = {  # what batch.json holds, made from what it held; what is said
    "of a newer version": (
        lambda saved: json.dumps({**saved, "request": {**saved["request"], "novel": 1}}),
        r"batch\.json holds a class, .*\(\w{8}\) cannot read it \(request\.novel: .*A newer version wrote it: update",
    ),
    "of a newer version, in an upload": (
        lambda saved: json.dumps({**saved, "intake": {**saved["intake"], "novel": 1}}),
        r"\(intake\.novel: .*A newer version wrote it",
    ),
    "cut off": (lambda saved: json.dumps(saved)[:99], r"batch\.json holds a class, .*It is damaged: put it back"),
    "without a field": (lambda saved: "{}", r"\(request: Field required\)\. It is damaged"),
}


@pytest.mark.parametrize(("change", "said"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_class_that_cannot_be_read_is_not_called_absent(
    change: Callable[[dict[str, Any]], str], said: str, graded: Classroom
) -> None:
    path = graded.folder / "batch.json"
    path.write_text(change(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
    for again in (graded.renew, graded.rejudge, graded.grade):
        with pytest.raises(GraderError, match=said):
            again()


def test_what_stops_a_batch_is_one_sentence(a4: Classroom) -> None:
    (a4.root / "empty").mkdir()
    with pytest.raises(GraderError, match="empty holds no submission"):
        a4.grade(source=a4.root / "empty")
    with pytest.raises(GraderError, match="holds no class that was graded"):
        session.renew_outputs(a4.root / "empty", {})
    with pytest.raises(GraderError, match=r"No space left on device.*2 of 2 uploads wait"):
        a4.grade({ADA: "full", ALAN: "points 7"})
    with pytest.raises(GraderError, match="Cannot write to"):
        a4.grade(folder=a4.write("a file", "where the folder should be"))


def test_points_of_a_part_of_the_rubric_are_said_everywhere(a4: Classroom) -> None:
    ended = a4.grade({ADA: "unmeasured", ALAN: "points 5"})
    said = "The grades are partial: 5 of 15 points were not judged for 1 student."
    assert said in a4.summarise(ended)
    assert said in (a4.folder / "index.html").read_text(encoding="utf-8")
    column = "'A4 (77)' counts only what was judged: whoever has all the judged points has 10 of 10 there."
    assert column in ended.outputs.notes  # without a number: the gradebook may lack students that the class has
    a4.write("o.toml", f'[[total]]\nstudent = "1"\npoints = 9\n{SIGNED}')
    assert column not in a4.renew(overrides=a4.root / "o.toml").notes  # a person judged all of it


TWICE = EXPORT + '"Lovelace, Ada",1,S1,ada,MAT,5,\n,,,,DAT,,\n'


def test_a_student_of_two_sections_is_one_and_a_row_without_a_name_nobody(a4: Classroom) -> None:
    outputs = a4.grade({ADA: "points 7"}, gradebook=a4.write("twice.csv", TWICE)).outputs
    assert len(outputs.grades) == 4
    assert next(g.student.section for g in outputs.grades if g.student.canvas_id == 1) == "DAT, MAT"
    rows = (a4.folder / "gradebook.csv").read_text("utf-8").splitlines()
    assert [row.split(",")[6] for row in rows if "Lovelace" in row] == ["7.00", "7.00"]
    assert "Rows of the gradebook without a name and an id are left out: row 9." in outputs.notes


def deliver(classroom: Classroom, made: BatchOutputs) -> tuple[Delivery, ...]:
    return build_deliveries(classroom.request(), load_batch(classroom.folder).intake, made.grades)


CANVAS_GROUPS = """\
name,canvas_user_id,user_id,login_id,sections,group_name,canvas_group_id
Ada Lovelace,1,S1,ada,DAT,Group 7,70
Grace Hopper,3,S3,grace,DAT,Group 7,70
Åsa Öberg,2,S2,asa,DAT,,
"""
OWN_GROUPS = "student;group\n1;Group 7\ngrace;Group 7\n"


@pytest.mark.parametrize("text", [CANVAS_GROUPS, OWN_GROUPS], ids=["Canvas's export", "one's own file"])
def test_every_member_of_a_group_gets_grade_and_feedback_once(text: str, a4: Classroom) -> None:
    changes = f'[[total]]\nstudent = "3"\npoints = 9\n{SIGNED}'
    files = {"groups": a4.write("g.csv", text), "overrides": a4.write("o.toml", changes)}
    a4.grade({"group7_1_11": "points 7", ASA: "points 5"}, **files)
    outputs = a4.grade().outputs
    by_id = {grade.student.canvas_id: grade for grade in outputs.grades}
    assert {i: (g.points, g.group) for i, g in by_id.items()} == {
        1: (7, "Group 7"),
        3: (9, "Group 7"),  # what is decided about one member is about that member
        2: (5, ""),
        4: (None, ""),
    }
    column = [line.split(",")[6] for line in (a4.folder / "gradebook.csv").read_text("utf-8").splitlines()[2:]]
    assert column == ["7.00", "5.00", "EX", "4", ""]
    with zipfile.ZipFile(a4.folder / "feedback.zip") as archive:
        assert archive.namelist() == ["group7_1_11_x.ipynb", f"{ASA}_x.ipynb"]
    deliveries = {d.grade.student.canvas_id: d for d in deliver(a4, outputs)}
    pages = [deliveries[i].feedback for i in (1, 3)]
    assert [page.name for page in pages if page] == ["feedback.html", f"feedback-{by_id[3].student.key}.html"]
    assert pages[1] is not None
    assert "seen by hand" in pages[1].read_text(encoding="utf-8")


def test_somebody_in_a_group_who_is_not_in_the_class_is_named(a4: Classroom) -> None:
    outputs = a4.grade({ADA: "points 7"}, groups=a4.write("g.csv", OWN_GROUPS + "eve;Group 7\n")).outputs
    assert "'eve' of the group 'Group 7' is no student here." in outputs.notes


def test_the_test_student_does_not_count(a4: Classroom) -> None:
    ended = a4.grade({ADA: "points 7", "studenttest_9_19": "points 3"})
    assert ended.summary.total == 1
    assert {grade.student.canvas_id for grade in ended.outputs.grades} == {1, 2, 3, 4}
    assert "The files of Canvas's test student are left out." in ended.outputs.notes


def test_no_page_is_promised_where_none_is_attached(a4: Classroom) -> None:
    total = f'[[total]]\nstudent = "3"\npoints = 60\n{SIGNED}'
    made = a4.grade({ADA: "points 7"}, overrides=a4.write("o.toml", total)).outputs
    found = {d.grade.student.canvas_id: d for d in deliver(a4, made)}
    told = {i: (d.feedback is not None, "The attached page" in d.comment) for i, d in found.items() if i in (1, 3)}
    assert told == {1: (True, True), 3: (False, False)}


def test_what_a_student_or_the_group_handed_in_is_known_to_the_upload(a4: Classroom) -> None:
    handed_in = {ADA: "points 7", "hoppergrace_3_13": "points 5", ASA: "no notebook", "öbergåsa_2_15": "points 3"}
    made = a4.grade(handed_in, groups=a4.write("g.csv", OWN_GROUPS)).outputs
    found = {d.grade.student.canvas_id: d.attachments for d in deliver(a4, made)}
    assert found == {1: {11, 13}, 2: {12, 15}, 3: {11, 13}, 4: set()}


def test_the_page_of_an_earlier_run_goes_to_nobody(graded: Classroom) -> None:
    failed = graded.read_entry().model_copy(
        update={"status": history.EntryStatus.UNGRADED, "message": "its worker died 3 times", "points": None}
    )
    with graded.find(history.NAME).open("a", encoding="utf-8") as file:
        file.write(f"{failed.model_dump_json()}\n")
    total = f'[[total]]\nstudent = "1"\npoints = 60\n{SIGNED}'
    made = graded.renew(overrides=graded.write("o.toml", total))
    (ada,) = (d for d in deliver(graded, made) if d.grade.student.canvas_id == 1)
    assert (ada.grade.points, ada.feedback, "The attached page" in ada.comment) == (60, None, False)
    assert "feedback.zip" not in {path.name for path in made.files}


PASSING = '[passing]\nchecks = ["step1.accuracy"]\npoints = 6\ngradebook = "complete"\n'
ROUNDS = {  # Ada's first notebook, the second; then her outcome, her cell, and what feedback lists as fixed and open
    "fixed": ("points 7", "points 10", "complete", "complete", ["Check run.works"], []),
    "still open": ("points 3", "points 4", "incomplete", "incomplete", [], ["Check run.works"]),
}


@pytest.mark.parametrize("case", ROUNDS.values(), ids=ROUNDS)
def test_a_correction_round(case: tuple[Any, ...], a4: Classroom) -> None:
    first, second, outcome, cell, fixed, still_open = case
    a4.grade({ADA: first, ALAN: "points 9"}, policy=a4.write("p.toml", PASSING.replace('"step1.accuracy"', "")))
    ended = a4.grade({"lovelaceada_1_12": second, ALAN: "points 9"})  # Canvas names another attachment
    ada = next(grade for grade in ended.outputs.grades if grade.student.canvas_id == 1)
    assert ada.since is not None
    assert (ada.outcome, list(ada.since.fixed), list(ada.since.still_open)) == (outcome, fixed, still_open)
    assert next(grade.since for grade in ended.outputs.grades if grade.student.canvas_id == 4) is None
    column = [line.split(",")[6] for line in (a4.folder / "gradebook.csv").read_text("utf-8").splitlines()[2:]]
    assert column == [cell, "", "EX", "complete", ""]
    page = a4.find("feedback.html", "lovelaceada_1_12").read_text(encoding="utf-8")
    assert "Since the attempt before" in page
    assert ("Not complete yet. Still needed: 6 points." in page) is (outcome == "incomplete")
    assert "Of the graded: " in session.describe_students(ended.outputs)


def test_a_pass_that_depends_on_what_was_not_judged_is_open(a4: Classroom) -> None:
    outputs = a4.grade({ADA: "unmeasured"}, policy=a4.write("p.toml", PASSING.replace("6", "5"))).outputs
    ada = next(grade for grade in outputs.grades if grade.student.canvas_id == 1)
    assert (ada.outcome, ada.lacking) == ("open", ("Check step1.accuracy",))
    assert any("it is open whether it is complete" in note for note in outputs.notes)
    with pytest.raises(GraderError, match=r"the rubric has no check 'step1.acuracy'; correct \[passing\]"):
        a4.renew(policy=a4.write("q.toml", PASSING.replace("accuracy", "acuracy")))


GIVEN = Conditions("checkpoint", "f" * 64, "reviews of A4_DATA")
REPEATED: dict[str, Callable[[Classroom], BatchResult]] = {
    "batch": lambda a4: a4.grade(),
    "rejudge": lambda a4: a4.rejudge(),
}


@pytest.mark.parametrize("again", REPEATED.values(), ids=REPEATED)
def test_a_shell_with_other_reviews_judges_nobody(
    again: Callable[[Classroom], BatchResult], a4: Classroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(session, "find_conditions", lambda request: GIVEN)
        a4.grade({ADA: "points 7"})
        assert "Reviews: reviews of A4_DATA (ffffffffffff)." in a4.shown.splitlines()
        again(a4)  # on the same ones
    before, known = a4.read_entry(), (a4.folder / "batch.json").read_bytes()
    said = r"graded on reviews of A4_DATA \(f{12}\), and this shell finds synthetic reviews .*export A4_DATA=.*OUT="
    with pytest.raises(GraderError, match=said):
        again(a4)
    assert (a4.read_entry(), (a4.folder / "batch.json").read_bytes()) == (before, known)
    assert a4.grade(folder=a4.root / "fresh").exit_code == 0


@pytest.mark.parametrize("again", REPEATED.values(), ids=REPEATED)
def test_a_class_that_does_not_say_its_reviews_takes_those_of_today(
    again: Callable[[Classroom], BatchResult], graded: Classroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = json.loads((graded.folder / "batch.json").read_text(encoding="utf-8"))
    del saved["request"]["reviews"]
    (graded.folder / "batch.json").write_text(json.dumps(saved), encoding="utf-8")
    notes = "\n".join(again(graded).outputs.notes)
    assert "not recorded on which reviews this class was graded; from now on it stays with synthetic reviews" in notes
    monkeypatch.setattr(session, "find_conditions", lambda request: GIVEN)
    with pytest.raises(GraderError, match="graded on synthetic reviews"):
        again(graded)


def test_a_batch_that_was_stopped_before_it_graded_binds_nobody_to_its_reviews(
    a4: Classroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(session, "_judge", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            a4.grade({ADA: "points 7"})
    monkeypatch.setattr(session, "find_conditions", lambda request: GIVEN)
    assert find_points(a4.grade().outputs) == 7
    assert find_points(a4.rejudge().outputs) == 7


SHARED = [
    pytest.param(True, {}, True, id="workers of this machine"),
    pytest.param(False, {}, False, id="workers of other machines"),
    pytest.param(True, {"execute": False}, False, id="nothing is executed"),
    pytest.param(True, {"sandboxed": False}, False, id="no sandbox is wanted"),
]


@pytest.mark.parametrize(("here", "changes", "expected"), SHARED)
def test_workers_of_this_machine_share_a_sandbox(
    here: bool, changes: dict[str, object], expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zygote = Sandbox(Backend.WARM, SandboxPolicy(), tmp_path / "zygote")
    monkeypatch.setattr(session, "start_sandbox", lambda profile, wanted: zygote)
    workers = WorkerSettings(open_cluster=Path, threads=1, local=here)
    with session.share_sandbox(make_config(tmp_path, **changes), workers) as shared:
        sent = BatchConfig.model_validate_json(shared.model_dump_json()).sandbox
    assert (sent is not None) == expected
    assert sent is None or attach(sent) == zygote
