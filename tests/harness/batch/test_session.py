"""From a zip of Canvas to everything that goes back, with fake kernels; and the sentences at the end."""

import html
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from grader.batch import digests, executor, history, session
from grader.batch.messages import BatchConfig
from grader.batch.outputs import BatchOutputs
from grader.batch.request import BatchRequest
from grader.batch.scheduling import Conditions
from grader.batch.session import BatchResult, WorkerSettings
from grader.batch.store import Store
from grader.cli.batch import derive_class_name
from grader.errors import GraderError
from grader.grades.grade import Standing
from grader.model import Profile
from grader.paths import ROOT
from grader.sandbox import Backend, Sandbox, SandboxPolicy, attach
from tests.harness.batch.fakes import HERE, Inline, order

NOTEBOOK = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}}
EXPORT = """\
Student,ID,SIS User ID,SIS Login ID,Section,A4 (77),Current Score
    Points Possible,,,,,10,(read only)
"Lovelace, Ada",1,S1,ada,DAT,5,
"Öberg, Åsa",2,S2,asa,DAT,,
"Hopper, Grace",3,S3,grace,DAT,EX,
"Turing, Alan",4,S4,alan,DAT,4,
"Student, Test",9,,test,DAT,,
"""


def handed_in(path: Path, **texts: str) -> Path:
    """A Canvas archive: first line of each file by the owner and ids in its name."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in texts.items():
            archive.writestr(f"{name}_x.ipynb", text)
    return path


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> WorkerSettings:
    """Everything in this process, without Dask."""

    @contextmanager
    def connected(cluster: object, order: BatchConfig, *_: Any) -> Iterator[Inline]:
        yield Inline(order)

    @contextmanager
    def nobody() -> Iterator[None]:
        yield None

    def circumstances(request: BatchRequest) -> Conditions:
        return HERE

    monkeypatch.setattr(executor, "connect", connected)
    monkeypatch.setattr(session, "find_conditions", circumstances)
    return WorkerSettings(open_cluster=nobody, threads=1)


def request(folder: Path, **changes: Any) -> BatchRequest:
    (folder / "export.csv").write_text(EXPORT, encoding="utf-8")
    plain = BatchRequest(
        source=folder / "a4.zip",
        folder=folder / "results",
        profile=Profile.STRUCTURE,
        gradebook=folder / "export.csv",
    )
    return plain.model_copy(update=changes)


def graded(wanted: BatchRequest, workers: WorkerSettings) -> tuple[BatchResult, str]:
    text = io.StringIO()
    ended = session.run_batch(wanted, workers, Console(file=text, width=200))
    return ended, text.getvalue()


def test_a_class(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(
        tmp_path / "a4.zip",
        lovelaceada_1_11="points 7",
        öbergåsa_LATE_2_12="no notebook",
        turingalan_4_14=f"broken {tmp_path / 'tries'} 99",
    )
    ended, shown = graded(request(tmp_path), inline)
    folder = tmp_path / "results"
    assert ended.exit_code == 2
    assert {"index.html", "similar.html", "gradebook.csv", "feedback.zip", "checks.csv", "checks.json"} <= {
        path.name for path in folder.iterdir()
    }
    column = [line.split(",")[6] for line in (folder / "gradebook.csv").read_text("utf-8").splitlines()[2:]]
    assert column == ["7.00", "", "EX", "4", ""]  # what is ungraded keeps its old value
    with zipfile.ZipFile(folder / "feedback.zip") as archive:
        assert archive.namelist() == ["lovelaceada_1_11_x.ipynb", "öbergåsa_LATE_2_12_x.ipynb"]
        assert "7 of 10" not in (refused := archive.read("öbergåsa_LATE_2_12_x.ipynb").decode())
        assert "'x.ipynb' is no notebook." in html.unescape(refused)
    assert sorted(path.name for path in (folder / "gradescope").iterdir()) == [
        "lovelaceada_1.json",
        "turingalan_4.json",
        "öbergåsa_2.json",
    ]
    assert "turingalan_4_14: ungraded at stage execute: " in shown
    assert "'x.ipynb' is no notebook." in shown


def test_a_class_without_problems_ends_with_0_and_says_where_things_are(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7", öbergåsa_2_12="no notebook")
    ended, _ = graded(request(tmp_path), inline)
    assert ended.exit_code == 0
    assert str(tmp_path / "results") in "\n".join(session.list_last_lines(ended, tmp_path / "results", quiet=True))
    assert "2 uploads: 1 graded now (1 executed), 1 refused. 4 students." in summarise(ended)


def test_quiet_says_only_what_is_wrong(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7", turingalan_4_14=f"broken {tmp_path / 'tries'} 99")
    text = io.StringIO()
    session.run_batch(request(tmp_path), inline, Console(file=text, width=200), quiet=True)
    lines = text.getvalue().splitlines()
    assert len(lines) == 3  # three tries
    assert all("turingalan_4_14" in line for line in lines)


def test_judging_again_needs_the_folder_alone(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7")
    graded(request(tmp_path), inline)
    (tmp_path / "a4.zip").unlink()
    ended = session.rejudge(tmp_path / "results", inline, Console(file=io.StringIO()))
    assert (ended.exit_code, ended.summary.executed, ended.summary.done_before) == (0, 0, 1)


def change_code(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """As if a file had been edited that these digests stand for."""
    now = {**digests._digest_all(ROOT), **changes}
    monkeypatch.setattr(digests, "_digest_all", lambda root: now)


def find_outdated(handed: BatchOutputs) -> list[str]:
    return [note for note in handed.notes if "than today's" in note]


def read_entry(folder: Path) -> history.HistoryEntry:
    entry = history.read_last(folder / "results" / "submissions" / "lovelaceada_1_11")
    assert entry is not None
    return entry


def test_evidence_of_other_code_is_never_taken_for_new(
    tmp_path: Path, inline: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7", öbergåsa_2_12="no notebook")
    graded(request(tmp_path), inline)
    before = read_entry(tmp_path).depends[digests.EXECUTION]
    change_code(monkeypatch, execution="f" * 32, judge="e" * 32)
    again = session.rejudge(tmp_path / "results", inline, Console(file=io.StringIO()))
    (note,) = find_outdated(again.outputs)
    assert note == (
        f"1 of 1 uploads were executed by other code than today's ({before[:8]}; today's is ffffffff): their verdicts "
        "are today's, their evidence is not. Run `make batch` again to execute them."
    )
    assert "1 executed by other code than today's" in session.format_summary(again)
    assert "executed by other code" in (tmp_path / "results" / "index.html").read_text(encoding="utf-8")
    assert (again.summary.executed, read_entry(tmp_path).why) == (0, "judge changed")
    assert read_entry(tmp_path).depends == {**digests.digest_judging(ROOT), digests.EXECUTION: before}
    newly, _ = graded(request(tmp_path), inline)
    assert (newly.summary.executed, find_outdated(newly.outputs), newly.outputs.outdated) == (1, [], 0)
    assert (read_entry(tmp_path).why, read_entry(tmp_path).depends[digests.EXECUTION]) == (
        "execution changed",
        "f" * 32,
    )


def test_a_history_that_does_not_say_what_executed(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7")
    graded(request(tmp_path), inline)
    path = tmp_path / "results" / "submissions" / "lovelaceada_1_11" / history.NAME
    line = json.loads(path.read_text(encoding="utf-8"))
    del line["depends"][digests.EXECUTION]
    path.write_text(json.dumps(line), encoding="utf-8")
    again = session.rejudge(tmp_path / "results", inline, Console(file=io.StringIO()))
    assert "(not noted; today's is " in find_outdated(again.outputs)[0]
    assert points(again.outputs, 1) == 7


def test_verdicts_of_another_suite_are_handed_out_with_a_note(
    tmp_path: Path, inline: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7")
    graded(request(tmp_path), inline)
    change_code(monkeypatch, suite="f" * 32)
    _, handed = session.renew_outputs(tmp_path / "results", {})
    (note,) = find_outdated(handed)
    assert note.startswith("1 of 1 uploads were judged by other tests, points or code than today's.")
    again = session.rejudge(tmp_path / "results", inline, Console(file=io.StringIO()))
    assert find_outdated(again.outputs) == []


def test_another_policy_is_handed_out_without_judging(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_LATE_1_11="points 7")
    graded(request(tmp_path), inline)
    policy = tmp_path / "policy.toml"
    policy.write_text('[late]\nunit = "points"\nflat = 2\n', encoding="utf-8")
    _, handed = session.renew_outputs(tmp_path / "results", {"policy": policy})
    ada = next(grade for grade in handed.grades if grade.student.canvas_id == 1)
    assert ada.points == 5
    page = (tmp_path / "results" / "submissions" / "lovelaceada_1_11" / "feedback.html").read_text(encoding="utf-8")
    assert "5 of 10" in page or "5 / 10" in page or "−2" in page


def test_what_was_handed_out_last_is_what_later_commands_know(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_LATE_1_11="points 7")
    graded(request(tmp_path), inline)
    policy = tmp_path / "policy.toml"
    policy.write_text('[late]\nunit = "points"\nflat = 2\n', encoding="utf-8")
    session.renew_outputs(tmp_path / "results", {"policy": policy})
    _, handed = session.renew_outputs(tmp_path / "results", {})
    again = session.rejudge(tmp_path / "results", inline, Console(file=io.StringIO())).outputs
    assert [points(given, 1) for given in (handed, again)] == [5, 5]


def points(handed: BatchOutputs, canvas_id: int) -> float | None:
    return next(grade.points for grade in handed.grades if grade.student.canvas_id == canvas_id)


def test_a_class_with_a_folder_for_each_student(tmp_path: Path, inline: WorkerSettings) -> None:
    for number, name in enumerate(("ada", "alan"), 5):
        (tmp_path / "class" / name).mkdir(parents=True)
        (tmp_path / "class" / name / "assignment.ipynb").write_text(f"points {number}", encoding="utf-8")
    ended, _ = graded(request(tmp_path, source=tmp_path / "class"), inline)
    assert (points(ended.outputs, 1), points(ended.outputs, 4)) == (5, 6)
    assert "feedback.zip" not in {path.name for path in ended.outputs.files}  # Canvas would take nothing of it


def test_points_for_a_check_that_failed_through_our_fault_stand_in_the_report(
    tmp_path: Path, inline: WorkerSettings
) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="unjudged")
    ended, _ = graded(request(tmp_path), inline)
    changes = tmp_path / "overrides.toml"
    changes.write_text('[[total]]\nstudent = "1"\npoints = 9\nauthor = "M"\nreason = "seen by hand"\n', "utf-8")
    _, handed = session.renew_outputs(tmp_path / "results", {"overrides": changes})
    page = (tmp_path / "results" / "submissions" / "lovelaceada_1_11" / "feedback.html").read_text(encoding="utf-8")
    assert (ended.exit_code, points(handed, 1)) == (2, 9)
    assert "seen by hand" in page
    again, _ = graded(request(tmp_path), inline)
    assert again.summary.done_before == 0  # our fault is looked into again, whatever is stored


def test_another_notebook_has_no_grade_before_it_was_graded(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7", turingalan_4_14="no notebook")
    graded(request(tmp_path), inline)
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="full", turingalan_4_14="full")
    with pytest.raises(GraderError, match="No space left"):
        graded(request(tmp_path), inline)
    _, handed = session.renew_outputs(tmp_path / "results", {})
    standings = {grade.student.canvas_id: grade.standing for grade in handed.grades}
    assert (standings[1], standings[4]) == (Standing.UNGRADED, Standing.UNGRADED)


@pytest.mark.parametrize("changes", [{"seed": 3}, {"profile": Profile.QUICK}], ids=["seed", "profile"])
def test_what_was_graded_in_another_way_is_no_grade(
    changes: dict[str, Any], tmp_path: Path, inline: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7")
    graded(request(tmp_path), inline)
    monkeypatch.setattr(session, "_grade", interrupted)
    with pytest.raises(KeyboardInterrupt):
        graded(request(tmp_path, **changes), inline)
    _, handed = session.renew_outputs(tmp_path / "results", {})
    assert points(handed, 1) is None


def test_what_was_graded_in_another_way_is_not_judged_again(
    tmp_path: Path, inline: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7")
    graded(request(tmp_path), inline)
    with monkeypatch.context() as patch:
        patch.setattr(session, "_grade", interrupted)
        with pytest.raises(KeyboardInterrupt):
            graded(request(tmp_path, seed=3), inline)
    with pytest.raises(GraderError, match=r"1 of 1 uploads were graded with profile structure and seed 0.*seed 3"):
        session.rejudge(tmp_path / "results", inline, Console(file=io.StringIO()))


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["lost", "empty"])
def test_a_lost_result_is_written_again_from_the_store(tmp_path: Path, inline: WorkerSettings, lose: Any) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7")
    graded(request(tmp_path), inline)
    result = tmp_path / "results" / "submissions" / "lovelaceada_1_11" / "result.json"
    before = result.read_bytes()
    lose(result)
    again, _ = graded(request(tmp_path), inline)
    assert (again.summary.executed, points(again.outputs, 1)) == (0, 7)
    assert result.read_bytes() == before


def test_files_of_an_earlier_run_do_not_stay(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7")
    graded(request(tmp_path), inline)
    later, _ = graded(request(tmp_path, gradebook=None), inline)
    assert not (tmp_path / "results" / "gradebook.csv").exists()
    assert "gradebook.csv was of an earlier run, and is removed." in later.outputs.notes


def test_gradescope_hears_what_people_changed(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7", turingalan_4_14="points 5")
    signed = 'author = "M"\nreason = "seen"\n'
    (tmp_path / "o.toml").write_text(
        f'[[total]]\nstudent = "1"\npoints = 70\n{signed}[[excused]]\nstudent = "4"\n{signed}', encoding="utf-8"
    )
    graded(request(tmp_path, overrides=tmp_path / "o.toml"), inline)
    folder = tmp_path / "results" / "gradescope"
    found = json.loads((folder / "lovelaceada_1.json").read_text(encoding="utf-8"))
    assert (found["score"], "Total set to 70 points. seen" in found["output"]) == (70, True)
    assert [path.name for path in folder.iterdir()] == ["lovelaceada_1.json"]


def test_a_source_with_nothing_in_it_is_one_sentence(tmp_path: Path, inline: WorkerSettings) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(GraderError, match="holds nothing that was handed in"):
        graded(request(tmp_path, source=tmp_path / "empty"), inline)


def test_results_inside_of_the_source_are_not_handed_in(tmp_path: Path, inline: WorkerSettings) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "lovelaceada_1_11_x.ipynb").write_text("points 7", encoding="utf-8")
    places = {"source": tmp_path / "class", "folder": tmp_path / "class" / "results" / "class"}
    inside = request(tmp_path).model_copy(update=places)
    first, _ = graded(inside, inline)
    again, _ = graded(inside, inline)
    assert (first.summary.total, again.summary.total, again.summary.done_before) == (1, 1, 1)


@pytest.mark.parametrize(
    ("source", "name"),
    [("a4.zip", "a4"), ("a4 (1).zip", "a4"), ("HT26.groupA", "HT26.groupA")],
    ids=["zip", "downloaded again", "folder with a point"],
)
def test_the_name_of_a_class(source: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / source
    path.touch() if path.suffix == ".zip" else path.mkdir()
    assert derive_class_name(path) == name


def interrupted(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


def test_nothing_is_handed_out_while_a_batch_is_at_work(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7")
    graded(request(tmp_path), inline)
    with (
        Store(tmp_path / "results" / "store").lock(),
        pytest.raises(GraderError, match="Another batch is at work"),
    ):
        session.renew_outputs(tmp_path / "results", {})


TWO = EXPORT.replace("A4 (77)", "A3 (76),A4 (77)").replace(",10,(read only)", ",10,10,(read only)")
WRONG_FILES = [
    pytest.param("export.csv", TWO, {}, "does not tell which column to fill", id="two columns"),
    pytest.param("policy.toml", "[late", {"policy": "policy.toml"}, "it is not TOML", id="policy"),
    pytest.param("gone", "", {"policy": "nowhere.toml"}, "Cannot read the policy", id="no policy"),
    pytest.param("o.toml", "[[total]]", {"overrides": "o.toml"}, "Cannot use the overrides", id="overrides"),
    pytest.param("t.csv", "who,when", {"times": "t.csv"}, "Cannot use the times", id="times"),
    pytest.param("gone", "", {"gradebook": "nowhere.csv"}, "Cannot read .*nowhere.csv", id="no gradebook"),
]


@pytest.mark.parametrize(("name", "text", "changes", "says"), WRONG_FILES)
def test_what_is_wrong_with_a_file_is_said_before_anything_is_graded(
    name: str, text: str, changes: dict[str, str], says: str, tmp_path: Path, inline: WorkerSettings
) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7")
    wanted = request(tmp_path, **{key: tmp_path / value for key, value in changes.items()})
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(GraderError, match=says):
        graded(wanted, inline)
    assert not (tmp_path / "results" / "submissions").exists()


def test_an_export_that_was_moved_is_one_sentence(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7")
    graded(request(tmp_path), inline)
    (tmp_path / "export.csv").unlink()
    with pytest.raises(GraderError, match=r"Cannot read .*export.csv \(No such file or directory\); check the path"):
        session.renew_outputs(tmp_path / "results", {})


def test_a_file_where_the_folder_should_be_is_one_sentence(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7")
    (tmp_path / "results").write_text("a file", encoding="utf-8")
    with pytest.raises(GraderError, match="Cannot write to"):
        graded(request(tmp_path), inline)


def test_a_full_disk_is_one_sentence(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="full", turingalan_4_14="points 7")
    with pytest.raises(GraderError, match=r"No space left on device.*2 of 2 uploads wait"):
        graded(request(tmp_path), inline)


def test_nothing_was_graded_here(tmp_path: Path) -> None:
    with pytest.raises(GraderError, match="holds no class that was graded"):
        session.renew_outputs(tmp_path, {})


def test_the_result_is_the_one_of_the_schema(tmp_path: Path, inline: WorkerSettings) -> None:
    handed_in(tmp_path / "a4.zip", lovelaceada_1_11="points 7")
    graded(request(tmp_path), inline)
    path = tmp_path / "results" / "submissions" / "lovelaceada_1_11" / "result.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (found["schema"], found["submission"]["name"]) == (1, "lovelaceada_1_11")


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
    for part in ("resolve_checkpoint", "prepare_metrics"):
        monkeypatch.setattr(session, part, lambda *arguments: None)
    monkeypatch.setattr(session, "open_sandbox", lambda *arguments, **options: zygote)
    wanted = order(tmp_path, **changes)
    with session.share_sandbox(wanted, WorkerSettings(open_cluster=Path, threads=1, local=here)) as shared:
        sent = BatchConfig.model_validate_json(shared.model_dump_json()).sandbox
    assert (sent is not None) == expected
    assert sent is None or attach(sent) == zygote
