"""A messy class at an assistant's desk: the commands of the guide as processes, against a fake of Canvas that fails.

The class and the fake are the staff's own, beside this checkout in ../shared/cases/classroom or in A4_CASES; no copy of
them is kept here. The commands run in a copy of this checkout, so that the rubric can change between them.
"""

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import requests

from grader.batch.request import load_batch
from grader.intake.uploads import Student
from grader.paths import ROOT
from tests.proof.demo.demo import count_graded

CASES: Final = Path(os.environ.get("A4_CASES") or ROOT.parent / "shared" / "cases") / "classroom"
FOLDERS: Final = ("grader", "data", "reference", "student_template", "tests")
FILES: Final = ("requirements.lock", "pyproject.toml")
LEFT_OUT: Final = shutil.ignore_patterns("cache", "imdb", "__pycache__")
COURSE: Final = ("--course", "123", "--assignment", "4711")
CELL_S: Final = 150  # one student's cell never ends; on a busy machine honest ones take long, too
COMMAND_S: Final = 3_000
FIRST_TIME = (2026, 1, 2, 3, 4, 6)


@dataclass
class Desk:
    """A folder with a checkout, a class and a fake of Canvas."""

    place: Path
    canvas: str = ""  # address
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The class's folder."""
        return self.place / "results" / "submissions"

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        """Start a command of the grader."""
        command = [sys.executable, "-m", "grader", *map(str, arguments)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **options}
        return subprocess.Popen(command, cwd=self.place / "checkout", env=self.environ, **streams)

    def run(self, *arguments: object, code: int = 0) -> str:
        """Run a command to its end, and return what it says."""
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=COMMAND_S)
        assert process.returncode == code, said
        return said

    def grade(self, *files: object) -> Sequence[object]:
        """Return the command that grades the class, or goes on with it."""
        wanted = ("--profile", "structure", "--jobs", 2, "--cell-limit", CELL_S, "--out", self.place / "results")
        return ("batch", self.place / "main" / "submissions.zip", *wanted, *files)

    def stop(self, command: Sequence[object], number: int, graded: int) -> None:
        """Start a batch, and send it a signal once some more are graded."""
        enough = count_graded(self.folder) + graded
        with (self.place / "stopped.log").open("w", encoding="utf-8") as log:
            process = self.start(*command, stdout=log)
        while process.poll() is None and count_graded(self.folder) < enough:
            time.sleep(0.2)
        assert process.poll() is None, (self.place / "stopped.log").read_text(encoding="utf-8")
        os.kill(process.pid, number)
        assert process.wait(timeout=120) == (2 if number == signal.SIGTERM else -number)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the assistant."""
        (self.place / name).write_text(text, encoding="utf-8")
        return self.place / name

    def find(self, canvas_id: int) -> Student:
        """Find a student of the class."""
        intake = load_batch(self.folder).intake
        everybody = (*(u.student for u in intake.uploads), *(r.student for r in intake.refusals if r.student))
        return next(student for student in everybody if student.canvas_id == canvas_id)

    def read_scores(self) -> dict[int, float]:
        """Read the scores that the gradebook to import holds."""
        with (self.folder / "gradebook.csv").open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["ID"].isdecimal()]
        cells = {int(row["ID"]): row["Assignment 4: Comparing (4711)"] for row in rows}
        return {user: float(cell) for user, cell in cells.items() if re.fullmatch(r"[\d.]+", cell)}

    def rewrite_zip(self, taken: Sequence[str], added: dict[str, str]) -> None:
        """Download again: entries that begin so are gone, and others have the content of an entry that was there."""
        path = self.place / "main" / "submissions.zip"
        with zipfile.ZipFile(path) as before:
            contents = {name: before.read(name) for name in before.namelist()}
        kept = {name: raw for name, raw in contents.items() if not name.startswith(tuple(taken))}
        with zipfile.ZipFile(path, "w") as after:
            for name, raw in {**kept, **{new: contents[source] for new, source in added.items()}}.items():
                after.writestr(zipfile.ZipInfo(name, FIRST_TIME), raw)

    def move_points(self, points: int, taken: tuple[str, str], given: tuple[str, str]) -> None:
        """Change the rubric: some points of one check go to another."""
        path = self.place / "checkout" / "data" / "rubric.toml"
        text = path.read_text(encoding="utf-8")
        for (step, name), change in ((taken, -points), (given, points)):
            before = tomllib.loads(text)[step][name]
            head, middle, tail = text.partition(f"[{step}]")
            text = head + middle + tail.replace(f"{name} = {before}", f"{name} = {before + change}", 1)
        path.write_text(text, encoding="utf-8")

    # Canvas

    def ask(self, path: str) -> Any:
        """Ask the fake of Canvas."""
        headers = {"Authorization": "Bearer good"}
        return requests.get(f"{self.canvas}{path}", headers=headers, timeout=30).json()

    def break_canvas(self, *rules: dict[str, Any]) -> None:
        """Let the next requests that fit these rules fail."""
        (self.place / "canvas" / "mode.json").write_text(json.dumps(rules), encoding="utf-8")

    def list_faults(self) -> list[dict[str, Any]]:
        """List the faults that have not happened yet."""
        rules = json.loads((self.place / "canvas" / "mode.json").read_text(encoding="utf-8"))
        return [rule for rule in rules if rule["times"]]

    def read_canvas(self) -> dict[int, tuple[float | None, list[str]]]:
        """Read everybody's score in Canvas, and the references of the comments."""
        found: dict[int, tuple[float | None, list[str]]] = {}
        for page in range(1, 10):
            for one in self.ask(f"/api/v1/courses/123/assignments/4711/submissions?page={page}"):
                comments = "\n".join(comment["comment"] for comment in one["submission_comments"])
                assert comments.count("Reference: ") == len(one["submission_comments"])
                found[one["user_id"]] = one["score"], re.findall(r"Reference: (\w+)", comments)
        return found


