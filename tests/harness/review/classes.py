"""The folder of a small class, as a batch leaves it: four students, one of them refused, one with nothing."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from grader.batch.attempts import NAME as ATTEMPTS
from grader.batch.attempts import AttemptRecord
from grader.batch.decisions import append_decision
from grader.batch.history import NAME, EntryStatus, HistoryEntry
from grader.batch.request import BatchRequest, save_batch
from grader.grades.decisions import Origin, Rules
from grader.grades.policy import GradingPolicy, PassRule
from grader.intake.uploads import Intake, Refusal, Student, Upload
from grader.model import CheckResult, Place, Profile, Result, Verdict
from tests.harness import results

FORWARD, COUNT = "step3.lora_forward", "step1.count_function"
ADA, BO, CY, DI = (
    Student(key=f"{name.lower()}_{number}", name=f"{name} Ek", canvas_id=number)
    for number, name in enumerate(("Ada", "Bo", "Cy", "Di"), 1)
)
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def cell(source: str, *outputs: dict[str, Any], kind: str = "code") -> dict[str, Any]:
    extra = {"outputs": list(outputs), "execution_count": 1} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": source, **extra}


def stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def display(**data: str) -> dict[str, Any]:
    data = {kind.replace("_", "/"): value for kind, value in data.items()}
    return {"output_type": "display_data", "metadata": {}, "data": data}


CELLS = (
    cell("# My report\n\nI compared *three* methods.", kind="markdown"),
    cell("class LoRALayer:\n    scale = alpha", stream("1\n"), stream("2\n"), display(image_png=PICTURE)),
)


def make_result(name: str, verdict: Verdict, sha256: str) -> Result:
    place = Place(cell=1, line=2, source="scale = alpha")
    checks: list[CheckResult] = [
        results.check(COUNT, possible=8.0),
        results.check(FORWARD, verdict, 8.0, rationale="Expected 2, found 24.", place=place),
    ]
    return results.result(checks, name, sha256)


def make_class(folder: Path, cells: tuple[dict[str, Any], ...] = CELLS) -> Path:
    """Ada failed FORWARD, Bo passed everything, Cy was refused, Di handed in nothing."""
    uploads = []
    for student, verdict in ((ADA, Verdict.FAILED), (BO, Verdict.PASSED)):
        sha256 = f"{student.canvas_id:064x}"
        uploads.append(
            Upload(id=student.key, student=student, entry=f"{student.key}.ipynb", display_name="a.ipynb", sha256=sha256)
        )
        write_upload(folder / "submissions" / student.key, make_result(student.key, verdict, sha256), cells)
    refusal = Refusal(entry="cy.pdf", reason="'cy.pdf' is a PDF.", student=CY)
    intake = Intake(source="a.zip", uploads=tuple(uploads), refusals=(refusal,), missing=(CY, DI))
    save_batch(BatchRequest(source=folder / "a.zip", folder=folder, profile=Profile.STRUCTURE), intake)
    return folder


def make_correction_round(folder: Path) -> None:
    """Say what a pass takes, and give Ada an attempt before, on which COUNT failed and FORWARD passed."""
    rule = PassRule(checks=(COUNT, FORWARD), points=10)
    append_decision(folder, Rules(policy=GradingPolicy(passing=rule), author="ada"), Origin.FILE)
    before = make_result("before", Verdict.PASSED, "b" * 64)
    checks = [results.check(COUNT, Verdict.FAILED, 8.0), before.checks[1]]
    write_upload(folder / "submissions" / "before", before.model_copy(update={"checks": tuple(checks)}))
    records = [
        AttemptRecord(student=ADA.key, upload=name, sha256=sha256, attempt=1, at=datetime(2026, 12, day, tzinfo=UTC))
        for day, (name, sha256) in enumerate((("before", "b" * 64), (ADA.key, f"{ADA.canvas_id:064x}")), 1)
    ]
    lines = "".join(f"{record.model_dump_json()}\n" for record in records)
    (folder / ATTEMPTS).write_text(lines, encoding="utf-8")


def write_upload(folder: Path, result: Result, cells: tuple[dict[str, Any], ...] = CELLS) -> None:
    """Write what a worker leaves of one upload."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(result.model_dump_json(), encoding="utf-8")
    notebook = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "executed.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    entry = HistoryEntry(
        at=datetime.now(UTC),
        why="first result",
        evidence="e",
        result="r",
        status=EntryStatus(result.score.status),
        points=result.score.points,
        possible=result.score.possible,
        profile=result.profile,
        seed=result.seed,
        depends={},
        sha256=result.submission.sha256,
        verdicts={check.id: check.verdict for check in result.checks},
    )
    with (folder / NAME).open("a", encoding="utf-8") as file:
        file.write(f"{entry.model_dump_json()}\n")
