"""The application: addresses and what they answer.

No part of an address is ever a path: codes and numbers are looked up.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from grader.batch.store import Store
from grader.batch.work import EXECUTED
from grader.errors import GraderError
from grader.model import StaffDetails
from grader.reporting.cohort import STYLES
from grader.reporting.page import read_asset
from grader.review.classroom import Attempt, Classroom, ClassView, Dossier
from grader.review.deciding import Act, Draft, NewFile, NotSaved, Outdated, save
from grader.review.filters import Filter
from grader.review.guard import Guard
from grader.review.notebook import Cell, UnreadableNotebook, read_cells
from grader.review.outbox import Outbox
from grader.review.pages import (
    StudentPage,
    Visit,
    find_position,
    render_list,
    render_message,
    render_outbox,
    render_student,
)
from grader.text import sanitise

FORM_MAX: Final = 2**16  # bytes
AUTHOR_MAX: Final = 60
SETTINGS: Final = ("author", "blind")
JAVASCRIPT, CSS = "text/javascript", "text/css"


def build_app(folder: Path, token: str, author: str) -> Starlette:
    """Build the application for the folder of a class. Raises GraderError where it holds none.

    Args:
        token: what an address has to hold.
        author: who signs decisions, unless the page is told otherwise.
    """
    desk = Desk(Classroom(folder), author)
    desk.classroom.look()  # the first reading takes seconds for a large class: before anybody waits for a page
    routes = [
        Route("/", desk.show_list),
        Route("/student/{code}", desk.show_student, methods=["GET"]),
        Route("/student/{code}", desk.decide, methods=["POST"]),
        Route("/settings", desk.change_settings, methods=["POST"]),
        Route("/outputs", desk.show_outbox, methods=["GET"]),
        Route("/outputs", desk.write_outputs, methods=["POST"]),
        *(Route(f"/{name}", asset) for name, asset in _read_assets().items()),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, token=token)],
        exception_handlers={HTTPException: desk.show_absence, GraderError: desk.show_fault},
    )


class Desk:
    """Answers requests."""

    def __init__(self, classroom: Classroom, author: str) -> None:
        self.classroom, self.author = classroom, author
        self.outbox = Outbox(classroom.folder)

    def show_list(self, request: Request) -> Response:
        """Show the students that the filter lets through."""
        wanted = request.query_params.get("page", "")
        page = int(wanted) if wanted.isdecimal() and len(wanted) < 6 else 1
        fragment = request.headers.get("hx-target") == "rows"
        html = render_list(self.read_visit(request), self.classroom.look(), page, self.outbox.state, fragment)
        return HTMLResponse(_encode(html))

    def show_student(self, request: Request) -> Response:
        """Show one student."""
        view, visit = self.classroom.look(), self.read_visit(request)
        dossier = find_dossier(view, request)
        page = self._open_file(view, visit, dossier, request.query_params.get("file", ""))
        return HTMLResponse(_encode(render_student(visit, view, page, self.outbox.state)))

    async def decide(self, request: Request) -> Response:
        """Save what a person decided about one student."""
        form = await read_form(request)
        return await run_in_threadpool(self._decide, request, form)

    def _decide(self, request: Request, form: Mapping[str, str]) -> Response:
        view, visit = self.classroom.look(), self.read_visit(request)
        dossier, draft, status, new_file = find_dossier(view, request), None, 200, False
        try:
            draft = Draft.read(form)
            save(self.classroom.folder, view, dossier, draft, visit.author)
            draft = None
        except NotSaved as error:
            status, new_file = 409 if isinstance(error, Outdated) else 422, isinstance(error, NewFile)
            draft = replace(draft or Draft(Act.COMMENT, words=form.get("words", "")), problem=str(error))
        fragment = "hx-request" in request.headers
        if draft is None and not fragment:
            return RedirectResponse(visit.address(dossier), 303)
        view = self.classroom.look()
        page = self._open_file(view, visit, find_dossier(view, request), request.query_params.get("file", ""))
        page = replace(page, draft=draft, has_new_file=new_file)
        html = render_student(visit, view, page, self.outbox.state, fragment)
        return HTMLResponse(_encode(html), status)

    async def change_settings(self, request: Request) -> Response:
        """Remember who signs, and whether names are shown, in this browser."""
        form = await read_form(request)
        dossier = self.classroom.look().dossiers.get(form.get("code", ""))
        wanted = Filter.read(dict(parse_qsl(form.get("query", ""))))
        if (
            form.get("blind") == "1" != request.cookies.get("blind")
        ):  # a name that one looked for would stay in the address
            wanted = replace(wanted, find="")
        visit = Visit(wanted)
        answer = RedirectResponse(visit.address(dossier), 303)
        for name in SETTINGS:
            answer.set_cookie(name, quote(sanitise(form.get(name, ""), AUTHOR_MAX)), httponly=True, samesite="lax")
        return answer

    def show_outbox(self, request: Request) -> Response:
        """Show what is not written yet, and how far the writing is."""
        return HTMLResponse(_encode(render_outbox(self.read_visit(request), self.classroom.look(), self.outbox.state)))

    def write_outputs(self, request: Request) -> Response:
        """Begin to write gradebook, feedback and dashboard again."""
        self.outbox.start()
        return self.show_outbox(request) if "hx-request" in request.headers else RedirectResponse("/", 303)

    def _open_file(self, view: ClassView, visit: Visit, dossier: Dossier, wanted: str) -> StudentPage:
        """Read one file of a student: the one that counts, or the one with this number."""
        attempt = find_attempt(dossier, wanted)
        details, trouble = StaffDetails(), ""
        cells: tuple[Cell, ...] = ()
        if attempt:
            entry = attempt.outcome.entry
            judged = Store(view.request.folder / "store").read_judgement(entry.result) if entry else None
            details = judged.details if judged else details
            checks = dossier.list_checks(attempt.outcome.result)
            try:
                cells = read_cells(view.request.submissions / attempt.upload.id / EXECUTED, checks)
            except UnreadableNotebook as error:
                trouble = str(error)
        position, since = find_position(visit, view, dossier), view.compare_attempts(dossier)
        return StudentPage(dossier, attempt, cells, trouble, details, position, since)

    def read_visit(self, request: Request) -> Visit:
        """Read who looks, and how."""
        return Visit(
            filter=Filter.read(request.query_params),
            blind=request.cookies.get("blind") == "1",
            author=sanitise(unquote(request.cookies.get("author", "")), AUTHOR_MAX).strip() or self.author,
        )

    async def show_absence(self, request: Request, error: Exception) -> Response:
        """Answer where nothing is."""
        status = error.status_code if isinstance(error, HTTPException) else 404
        text = "This class has nothing under this address." if status == 404 else "This address does not take that."
        return HTMLResponse(
            _encode(render_message(self.read_visit(request), self.classroom.last, "Nothing here", text)), status
        )

    async def show_fault(self, request: Request, error: Exception) -> Response:
        """Answer where the grader, or a file of the class, is at fault."""
        visit, view = self.read_visit(request), self.classroom.last
        html = await run_in_threadpool(render_message, visit, view, "This does not work", str(error))
        return HTMLResponse(_encode(html), 503)


async def read_form(request: Request) -> dict[str, str]:
    """Read what a form sends. Raises HTTPException for more than our forms can hold."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_MAX:
            raise HTTPException(413)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=50, errors="strict"))
    except ValueError as error:
        raise HTTPException(400) from error


