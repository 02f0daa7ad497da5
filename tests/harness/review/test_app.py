"""The review page without a browser: what it shows, and whom it answers."""

import json
import re
import socket
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from grader.batch.outputs import ALIKE
from grader.model import Verdict
from grader.review.app import build_app
from grader.review.server import open_socket, serve
from tests.harness.reporting import hostile

from .classes import (
    ADA,
    BO,
    COUNT,
    CY,
    DI,
    FORWARD,
    cell,
    display,
    make_class,
    make_correction_round,
    make_result,
    stream,
    write_upload,
)

TOKEN = "a-token"
PAGE = "http://127.0.0.1:8470"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_class(tmp_path)


def open_client(folder: Path, token: str = TOKEN) -> TestClient:
    client = TestClient(build_app(folder, TOKEN, "ada"), base_url=PAGE, follow_redirects=False)
    if token:
        client.get("/", params={"token": token})
    return client


@pytest.fixture
def client(folder: Path) -> TestClient:
    return open_client(folder)


def test_the_token_becomes_a_cookie_and_leaves_the_address(folder: Path) -> None:
    client = open_client(folder, token="")
    answer = client.get(f"{PAGE}//evil.example/x?token={TOKEN}&state=graded")
    assert (answer.status_code, answer.headers["location"]) == (303, "/evil.example/x?state=graded")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert client.get("/").status_code == 200


def test_who_opens_the_address_as_soon_as_it_is_printed_is_not_refused() -> None:
    with open_socket(0) as found, socket.create_connection(found.getsockname(), timeout=5):
        pass


def test_ctrl_c_ends_the_page_and_is_no_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("uvicorn.Server.run", press)
    serve(folder)


STRANGERS = [
    pytest.param({}, "GET", "/", {}, 403, id="no token"),
    pytest.param({}, "GET", "/?token=other", {}, 403, id="another token"),
    pytest.param({}, "GET", "/review.js", {}, 403, id="no token, a file"),
    pytest.param({"own": TOKEN}, "GET", "/", {"host": "evil.example:8470"}, 403, id="a name that points here"),
    pytest.param({"own": TOKEN}, "GET", "/", {"host": "["}, 403, id="no name at all"),
    pytest.param({"own": TOKEN}, "GET", "/", {"host": "localhost:99"}, 200, id="through a tunnel"),
    pytest.param({"own": TOKEN}, "POST", "/", {"origin": "http://evil.example"}, 403, id="another site's form"),
    pytest.param({"own": TOKEN}, "POST", "/", {"origin": "null"}, 403, id="a form from nowhere"),
    pytest.param({"own": TOKEN}, "POST", "/", {}, 403, id="no origin"),
    pytest.param({"own": TOKEN}, "POST", "/", {"origin": "http://127.0.0.1:9"}, 403, id="another server here"),
    pytest.param({"own": TOKEN}, "POST", "/", {"origin": PAGE}, 405, id="ours"),
]


@pytest.mark.parametrize(("token", "method", "path", "headers", "status"), STRANGERS)
def test_who_is_answered(
    token: dict[str, str], method: str, path: str, headers: dict[str, str], status: int, folder: Path
) -> None:
    answer = open_client(folder, token.get("own", "")).request(method, path, headers=headers)
    assert answer.status_code == status
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert ADA.name not in answer.text or status == 200


PATHS = ["../batch.json", "..%2fbatch.json", "%2e%2e%2fbatch.json", ADA.key, "..\\batch.json", "%00", "a" * 5000]


@pytest.mark.parametrize("path", PATHS)
def test_no_address_is_a_path(path: str, client: TestClient) -> None:
    for address in (f"/student/{path}", f"/{path}", f"/student/{ADA.code}?file={path}"):
        answer = client.get(address)
        assert answer.status_code == 404
        assert "request" not in answer.text


SELECTIONS = [
    pytest.param("", {ADA, BO, CY, DI}, id="everybody"),
    pytest.param(f"check={FORWARD}", {ADA}, id="all who failed this one"),
    pytest.param(f"check={FORWARD}&verdict=passed", {BO}, id="all who passed it"),
    pytest.param("state=refused", {CY}, id="refused"),
    pytest.param("state=missing", {DI}, id="missing"),
    pytest.param("state=nonsense", {ADA, BO, CY, DI}, id="unknown state"),
    pytest.param("find=ADA+ek", {ADA}, id="a name"),
    pytest.param(f"find={BO.code}", {BO}, id="a code"),
    pytest.param("find=nobody", set(), id="nobody"),
]


@pytest.mark.parametrize(("query", "expected"), SELECTIONS)
def test_filters(query: str, expected: set[object], client: TestClient) -> None:
    page = client.get(f"/?{query}").text
    assert {one for one in (ADA, BO, CY, DI) if f"/student/{one.code}" in page} == expected
    rows = client.get(f"/?{query}", headers={"hx-target": "rows"}).text
    assert "<html" not in rows
    assert rows.strip() in page


