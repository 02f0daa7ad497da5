"""What people decide on the page: it reaches the record and the outputs, and nobody overwrites unseen."""

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from grader.batch import outputs
from grader.batch.decisions import NAME, append_decision, read_decisions
from grader.batch.request import load_batch, save_batch
from grader.grades.decisions import Appeal, Comment, Matter, Origin, Reviewed, Rules, Rulings, list_in_force
from grader.grades.grade import Grade
from grader.grades.overrides import Override
from grader.grades.policy import GradingPolicy, ManualItem
from grader.intake.uploads import Student
from grader.model import Place, Verdict

from .classes import ADA, BO, COUNT, CY, DI, FORWARD, cell, display, make_class, make_result, stream, write_upload
from .test_app import PAGE, open_client

ORIGIN = {"origin": PAGE}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_class(tmp_path)


@pytest.fixture
def client(folder: Path) -> TestClient:
    return open_client(folder)


FILES = {ADA.key: f"{ADA.canvas_id:064x}", BO.key: f"{BO.canvas_id:064x}"}  # what counts, by its content


def decide(client: TestClient, student: Student = ADA, **form: str) -> Any:
    shown = {"sha256": FILES.get(student.key, "")}
    return client.post(f"/student/{student.code}", data={**shown, **form}, headers=ORIGIN)


def hand_in_again(folder: Path) -> None:
    """Put another notebook of Ada's in the place of the one that is there, as a batch does."""
    saved, sha256 = load_batch(folder), "c" * 64
    first, *others = saved.intake.uploads
    uploads = (first.model_copy(update={"sha256": sha256}), *others)
    write_upload(folder / "submissions" / first.id, make_result(first.id, Verdict.PASSED, sha256))
    save_batch(saved.request, saved.intake.model_copy(update={"uploads": uploads}))


def list_matters(folder: Path) -> list[Matter]:
    return [decision.matter for decision in list_in_force(read_decisions(folder))]


def settle(folder: Path) -> tuple[Rulings, tuple[Grade, ...]]:
    saved = load_batch(folder)
    return outputs.settle_class(saved.request, saved.intake, outputs.find_outcomes(saved.request, saved.intake))


def grade_class(folder: Path) -> dict[str, Grade]:
    return {grade.student.key: grade for grade in settle(folder)[1]}


def render_page(folder: Path) -> str:
    """Render what Ada reads."""
    from grader.reporting.feedback import render_feedback

    grade = grade_class(folder)[ADA.key]
    assert grade.result is not None
    return render_feedback(grade.result, grade)


def list_forms(page: str) -> list[str]:
    return re.findall(r"<form.*?</form>", page, re.DOTALL)


def last(folder: Path) -> Any:
    (decision,) = read_decisions(folder)
    assert (decision.origin, decision.matter.author) == (Origin.REVIEW, "ada")
    return decision.matter


SAVED: list[Any] = [
    pytest.param(
        {"act": "points", "about": FORWARD, "points": "6,5", "words": "right idea"},
        lambda m: isinstance(m, Override) and (m.target, m.points, m.reason) == (FORWARD, 6.5, "right idea"),
        id="points",
    ),
    pytest.param(
        {"act": "total", "points": "70", "words": "agreed"},
        lambda m: isinstance(m, Override) and (m.kind, m.points) == ("total", 70),
        id="total",
    ),
    pytest.param(
        {"act": "excuse", "words": "ill"},
        lambda m: isinstance(m, Override) and (m.kind, m.points) == ("excused", None),
        id="excused",
    ),
    pytest.param(
        {"act": "comment", "about": FORWARD, "words": "see\r\nthe paper"},
        lambda m: isinstance(m, Comment) and m.check == FORWARD,
        id="comment on a check",
    ),
    pytest.param({"act": "comment", "words": "well done"}, lambda m: m.text == "well done", id="comment"),
    pytest.param({"act": "review"}, lambda m: isinstance(m, Reviewed) and m.upload == ADA.key, id="reviewed"),
    pytest.param(
        {"act": "contest", "about": FORWARD, "words": "it is right"},
        lambda m: isinstance(m, Appeal) and (m.contests, m.answer) == (FORWARD, ""),
        id="appeal",
    ),
]


@pytest.mark.parametrize(("form", "expected"), SAVED)
def test_what_is_saved(form: dict[str, str], expected: Callable[[Any], bool], folder: Path, client: TestClient) -> None:
    assert decide(client, **form).status_code == 303
    assert expected(last(folder))


