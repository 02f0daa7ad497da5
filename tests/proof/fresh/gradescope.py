"""Gradescope's container, by its specification: what `make gradescope` builds is set up and run in a fresh root.

The archive lies in /autograder/source, `setup.sh` runs once, `run_autograder` for each submission, with the rights that
Docker leaves to root. The runs show that results.json is right, that nothing hidden can be read, and what a run costs.
"""

import json
import os
import re
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.proof.fresh.conditions import CommandConditions
from tests.proof.fresh.roots import PROJECT, FreshRootError, Root

NAME: Final = "run-gradescope"
HOME: Final = "/autograder"
DOCKER: Final = CommandConditions(rights="docker")
POSSIBLE: Final = 85  # points of the rubric that profile `structure` judges
TIMEOUT_MIN: Final = 10  # Gradescope's, unless somebody chooses another
SHORT_MIN: Final = 3  # the shortest that can be chosen
LOOK_EVERY_S: Final = 0.5
REFERENCE: Final = (PROJECT / "reference" / "solution.ipynb").read_text(encoding="utf-8")
SPY: Final = """
import os
for top in ("/autograder/source/tests/hidden", "/autograder/source/data/imdb", "/autograder/results"):
    for folder, _, names in os.walk(top):
        for name in names:
            print("read", len(open(os.path.join(folder, name)).read()), "of", name)
    try:
        print("listed", top, os.listdir(top))
    except OSError as error:
        print(type(error).__name__)
raise RuntimeError("the end of the spy")
"""
Answer = Mapping[str, Any]  # results.json


@dataclass(frozen=True)
class Submission:
    """What is handed in, what is wrong with the answer, if anything, and when Gradescope would end the run."""

    name: str
    files: Mapping[str, str]
    find_faults: Callable[[Answer], Iterator[str]]
    timeout_min: int = TIMEOUT_MIN


def make_notebook(*sources: str) -> str:
    """A notebook with these cells."""
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "execution_count": None, "id": f"c{i}", "metadata": {}, "outputs": [], "source": source}
        for i, source in enumerate(sources)
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells})


def expect_points(points: float, *words: str) -> Callable[[Answer], Iterator[str]]:
    """The score has to be this one, and these words have to stand in what the student reads first."""

    def find(answer: Answer) -> Iterator[str]:
        if answer.get("score") != points:
            yield f"{answer.get('score')} points, expected {points:g}"
        yield from (f"no {word!r} in the output" for word in words if word not in answer.get("output", ""))

    return find


def expect_nothing_read(answer: Answer) -> Iterator[str]:
    """The cells of the spy ended as they should, and found nothing."""
    if "the end of the spy" not in answer.get("output", ""):
        yield f"the spy did not get to its end: {answer.get('output')!r}"


SUBMISSIONS: Final = (
    Submission("the reference", {"a.ipynb": REFERENCE}, expect_points(POSSIBLE)),
    Submission("no notebook at all", {"a.ipynb": REFERENCE[:999]}, expect_points(0, "a.ipynb")),
    Submission("a notebook that fails", {"a.ipynb": make_notebook("1 / 0")}, expect_points(0, "ZeroDivisionError")),
    Submission(
        "two notebooks",
        {"a.ipynb": make_notebook("1 / 0"), "b.ipynb": REFERENCE},
        expect_points(POSSIBLE, "the best one counts: 'b.ipynb'"),
    ),
    Submission(
        "an endless loop",
        {"a.ipynb": make_notebook("n = 0\nwhile True: n += 1")},
        expect_points(0, "Cell 1"),
        SHORT_MIN,
    ),
    Submission("a spy", {"a.ipynb": make_notebook(SPY)}, expect_nothing_read),
)


def find_common_faults(answer: Answer, seconds: float, timeout_min: int) -> Iterator[str]:
    """What no answer may have: the total while tests are hidden, a text of theirs, more time than Gradescope gives."""
    shown = json.dumps(answer)
    if re.search(r"\d of \d+ points", answer.get("output", "")):
        yield "the output holds the total"
    if "def test_" in shown or "read " in answer.get("output", ""):
        yield "something hidden is shown"
    if seconds > 60 * timeout_min:
        yield f"{seconds:.0f} s: Gradescope would have ended it"


def set_up(root: Root) -> float:
    """Unpack the archive as Gradescope does, and run its `setup.sh`. Returns the seconds. Raises FreshRootError."""
    archive = root.path(f"{HOME}/autograder.zip")
    archive.parent.mkdir(parents=True)
    reviews = ["--reviews", os.environ["A4_DATA"]] if os.environ.get("A4_DATA") else []
    python = PROJECT / ".venv" / "bin" / "python"
    options = ["--profile", "structure", "--timeout", str(TIMEOUT_MIN), "--out", str(archive), *reviews]
    made = subprocess.run([python, "-m", "grader", "gradescope", *options], cwd=PROJECT, capture_output=True, text=True)
    if made.returncode:
        raise FreshRootError(f"no archive was built: {made.stderr.strip()}")
    source = root.path(f"{HOME}/source")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(source)
    for name in ("setup.sh", "run_autograder"):
        (source / name).chmod(0o755)
    done = root.run(DOCKER.wrap(f"{HOME}/source", "bash setup.sh"), DOCKER.build_variables())
    if done.code:
        raise FreshRootError(f"setup.sh ended with exit code {done.code}: {done.text[-2000:]}")
    return done.seconds


def grade(root: Root, submission: Submission) -> tuple[list[str], str, str]:
    """One run of `run_autograder`: what is wrong, what it cost, and the whole answer with what it said beside it."""
    for name in ("submission", "results"):
        shutil.rmtree(root.path(f"{HOME}/{name}"), ignore_errors=True)
        root.path(f"{HOME}/{name}").mkdir()
    for name, text in submission.files.items():
        root.path(f"{HOME}/submission/{name}").write_text(text, encoding="utf-8")
    start = root.path(f"{HOME}/source/run_autograder").read_text(encoding="utf-8").rstrip()
    start = f"{start.rpartition(' ')[0]} {submission.timeout_min}\n"
    root.path(f"{HOME}/run_autograder").write_text(start, encoding="utf-8")
    with measure_memory() as peaks:
        done = root.run(DOCKER.wrap(f"{HOME}/source", "bash ../run_autograder"), DOCKER.build_variables())
    cost = f"{done.seconds:.0f} s, {max(peaks, default=0) / 2**30:.1f} GiB"
    results = root.path(f"{HOME}/results/results.json")
    text = results.read_text(encoding="utf-8") if results.is_file() else ""
    if done.code or not text:
        return [f"exit code {done.code}: {done.text[-1000:]}"], cost, text + done.text
    answer = json.loads(text)
    faults = [*submission.find_faults(answer), *find_common_faults(answer, done.seconds, submission.timeout_min)]
    return faults, cost, text + done.text


@contextmanager
def measure_memory() -> Iterator[list[float]]:
    """Collect how many bytes this process's descendants have together, shared pages counted once."""
    peaks, ended = list[float](), threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_EVERY_S):
            peaks.append(sum(map(_read_bytes, _list_descendants(os.getpid()))))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def _list_descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text(encoding="ascii").split()]
        except OSError:  # it has ended meanwhile
            continue
        for child in children:
            yield child
            yield from _list_descendants(child)


def _read_bytes(pid: int) -> float:
    try:
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"), re.M)
    except OSError:  # it has ended meanwhile
        return 0.0
    return 1024.0 * int(found[1]) if found else 0.0