def test_a_correction_round(folder: Path, client: TestClient) -> None:
    page = client.get(f"/student/{ADA.code}").text
    assert ("Pass or fail" in page, "neither complete nor" in client.get("/").text) == (False, False)
    make_correction_round(folder)
    page = client.get(f"/student/{ADA.code}").text
    assert "Not complete yet. Still needed: " in page
    needed = page.split('aria-label="What a pass takes"')[1].split("</ul>")[0]
    assert re.findall(r'href="#check-([^"]+)"', needed) == [COUNT, FORWARD]
    assert "10 points; 8 so far" in needed
    since = " ".join(re.sub(r"<[^>]*>", " ", page.split('id="progress"')[1].split("</section>")[0]).split())
    assert re.search(r"Fixed: 1 .+ New: 1 .+ Still open: 0 nothing", since)
    for state, who in {"complete": {BO}, "incomplete": {ADA}}.items():
        rows = client.get(f"/?state={state}", headers={"hx-target": "rows"}).text
        assert {one for one in (ADA, BO, CY, DI) if f"/student/{one.code}" in rows} == who


def test_similar_code_leads_to_the_others(folder: Path, client: TestClient) -> None:
    (folder / "store").mkdir(exist_ok=True)
    (folder / "store" / ALIKE).write_text(json.dumps([[ADA.key, BO.key, "gone"]]), encoding="utf-8")
    assert f"/student/{BO.code}?state=similar+code" in client.get("/?state=similar+code").text
    assert BO.name in client.get(f"/student/{ADA.code}").text
    client.cookies.set("blind", "1")
    assert BO.name not in client.get(f"/student/{ADA.code}").text


def test_a_student_beside_the_verdicts(client: TestClient) -> None:
    page = client.get(f"/student/{ADA.code}").text
    assert 'href="#c2-2"' in page  # from the verdict
    assert 'id="c2-2"' in page  # to the line
    assert "Expected 2, found 24." in page
    assert "<em>three</em>" in page
    assert "\n1\n2\n" in page  # two outputs of one kind are one
    assert 'src="data:image/png;base64,iVBOR' in page
    assert f'href="/student/{BO.code}" data-key="j"' in page


def test_who_has_no_notebook_has_no_empty_space(client: TestClient) -> None:
    assert "No notebook was executed." in client.get(f"/student/{DI.code}").text
    assert "No notebook was executed." not in client.get(f"/student/{ADA.code}").text


def test_next_and_previous_stay_within_the_filter(client: TestClient) -> None:
    page = client.get(f"/student/{ADA.code}?state=missing").text
    assert "not among 1" in page
    assert f'href="/student/{DI.code}?state=missing" data-key="j"' in page
    assert BO.code not in page


def test_a_new_result_is_seen(client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grader.review.classroom.LOOK_EVERY_S", 0.0)
    assert ADA.code in client.get(f"/?check={FORWARD}").text
    write_upload(folder / "submissions" / ADA.key, make_result(ADA.key, Verdict.PASSED, f"{1:064x}"))
    assert ADA.code not in client.get(f"/?check={FORWARD}").text


@pytest.mark.parametrize("text", hostile.TEXTS.values(), ids=hostile.TEXTS)
def test_what_students_write_stays_text(text: str, tmp_path: Path) -> None:
    bad = {"output_type": "error", "ename": text, "evalue": text, "traceback": [text]}
    shown = display(text_html=text, image_svg=text, image_png=text, text_plain=text, application_javascript=text)
    cells = (cell(text, stream(text), shown, bad), cell(text, kind="markdown"), cell(text, kind=text))
    folder = make_class(tmp_path, cells)
    clean = text.encode("utf-8", "replace").decode()  # a result is UTF-8
    result = make_result(ADA.key, Verdict.FAILED, f"{1:064x}")
    checks = tuple(check.model_copy(update={"rationale": clean, "hint": clean}) for check in result.checks)
    write_upload(folder / "submissions" / ADA.key, result.model_copy(update={"checks": checks}), cells)
    page = open_client(folder).get(f"/student/{ADA.code}").text
    for markup in (
        "<script>window",
        "<img src=/",
        "<svg",
        "<iframe",
        "<base",
        "<style",
        "<meta http-equiv",
        'href="java',
    ):
        assert markup not in page
    assert hostile.MARK in page or "MARK" not in text


BROKEN = [
    pytest.param(b"{", id="no JSON"),
    pytest.param(b"[1]", id="no notebook"),
    pytest.param(b'{"cells": 1}', id="no cells"),
    pytest.param(b'{"cells": [1, {"cell_type": 2, "source": {}, "outputs": [[], {"output_type": 1}]}]}', id="types"),
    pytest.param(b'{"cells": ' + b"[" * 100_000, id="nested"),
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_notebook_that_cannot_be_read(content: bytes, folder: Path, client: TestClient) -> None:
    (folder / "submissions" / ADA.key / "executed.ipynb").write_bytes(content)
    page = client.get(f"/student/{ADA.code}")
    assert page.status_code == 200
    assert "Expected 2, found 24." in page.text