REFUSED = [
    pytest.param({}, "did not say what to save", id="nothing"),
    pytest.param({"act": "points", "about": FORWARD, "points": "9", "words": "x"}, "from 0 to 8; found", id="too many"),
    pytest.param({"act": "points", "about": FORWARD, "points": "nan", "words": "x"}, "from 0 to 8", id="not a number"),
    pytest.param({"act": "points", "about": FORWARD, "points": "-1", "words": "x"}, "from 0 to 8", id="negative"),
    pytest.param({"act": "points", "about": FORWARD, "points": "5", "words": " "}, "Write the reason", id="no reason"),
    pytest.param(
        {"act": "points", "about": FORWARD, "points": "", "words": "x"}, "8; the field is empty", id="no points"
    ),
    pytest.param({"act": "points", "about": "step9.x", "points": "5"}, "nothing of this name", id="check"),
    pytest.param({"act": "comment", "words": ""}, "Write what the student is to read", id="empty comment"),
    pytest.param({"act": "comment", "about": "step9.x", "words": "x"}, "no such check", id="comment on nothing"),
    pytest.param({"act": "comment", "words": "x" * 6000}, "6,000 characters", id="long"),
    pytest.param({"act": "answer", "about": FORWARD, "words": "no"}, "no such appeal", id="no appeal"),
    pytest.param({"act": "take-away", "about": "d1", "words": "x"}, "does not hold any more", id="no decision"),
]


@pytest.mark.parametrize(("form", "words"), REFUSED)
def test_what_is_refused_comes_back_with_the_words(
    form: dict[str, str], words: str, folder: Path, client: TestClient
) -> None:
    answer = decide(client, **form)
    assert answer.status_code in (409, 422)
    assert words in answer.text
    assert read_decisions(folder) == ()
    if form.get("about") == FORWARD and form["act"] == "points":
        assert f'value="{form["points"]}"' in answer.text  # nothing has to be typed again


def test_the_end_of_a_line_counts_once_and_a_longer_text_comes_back(folder: Path, client: TestClient) -> None:
    text = "\r\n".join(["x" * 99] * 50)  # 4,999 characters where it was typed, 5,048 as browsers send it
    answer = decide(client, act="comment", words=f"{text}yz")
    assert (answer.status_code, "5,001 characters" in answer.text, "xxyz</textarea>" in answer.text) == (
        422,
        True,
        True,
    )
    assert decide(client, act="comment", words=f"{text}y").status_code == 303
    assert last(folder).text == f"{text}y".replace("\r", "")


@pytest.mark.parametrize("act", ["comment", "total", "excuse"])
def test_what_is_refused_about_the_whole_stands_in_its_own_form(act: str, client: TestClient) -> None:
    (form,) = [form for form in list_forms(decide(client, act=act, points="9").text) if 'role="alert"' in form]
    assert re.findall(r'name="act" value="([\w-]+)"', form) == [act]
    assert ('value="9"' in form) is (act == "total")


def test_enter_in_a_field_of_points_saves_points(folder: Path, client: TestClient) -> None:
    """A browser then presses the first button of the form, with a script and without."""
    rules = GradingPolicy(manual=(ManualItem(id="report", title="Report", possible=10),))
    append_decision(folder, Rules(policy=rules, author="ada"), Origin.FILE)
    forms = [form for form in list_forms(client.get(f"/student/{ADA.code}").text) if 'name="points"' in form]
    assert {re.findall(r'name="act" value="([\w-]+)"', form)[0] for form in forms} == {"points", "manual", "total"}


def test_who_saw_an_older_page_is_told_and_keeps_what_was_typed(folder: Path, client: TestClient) -> None:
    append_decision(folder, Comment(student=str(ADA.canvas_id), text="first", author="Bo <b>"), Origin.REVIEW)
    form = {"act": "points", "about": FORWARD, "points": "5", "words": "my reason", "seen": ""}
    answer = decide(client, **form)
    assert answer.status_code == 409
    assert "Bo &lt;b&gt; decided about this student" in answer.text
    assert "my reason</textarea>" in answer.text
    assert len(read_decisions(folder)) == 1
    assert 'name="seen" value="d1"' in answer.text  # so that the next try is saved
    assert decide(client, **{**form, "seen": "d1"}).status_code == 303
    assert decide(client, BO, **form).status_code == 303  # somebody else's page is not out of date


