"""The command: see the package."""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from starlette.testclient import TestClient

from grader.batch.request import load_batch, save_batch
from grader.batch.work import link_or_copy
from grader.intake.uploads import Intake, Upload
from grader.review.app import build_app

BOUNDS_S = {"open": 1.0, "next student": 0.2, "filter by check": 0.3, "filter by name": 0.3}
TOKEN = "token"
ORIGIN = {"origin": "http://127.0.0.1"}


def main() -> None:
    """Make the class, and print what each request takes beside its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--students", type=int, default=1_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder.parent) as name:
        made = multiply(arguments.folder, Path(name), arguments.students)
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        print(f"{arguments.students} students, {os.cpu_count()} cores, load {load}")
        for what, seconds in measure(made).items():
            bound = BOUNDS_S.get(what)
            verdict = "" if bound is None else f"  at most {bound:.1f} s: {'holds' if seconds <= bound else 'MISSED'}"
            print(f"{what:<16} {seconds * 1000:7.0f} ms{verdict}")


def multiply(source: Path, target: Path, count: int) -> Path:
    """Make the folder of a class of `count` students from copies of those that have a result."""
    saved = load_batch(source)
    models = [u for u in saved.intake.uploads if (source / "submissions" / u.id / "executed.ipynb").is_file()]
    uploads = tuple(copy_upload(models[n % len(models)], n) for n in range(count))
    for number, upload in enumerate(uploads):
        folder = target / "submissions" / upload.id
        folder.mkdir(parents=True)
        for name in ("result.json", "history.jsonl", "executed.ipynb"):
            link_or_copy(source / "submissions" / models[number % len(models)].id / name, folder / name)
    shutil.copytree(source / "store" / "results", target / "store" / "results")
    intake = Intake(source=saved.intake.source, uploads=uploads)
    save_batch(saved.request.model_copy(update={"folder": target}), intake)
    return target


def copy_upload(model: Upload, number: int) -> Upload:
    """Give an upload to an invented student."""
    names = {"key": f"s{number:05}", "name": f"{model.student.name} {number}", "canvas_id": 100_000 + number}
    student = model.student.model_copy(update={**names, "sis_user_id": None, "login": None})
    return model.model_copy(update={"id": f"s{number:05}_1", "student": student, "attempt": 1})


def measure(folder: Path) -> dict[str, float]:
    """Measure each kind of request: the median of what is asked again and again, of different students."""
    began = time.perf_counter()
    client = TestClient(build_app(folder, TOKEN, "proof"), base_url="http://127.0.0.1", follow_redirects=False)
    client.get("/", params={"token": TOKEN})
    client.get("/")
    found = {"first reading": time.perf_counter() - began}
    files = {upload.student.code: upload.sha256 for upload in load_batch(folder).intake.uploads[:40]}
    codes = list(files)
    check = "step3.lora_forward"

    def decide(code: str) -> None:
        form = {"act": "comment", "words": "seen", "seen": "", "sha256": files[code]}
        assert client.post(f"/student/{code}", data=form, headers={**ORIGIN, "hx-request": "true"}).status_code == 200

    asked: dict[str, Callable[[str], object]] = {
        "open": lambda code: client.get("/"),
        "next student": lambda code: client.get(f"/student/{code}"),
        "filter by check": lambda code: client.get("/", params={"check": check}, headers={"hx-target": "rows"}),
        "filter by name": lambda code: client.get("/", params={"find": code[:3]}, headers={"hx-target": "rows"}),
        "decide": decide,
    }
    return {**found, **{what: take_median(ask, codes) for what, ask in asked.items()}}


def take_median(ask: Callable[[str], object], codes: list[str]) -> float:
    """Return the median of the seconds that a request takes."""
    seconds = []
    for code in codes:
        began = time.perf_counter()
        ask(code)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
