"""As much of Canvas's REST API as an upload needs, on this computer, with faults on demand."""

import email
import email.policy
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "7~secret-token"
COURSE, ASSIGNMENT, TEACHER = 5, 104, 1
PAGE = 2  # submissions on a page
BASE = f"/api/v1/courses/{COURSE}/assignments/{ASSIGNMENT}"


@dataclass
class FakeCanvas:
    """The state of one assignment. `faults`: status codes for the next requests that change something."""

    points_possible: float | None = 50.0
    group: bool = False
    submissions: dict[int, dict[str, Any]] = field(default_factory=dict)
    files: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    writes: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)
    find_faults: list[int] = field(default_factory=list)
    read_faults: list[int] = field(default_factory=list)  # the same for requests that read; 0: no answer at all
    file_faults: list[int] = field(default_factory=list)  # the same for the bytes of files
    lost_answers: list[int] = field(default_factory=list)  # the same, after a PUT was acted upon
    broken: set[int] = field(default_factory=set)  # users about whom Canvas always fails
    change_after_list: dict[int, float] = field(default_factory=dict)  # that a person enters once all were listed
    hands_in_after_list: dict[int, int] = field(default_factory=dict)  # the attachment of a student's next attempt
    change_on_fault: dict[int, float] = field(default_factory=dict)  # scores that a person enters at the first fault
    retry_after: str = ""  # sent with every fault
    anonymous: bool = False  # graded without names
    pass_fail: bool = False  # graded complete or incomplete
    shows_course: bool = True  # to the token's owner
    late_policy: bool = False  # Canvas takes points off too
    address: str = ""

    def enrol(self, *users: int) -> None:
        """Give users an empty submission."""
        for user in users:
            self.submissions[user] = {"id": 1000 + user, "user_id": user, "assignment_id": ASSIGNMENT, "score": None}
            self.submissions[user] |= {"excused": False, "submission_comments": [], "attachments": []}
            self.submissions[user]["grade_matches_current_submission"] = True

    def hand_in_again(self, user: int, *attachments: int) -> None:
        """Replace a submission as Canvas does it: the score stays, and the attempt waits for a grade."""
        self.submissions[user]["attachments"] = [{"id": attachment} for attachment in attachments]
        self.submissions[user]["grade_matches_current_submission"] = self.submissions[user]["score"] is None

    def comment(self, user: int, text: str, author: int = TEACHER) -> None:
        """Add a comment as Canvas keeps it."""
        self.submissions[user]["submission_comments"].append({"author_id": author, "comment": text})

    def find(self, path: str) -> dict[str, Any] | None:
        """Return the submission at an address."""
        user = path.removeprefix(f"{BASE}/submissions/")
        return self.submissions.get(int(user)) if user.isdecimal() else None

    @property
    def environ(self) -> dict[str, str]:
        return {"CANVAS_API_URL": self.address, "CANVAS_API_TOKEN": TOKEN}

    @contextmanager
    def serving(self) -> Iterator[None]:
        handler = type("Handler", (_Handler,), {"canvas": self})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            self.address = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    canvas: FakeCanvas

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if not self.allowed() or self.fails(self.canvas.read_faults):
            return
        url = urlsplit(self.path)
        if url.path == f"/api/v1/courses/{COURSE}":
            allowed = self.canvas.shows_course
            self.answer({"id": COURSE, "name": "NLP 2026"} if allowed else {}, 200 if allowed else 403)
        elif url.path == f"/api/v1/courses/{COURSE}/late_policy":
            self.answer({"late_policy": {"late_submission_deduction_enabled": self.canvas.late_policy}})
        elif url.path == BASE:
            found = {
                "id": ASSIGNMENT,
                "name": "Assignment 4",
                "course_id": COURSE,
                "points_possible": self.canvas.points_possible,
            }
            found["grading_type"] = "pass_fail" if self.canvas.pass_fail else "points"
            self.answer({**found, "group_category_id": 3 if self.canvas.group else None})
        elif url.path == f"{BASE}/submissions":
            self.answer_page(parse_qs(url.query))
        elif submission := self.canvas.find(url.path):
            self.answer(submission)
        else:
            self.answer({}, 404)

    def answer_page(self, query: dict[str, list[str]]) -> None:
        page = int(query.get("page", ["1"])[0])
        found = list(self.canvas.submissions.values())
        shown = [dict(one) for one in found[(page - 1) * PAGE : page * PAGE]]
        if self.canvas.anonymous:
            shown = [{k: v for k, v in one.items() if k != "user_id"} | {"anonymous_id": "aB3dE"} for one in shown]
        if "submission_comments" not in query.get("include[]", []):
            shown = [{k: v for k, v in one.items() if k != "submission_comments"} for one in shown]
        link = f'<{self.canvas.address}{BASE}/submissions?include[]=submission_comments&page={page + 1}>; rel="next"'
        while page * PAGE >= len(found) and self.canvas.change_after_list:
            user, score = self.canvas.change_after_list.popitem()
            self.canvas.submissions[user]["score"] = score
        while page * PAGE >= len(found) and self.canvas.hands_in_after_list:
            self.canvas.hand_in_again(*self.canvas.hands_in_after_list.popitem())
        self.answer(shown, headers={"Link": link} if page * PAGE < len(found) else {})

    def do_PUT(self) -> None:
        form = parse_qs(self.body().decode())
        if not self.allowed() or self.fails():
            return
        user = int(self.path.rpartition("/")[2])
        if user in self.canvas.broken:
            self.answer({}, 500)
            return
        if user not in self.canvas.submissions:
            self.answer({}, 404)
            return
        self.canvas.writes.append((self.path, form))
        submission = self.canvas.submissions[user]
        if grade := form.get("submission[posted_grade]"):
            words = {"complete": self.canvas.points_possible, "incomplete": 0.0}
            submission |= {"grade": grade[0], "grade_matches_current_submission": True}
            submission["score"] = words[grade[0]] if grade[0] in words else float(grade[0])
        if text := form.get("comment[text_comment]"):
            self.canvas.comment(user, text[0])
        if not self.fails(self.canvas.lost_answers):
            self.answer(submission)

    def do_POST(self) -> None:
        body = self.body()
        if self.path == "/upload":
            self.take_file(body)
        elif self.allowed() and not self.fails() and re.fullmatch(rf"{BASE}/submissions/\d+/comments/files", self.path):
            self.canvas.writes.append((self.path, parse_qs(body.decode())))
            self.answer({"upload_url": f"{self.canvas.address}/upload", "upload_params": {"key": "k"}})

    def take_file(self, body: bytes) -> None:
        if self.fails(self.canvas.file_faults):
            return
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        (part,) = [p for p in message.iter_parts() if p.get_filename()]  # type: ignore[attr-defined]
        assert "Authorization" not in self.headers
        identity = 900 + len(self.canvas.files)
        self.canvas.files[identity] = (part.get_filename(), part.get_payload(decode=True))
        self.answer({"id": identity, "url": f"{self.canvas.address}/files/{identity}"}, 201)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self.answer({"errors": [{"message": "Invalid access token."}]}, 401, {"WWW-Authenticate": "Bearer"})
        return False

    def fails(self, faults: list[int] | None = None) -> bool:
        faults = self.canvas.find_faults if faults is None else faults
        if not faults:
            return False
        while self.canvas.change_on_fault:
            user, score = self.canvas.change_on_fault.popitem()
            self.canvas.submissions[user]["score"] = score
        if (code := faults.pop(0)) == 0:
            self.close_connection = True
        else:
            asked = {"Retry-After": self.canvas.retry_after} if self.canvas.retry_after else {}
            self.answer({"message": "403 Forbidden (Rate Limit Exceeded)" if code == 403 else "busy"}, code, asked)
        return True

    def answer(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        raw = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)