def test_two_at_once_lose_nothing(folder: Path) -> None:
    """Of twenty who save on the same page at once, one is let through; the others are told."""
    clients = [open_client(folder) for _ in range(20)]
    found: list[int] = []

    def save(number: int) -> None:
        form = {"act": "comment", "words": f"comment {number}", "seen": ""}
        found.append(decide(clients[number], **form).status_code)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [303] + [409] * 19
    assert len(read_decisions(folder)) == 1


def test_a_decision_is_shown_and_can_be_taken_away(folder: Path, client: TestClient) -> None:
    decide(client, act="points", about=FORWARD, points="8", words="divides elsewhere")
    page = client.get(f"/student/{ADA.code}").text
    assert "changed by a person" in page
    assert "divides elsewhere" in page
    assert client.get(f"/?check={FORWARD}").text.count("/student/") == 0  # it passed now
    assert ADA.code in client.get("/?state=overridden").text
    assert decide(client, act="take-away", about="d1", words="", seen="d1").status_code == 422
    assert decide(client, act="take-away", about="d1", words="a mistake", seen="d1").status_code == 303
    assert list_matters(folder) == []
    assert ADA.code in client.get(f"/?check={FORWARD}").text


@pytest.mark.parametrize("form", [{"act": "review"}, {"act": "comment", "words": "well done"}], ids=["mark", "words"])
def test_a_page_that_shows_an_attempt_before_saves_nothing(
    form: dict[str, str], folder: Path, client: TestClient
) -> None:
    hand_in_again(folder)
    answer = decide(client, **form)
    assert (answer.status_code, read_decisions(folder)) == (409, ())
    assert "Another file of this student counts" in answer.text
    assert f'name="sha256" value="{"c" * 64}"' in answer.text  # so that the next try is saved
    assert decide(client, **form, sha256="c" * 64).status_code == 303


def test_the_notebook_of_a_new_file_replaces_the_one_on_an_open_page(folder: Path, client: TestClient) -> None:
    open_page = {"hx-request": "true", **ORIGIN}
    address, form = f"/student/{ADA.code}", {"act": "review", "sha256": FILES[ADA.key]}
    hand_in_again(folder)
    assert 'id="executed" hx-swap-oob="true"' in client.post(address, data=form, headers=open_page).text
    saved = client.post(address, data={**form, "sha256": "c" * 64}, headers=open_page)
    assert (saved.status_code, 'id="executed"' in saved.text) == (200, False)


def test_what_is_handed_in_again_under_the_same_name_is_not_reviewed(folder: Path, client: TestClient) -> None:
    decide(client, act="review")
    assert ADA.code in client.get("/?state=reviewed").text
    hand_in_again(folder)
    assert ADA.code not in client.get("/?state=reviewed").text


EARLIER = [
    pytest.param({"act": "points", "about": FORWARD, "points": "2", "words": "shape"}, f"{FORWARD}: 2", id="check"),
    pytest.param({"act": "total", "points": "5", "words": "copied"}, "total: 5 points", id="total"),
    pytest.param({"act": "excuse", "words": "ill"}, "excused", id="excused"),
]


@pytest.mark.parametrize(("form", "said"), EARLIER)
def test_a_change_made_for_an_earlier_file_holds_and_is_named(
    form: dict[str, str], said: str, folder: Path, client: TestClient
) -> None:
    state = "/?state=decided+for+an+earlier+file"
    decide(client, **form)
    assert (last(folder).made_for, ADA.code in client.get(state).text) == ((FILES[ADA.key],), False)
    hand_in_again(folder)
    note = settle(folder)[0].notes[-1]
    assert note.startswith("Decision d1 was made for an earlier file of Ada Ek, and holds for the file that counts now")
    assert said in note
    assert "Made for an earlier file, and in force: d1" in grade_class(folder)[ADA.key].note
    assert ADA.code in client.get(state).text
    decide(client, **form, seen="d1", sha256="c" * 64)  # now it is made for this file
    assert (settle(folder)[0].notes, ADA.code in client.get(state).text) == ((), False)


def test_a_student_does_not_read_for_which_file_a_change_was_made(folder: Path, client: TestClient) -> None:
    decide(client, act="points", about=FORWARD, points="2", words="shape")
    saved = load_batch(folder)
    refusal = saved.intake.refusals[0].model_copy(update={"student": ADA, "sha256": "e" * 64})
    changes = {"uploads": saved.intake.uploads[1:], "refusals": (refusal,)}
    save_batch(saved.request, saved.intake.model_copy(update=changes))
    rulings, grades = settle(folder)
    assert "made for an earlier file of Ada Ek" in rulings.notes[-1]
    assert [grade.note for grade in grades if grade.student == ADA] == [refusal.reason]