@contextmanager
def open_desk(place: Path) -> Iterator[Desk]:
    """Copy the checkout, build the class, and start the fake of Canvas."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, place / "checkout" / name, ignore=LEFT_OUT)
    for name in FILES:
        shutil.copy(ROOT / name, place / "checkout")
    subprocess.run([sys.executable, CASES / "build_main.py", ROOT, place], check=True)
    shutil.copytree(CASES / "canvas", place / "canvas")
    for path in place.rglob("*"):  # what is handed out read-only stays so in a copy
        path.chmod(path.stat().st_mode | 0o200)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, place / "canvas" / "fake.py", str(port), "5"])
    desk = Desk(place, f"http://127.0.0.1:{port}")
    cache = os.environ.get("A4_CACHE") or str(ROOT / "data" / "cache")
    access = {"CANVAS_API_URL": desk.canvas, "CANVAS_API_TOKEN": "good"}
    desk.environ = {**os.environ, **access, "A4_CACHE": cache, "USER": "ada", "NO_PROXY": "127.0.0.1"}
    try:
        wait_for(port)
        yield desk
    finally:
        server.kill()
        server.wait()


def wait_for(port: int) -> None:
    """Wait until somebody listens at a port."""
    for _ in range(300):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens at {port}")


@contextmanager
def open_review(desk: Desk) -> Iterator[str]:
    """Serve the review page, as `make review` does. Gives its address, with the token."""
    process = desk.start("review", desk.folder)
    try:
        yield read_address(process.stdout)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def read_address(said: IO[str] | None) -> str:
    """Read the address that the command prints first."""
    assert said is not None
    found = re.search(r"http://\S+", said.readline())
    assert found is not None
    return found[0]


class Reviewer:
    """A person in a browser, with one student's page open."""

    def __init__(self, address: str, name: str, student: Student) -> None:
        self.host, self.student = address.partition("/?")[0], student
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy
        self.session.get(address, timeout=60)
        self.session.cookies.set("author", name)
        self.look()

    def look(self) -> None:
        """Open the page again."""
        page = self.session.get(f"{self.host}/student/{self.student.code}", timeout=60).text
        found = re.search(r'name="seen" value="(\w*)"><input type="hidden" name="sha256" value="(\w*)"', page)
        assert found is not None
        self.seen, self.sha256 = found.groups()

    def save(self, **form: str) -> int:
        """Save a decision, and return the status of the answer."""
        answer = self.session.post(
            f"{self.host}/student/{self.student.code}",
            data={"seen": self.seen, "sha256": self.sha256, **form},
            headers={"Origin": self.host},
            allow_redirects=False,
            timeout=60,
        )
        return answer.status_code