def find_dossier(view: ClassView, request: Request) -> Dossier:
    """Find the student whom an address names. Raises HTTPException."""
    dossier = view.dossiers.get(request.path_params["code"])
    if dossier is None:
        raise HTTPException(404)
    return dossier


def find_attempt(dossier: Dossier, wanted: str) -> Attempt | None:
    """Find a file of a student by its number, from 1; without one, the file that counts, or else the last."""
    numbered = {str(number): attempt for number, attempt in enumerate(dossier.attempts, 1)}
    if wanted:
        if wanted not in numbered:
            raise HTTPException(404)
        return numbered[wanted]
    counting = dossier.grade.upload
    found = [attempt for attempt in dossier.attempts if counting and attempt.upload.id == counting.id]
    return next(iter((*found, *reversed(dossier.attempts))), None)


def _read_assets() -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
    static = files("grader.review") / "static"
    css = "".join((*map(read_asset, STYLES), (static / "review.css").read_text(encoding="utf-8")))
    return {
        "review.css": _serve(css, CSS),
        "review.js": _serve((static / "review.js").read_text(encoding="utf-8"), JAVASCRIPT),
        "htmx.js": _serve((static / "htmx.min.js").read_text(encoding="utf-8"), JAVASCRIPT),
    }


def _serve(text: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = text.encode()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


def _encode(html: str) -> bytes:
    return html.encode("utf-8", "replace")