def test_a_mark_of_an_earlier_version_counts(folder: Path, client: TestClient) -> None:
    append_decision(folder, Reviewed(student=ADA.key, upload=ADA.key, author="M"), Origin.REVIEW)
    assert ADA.code in client.get("/?state=reviewed").text


STATES = [
    pytest.param({"act": "review"}, "reviewed", id="reviewed"),
    pytest.param({"act": "contest", "about": COUNT, "words": "x"}, "open appeal", id="open appeal"),
    pytest.param({"act": "comment", "words": "x"}, "commented", id="commented"),
]


@pytest.mark.parametrize(("form", "state"), STATES)
def test_states_follow_what_is_decided(form: dict[str, str], state: str, client: TestClient) -> None:
    assert ADA.code not in client.get(f"/?state={state}").text
    decide(client, **form)
    assert ADA.code in client.get(f"/?state={state}").text


def test_an_appeal_is_answered(folder: Path, client: TestClient) -> None:
    decide(client, act="contest", about=FORWARD, words="it is right")
    decide(client, act="answer", about=FORWARD, words="it is not", seen="d1")
    (matter,) = list_matters(folder)
    assert isinstance(matter, Appeal)
    assert (matter.claim, matter.answer) == ("it is right", "it is not")
    assert ADA.code not in client.get("/?state=open+appeal").text


@pytest.mark.parametrize("check", [FORWARD, COUNT], ids=["failed", "passed"])
def test_the_answer_to_an_appeal_reaches_the_student(check: str, folder: Path, client: TestClient) -> None:
    decide(client, act="contest", about=check, words="it is <right>")
    before = render_page(folder)
    decide(client, act="answer", about=check, words="it is <not>", seen="d1")
    at_the_check = render_page(folder).split(f'id="check-{check}"')[1]
    assert "it is &lt;right&gt;" in at_the_check
    assert "it is &lt;not&gt;" in at_the_check
    assert "it is &lt;right&gt;" not in before  # what is open is not answered
    (grade,) = [grade for key, grade in grade_class(folder).items() if key == ADA.key]
    assert "Your appeal about" in outputs.format_comment(grade, has_page=True)
    assert "is answered: it is <not>" in outputs.format_comment(grade, has_page=False)
    decide(client, act="take-away", about="d2", words="a mistake", seen="d2")
    assert render_page(folder) == before


def test_comments_and_reasons_reach_the_student(folder: Path, client: TestClient) -> None:
    decide(client, act="points", about=FORWARD, points="6", words="nearly <right>")
    decide(client, act="comment", words="look at <alpha>", seen="d1")
    decide(client, act="comment", about=FORWARD, words="on this check", seen="d2")
    decide(client, CY, act="comment", words="hand in again")
    grades = grade_class(folder)
    assert grades[ADA.key].points == 14
    from grader.reporting.feedback import render_refusal

    page = render_page(folder)
    for text in ("nearly &lt;right&gt;", "look at &lt;alpha&gt;", "on this check"):
        assert text in page
    assert "look at <alpha>" in outputs.format_comment(grades[ADA.key], has_page=True)
    assert "hand in again" in render_refusal(grades[CY.key])


def test_words_reach_those_without_points_and_nothing_else_does(folder: Path, client: TestClient) -> None:
    assert outputs.format_comment(grade_class(folder)[DI.key], has_page=False) == ""
    decide(client, DI, act="comment", words="hand in by Friday")
    decide(client, DI, act="comment", about=COUNT, words="see exercise 1", seen="d1")
    assert outputs.format_comment(grade_class(folder)[DI.key], has_page=False) == (
        f"hand in by Friday\nAbout '{COUNT}': see exercise 1"
    )


def test_an_excused_student_is_told_of_the_page_where_something_is_written_on_it(
    folder: Path, client: TestClient
) -> None:
    decide(client, act="excuse", words="ill")
    assert outputs.format_comment(grade_class(folder)[ADA.key], has_page=True) == ""
    decide(client, act="comment", about=FORWARD, words="on this check", seen="d1")
    assert outputs.format_comment(grade_class(folder)[ADA.key], has_page=True) == outputs.ATTACHED


def test_what_is_not_written_yet_is_said_until_it_is(
    folder: Path, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not yet in gradebook" not in client.get("/").text
    decide(client, act="comment", words="x")
    assert "1 decision is saved, and not yet in gradebook" in client.get("/").text
    saved = load_batch(folder)
    monkeypatch.setattr(outputs, "render_pages", lambda *rest: {})
    outputs.hand_out(saved.request, saved.intake)
    assert "not yet in gradebook" not in client.get("/").text


def name_files_after_students(folder: Path) -> None:
    """Let Ada and Bo hand in files with their names in them, and in the notebooks; Cy's is refused with its name."""
    saved = load_batch(folder)
    ada, bo = saved.intake.uploads
    names = {"entry": "ekada_1_77_Ada Ek final.ipynb", "display_name": "Ada Ek final.ipynb"}
    again = ada.model_copy(update={**names, "id": f"{ADA.key}-2", "sha256": "d" * 64})
    cells = (
        cell("# Report of Ada_Ek, ekada@example.org", kind="markdown"),
        cell(
            "open('Ada Ek final.ipynb')  # Ek, Ada",
            stream("/home/ada_1/Ada%20Ek%20final.ipynb\n"),
            display(text_plain="AdaEk"),
        ),
    )
    result = make_result(again.id, Verdict.FAILED, "d" * 64)
    told = {"rationale": "Expected 'Ada Ek final.ipynb'.", "hint": "Ask Ada Ek."}
    place = Place(cell=1, line=1, source="open('Ada Ek final.ipynb')")
    checks = [check.model_copy(update={**told, "place": place}) for check in result.checks]
    write_upload(folder / "submissions" / again.id, result.model_copy(update={"checks": tuple(checks)}), cells)
    refused = {"entry": "ekcy_3_78_Cy_Ek.zip", "reason": "'Cy_Ek.zip' holds no notebook, only 'Ek/private.pdf'."}
    intake = saved.intake.model_copy(
        update={
            "uploads": (ada, again, bo),
            "refusals": (saved.intake.refusals[0].model_copy(update=refused),),
            "concerns": {"Bo Ek": "Bo Ek handed in two."},
        }
    )
    save_batch(saved.request, intake)
    (folder / "store").mkdir(exist_ok=True)
    (folder / "store" / outputs.ALIKE).write_text(json.dumps([[again.id, bo.id]]), encoding="utf-8")


NAMES = re.compile(
    r"\bek[\W_]{0,3}(ada|bo|cy)|(ada|bo|cy)(%20|[\W_]){0,3}ek\b|(ada|bo|cy|gone)_\d|private", re.IGNORECASE
)


def test_hide_names(folder: Path, client: TestClient) -> None:
    name_files_after_students(folder)
    append_decision(folder, Comment(student="gone_9", text="x", author="Åsa"), Origin.FILE)  # a note names the key
    decide(client, act="contest", about=FORWARD, words="I, Ada Ek, am right", sha256="d" * 64)
    for address in ("/", f"/student/{ADA.code}", f"/student/{CY.code}"):
        assert NAMES.search(client.get(address).text)
    form = {"author": "Åsa", "blind": "1", "code": ADA.code, "query": "state=graded&find=Ada+Ek"}
    answer = client.post("/settings", data=form, headers=ORIGIN)
    assert answer.headers["location"] == f"/student/{ADA.code}?state=graded"
    decide(client, CY, act="comment", words="look at Cy_Ek.zip")
    students = (*(f"/student/{one.code}" for one in (ADA, BO, CY)), f"/student/{ADA.code}?file=2")
    for address in ("/", "/?state=refused", "/outputs", "/nowhere", *students):
        page = client.get(address).text
        assert [found.group() for found in NAMES.finditer(page)] == []
        assert "Åsa" in page or address in ("/outputs", "/nowhere")
    assert f"Student {ADA.code}" in client.get("/").text
    assert ADA.code not in client.get("/?find=Ada").text


def test_hidden_names_leave_a_refused_draft_as_it_is(folder: Path, client: TestClient) -> None:
    client.cookies.set("blind", "1")
    answer = decide(client, act="points", about=FORWARD, points="99", words="what Ada Ek says")
    assert "what Ada Ek says</textarea>" in answer.text


def test_settings_lead_nowhere_else(client: TestClient) -> None:
    form = {"code": "//evil.example", "query": "state=//evil.example"}
    assert client.post("/settings", data=form, headers=ORIGIN).headers["location"] == "/"


def test_a_flood_is_not_read(folder: Path, client: TestClient) -> None:
    assert decide(client, act="comment", words="x" * 100_000).status_code == 413
    assert client.post(f"/student/{ADA.code}", content=b"\xff=%ff", headers=ORIGIN).status_code == 400
    assert not (folder / NAME).exists()
