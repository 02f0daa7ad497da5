"""Untrusted files: whatever lies in the evidence folder, the answer is a value or a ProtocolViolation."""

import hashlib
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from safetensors.torch import save_file

from grader import pipeline
from grader.errors import GraderError
from grader.evidence.raised import describe_error
from grader.evidence.reader import Evidence
from grader.evidence.untrusted import ProtocolViolation
from grader.execution import collection
from grader.execution.broker import Report
from grader.execution.record import RunConditions, RunRecord
from grader.intake import read_submission
from grader.judging import result
from grader.judging.case import Case, Oracle
from grader.model import Profile, RunStatus, ScoreStatus, SubmissionRef, Verdict
from grader.protocol.records import Raised
from tests.harness import results

TEXTS = ("checkpoint", "checkpoint_sha256", "reviews", "reviews_sha256", "precision", "budget", "sandbox", "grader")
CONDITIONS = RunConditions(profile=Profile.STRUCTURE, seed=0, synthetic=False, **dict.fromkeys(TEXTS, "x"))
NOTHING: dict[str, Any] = {"reason": "", "cells": (), "training_cells": {}, "probes": {}, "timings": {}}
SUBMISSION = SubmissionRef(name="x", sha256="0")
RECORD = RunRecord(submission=SUBMISSION, conditions=CONDITIONS, summary=results.run(), **NOTHING)
REPORT = Report(status=RunStatus.OK, peak_memory_mib=0, **NOTHING)
DIGEST = hashlib.sha256(b"{}").hexdigest()
NOTEBOOK = new_notebook(cells=[new_code_cell("x = 1")])
TRAINING = {"index": 0, "via": "Trainer", "finished": True, "entry": {"model_class": "M", "trainable": 1, "total": 2}}


VERSIONS = dict.fromkeys(("python", "torch", "transformers", "datasets", "device", "threads"), "1")
FAMILIES = ("count", "extract", "replace", "lora")
ASKED = {  # file -> what reads it
    **{f"probe-{family}.json": family for family in FAMILIES},
    **{"trainings.json": "trainings", "environment.json": "environment", "probe-lora.safetensors": "lora_tensors"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.json").write_text(RECORD.model_dump_json(), encoding="utf-8")
    nbformat.write(NOTEBOOK, tmp_path / "submitted.ipynb")
    return tmp_path


def written(folder: Path, name: str, content: object) -> Evidence:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / name).write_bytes(raw)
    return Evidence(folder)


def training(**changes: object) -> list[dict[str, object]]:
    return [{**TRAINING, **changes}]


def entry(**changes: object) -> list[dict[str, object]]:
    return training(entry={**TRAINING["entry"], **changes})  # type: ignore[dict-item]


def leaving(**changes: object) -> list[dict[str, object]]:
    return training(exit=changes)


TRAININGS: dict[str, object] = {
    "empty": b"",
    "not UTF-8": b"\xff\xfe",
    "nested deeply": b"[" * 100_000,
    "nested deeply and closed": b"[" * 5_000 + b"]" * 5_000,
    "a number of 5,000 digits": b'[{"index": ' + b"9" * 5_000 + b"}]",
    "more than 16 MiB": b" " * (17 * 2**20),
    "a long string": b'["' + b"x" * 2**20 + b'"]',
    "a lone surrogate": b'[{"a": "\\ud800"}]',
    "an object": {},
    "a list of numbers": [1],
    "an index twice": [TRAINING] * 2,
    "a thousand trainings and one": [{**TRAINING, "index": i} for i in range(1_001)],
    "a negative index": training(index=-1),
    "neither true nor false": training(finished="perhaps"),
    "nothing for a text": training(via=None),
    "negative seconds": training(seconds=-1),
    "nan": training(seconds=float("nan")),
    "infinity": training(seconds=float("inf")),
    "longer than the world exists": training(seconds=1e300),
    "too many steps": training(steps=10**18),
    "a negative step": training(log=[{"step": -1}]),
    "a long log": training(log=[{}] * 2_001),
    "negative parameters": entry(trainable=-1),
    "half a parameter": entry(trainable=1.5),
    "a long name": entry(trainable_names=["x" * 301]),
    "many names": entry(trainable_names=["x"] * 501),
    "many wrapped layers": entry(wrapped={str(i): "x" for i in range(201)}),
    "nine dimensions": entry(adapters={"x": [[1] * 9]}),
    "a path": leaving(file="../../etc/passwd"),
    "an absolute path": leaving(file="/etc/passwd"),
    "a path that begins well": leaving(file="training-0.safetensors/../run.json"),
    "a line feed at the end": leaving(file="training-0.safetensors\n"),
    "a digit of another script": leaving(file="training-\u0663.safetensors"),
    "an unknown kind of keys": training(data={"train": {"rows": 1, "kind": "x", "keys": []}}),
    "a name of ours that is no key": training(__pydantic_config__={}),
    "a number as text": training(index="0"),
    "a truth for a number": training(index=False),
    "a number for a truth": training(finished=1),
    "one entry for a log": training(log={"step": 1}),
    "nan in the log": training(log=[{"loss": float("nan")}]),
    "an infinite residual": leaving(reduced={"x": {"dtype": "y", "residual": float("inf")}}),
    "a reduction without its residual": leaving(reduced={"x": {"dtype": "y"}}),
    "a number of four digits": leaving(file="training-1000.safetensors"),
    "a long key": training(data={"train": {"rows": 1, "kind": "text", "keys": ["x" * 17]}}),
}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(training(colour="SECRET"), r"0\.colour: Unexpected keyword argument", id="an unknown key"),
        pytest.param(training(steps="SECRET"), r"0\.steps: Input should be a valid integer", id="a wrong type"),
        pytest.param(training(via="SECRET" * 99), r"0\.via: .*at most 300 characters", id="too long"),
        pytest.param(training(**{"\x1b[31m" * 99: "SECRET"}), r"0\.\?\[31m[^\x1b]{,99}: Unexpected", id="a long key"),
    ],
)
def test_a_violation_says_where_and_not_what(folder: Path, content: object, says: str) -> None:
    with pytest.raises(ProtocolViolation, match=rf"^trainings\.json: {says}") as violation:
        _ = written(folder, "trainings.json", content).trainings
    assert "SECRET" not in str(violation.value)


def test_what_earlier_versions_left_out_has_a_default(folder: Path) -> None:
    found = written(folder, "trainings.json", training()).trainings[0]
    assert (found.exit.file, found.data.train, found.evaluations, found.log) == (None, None, (), ())


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_was_answered(folder: Path, family: str) -> None:
    assert getattr(Evidence(folder), family) is None


def header(fields: dict[str, object], data: bytes = b"", size: int | None = None) -> bytes:
    raw = json.dumps(fields).encode()
    return struct.pack("<Q", len(raw) if size is None else size) + raw + data


def tensor(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


TENSORS = {
    "empty": b"",
    "pickle": b"\x80\x04\x95pickle",
    "a huge header": header({}, size=2**62),
    "a header longer than the file": header({}, size=2**20),
    "data that is not there": header({"a": tensor(0, 2**40, [2**38])}),
    "overlapping offsets": header({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, bytes(12)),
    "offsets backwards": header({"a": tensor(8, 0, [2])}, bytes(8)),
    "a shape of another size": header({"a": tensor(0, 8, [3])}, bytes(8)),
    "a shape beyond 64 bits": header({"a": tensor(0, 8, [2**63, 2])}, bytes(8)),
    "a type that cannot be computed with": header({"a": tensor(0, 2, [2], "F8_E4M3")}, bytes(2)),
    "five dimensions": header({"a": tensor(0, 4, [1, 1, 1, 1, 1])}, bytes(4)),
    "2,001 tensors": header({f"t{i}": tensor(0, 0, [0]) for i in range(2_001)}),
    "brackets": b"[" * 10_000,
}


ANSWERS: dict[str, tuple[str, object]] = {
    "a count beyond all models": ("probe-count.json", {"items": [{"value": 10**30}]}),
    "a count of 4,000 digits": ("probe-count.json", {"items": [{"value": 10**4000}]}),
    "many answers": ("probe-count.json", {"items": [{}] * 101}),
    "entries of numbers": ("probe-extract.json", {"items": [{"entries": [1]}]}),
    "a negative number": ("probe-replace.json", {"items": [{"others_changed": -1}]}),
    "a negative shape": ("probe-lora.json", {"items": [{"shapes": [[-1]]}]}),
    "no key of a challenge": ("probe-lora.json", {"items": [{}]}),
    "a version that is a number": ("environment.json", {**VERSIONS, "python": 3}),
}
MALFORMED = {
    **{f"trainings: {why}": ("trainings.json", content) for why, content in TRAININGS.items()},
    **{f"answers: {why}": case for why, case in ANSWERS.items()},
    **{f"tensors: {why}": ("probe-lora.safetensors", content) for why, content in TENSORS.items()},
}


@pytest.mark.parametrize(("name", "content"), MALFORMED.values(), ids=MALFORMED)
def test_malformed(folder: Path, name: str, content: object) -> None:
    evidence = written(folder, name, content)
    with pytest.raises(ProtocolViolation, match=f"^{re.escape(name)}: "):
        getattr(evidence, ASKED[name])
    assert len(evidence.violations) == 1


def test_a_large_file_of_tensors_is_not_read(folder: Path) -> None:
    with (folder / "probe-lora.safetensors").open("wb") as file:
        file.truncate(2**30 + 1)  # sparse: takes no room
    with pytest.raises(ProtocolViolation, match="larger than 1024 MiB"):
        _ = Evidence(folder).lora_tensors


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff"], ids=["empty", "an object", "a list", "bytes"])
def test_without_a_record_of_ours_there_is_no_evidence(folder: Path, content: bytes) -> None:
    with pytest.raises(GraderError, match=r"grade the notebook again\.$"):
        written(folder, "run.json", content)


# What a kernel left, sorted beside the notebook that was handed in.


def completed(folder: Path, *names: str, announced: tuple[str, ...] | None = None) -> Report:
    """Files of one content, all of them announced unless it is said which."""
    raw = folder / collection.RAW
    raw.mkdir()
    for name in names:
        (raw / name).write_text("{}", encoding="utf-8")
    path = folder / "x.ipynb"
    nbformat.write(NOTEBOOK, path)
    submission = read_submission(path)
    path.unlink()
    written = frozenset((name, DIGEST) for name in (names if announced is None else announced))
    return collection.complete(REPORT.model_copy(update={"written": written}), submission, folder)


MANY = tuple(f"{number}.json" for number in range(collection.MAX_FILES + 1))


COLLECTED = (collection.SUBMITTED, collection.EXECUTED)  # the latter without outputs where a broker left none


@pytest.mark.parametrize(
    ("names", "kept", "status"),
    [
        pytest.param(("trainings.json", "training-0.safetensors"), True, RunStatus.OK, id="answers"),
        pytest.param(("run.json",), False, RunStatus.OK, id="our own record"),
        pytest.param(("submitted.ipynb",), False, RunStatus.OK, id="the notebook"),
        pytest.param(("trainings.partial", "notes.txt"), False, RunStatus.OK, id="something else"),
        pytest.param(MANY, False, RunStatus.PROTOCOL_VIOLATION, id="more files than an honest run writes"),
    ],
)
def test_what_is_kept(names: tuple[str, ...], kept: bool, status: RunStatus, tmp_path: Path) -> None:
    assert completed(tmp_path, *names).status is status
    assert {path.name for path in tmp_path.iterdir()} == {*COLLECTED, *(names if kept else ())}
    assert nbformat.read(tmp_path / collection.SUBMITTED, 4).cells[0].source == "x = 1"


def test_only_what_was_announced_is_kept(tmp_path: Path) -> None:
    report = completed(tmp_path, "probe-count.json", "trainings.json", announced=("probe-count.json", "gone.json"))
    assert {path.name for path in tmp_path.glob("*.json")} == {"probe-count.json"}
    assert report.refused == ("trainings.json: not what the grader's own code wrote",)


# The whole of judging over malformed evidence.


Judge = Callable[[Path], result.GradingResult]


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """`grading.judge` with the suite, on a checkpoint without tensors and without a calibration."""
    base = tmp_path_factory.mktemp("base") / "base.safetensors"
    save_file({"distilbert.x.weight": torch.zeros(1)}, base)
    unused = Mock(side_effect=AssertionError("malformed evidence is not measured"))
    oracle = Oracle(base_weights=base, meter=unused, library=unused, calibration=lambda evidence: None)
    monkeypatch.setattr(pipeline, "make_case", lambda folder, used: Case(Evidence(folder), oracle))
    monkeypatch.setattr(pipeline, "find_faults_of_ours", lambda used: frozenset())
    used = Mock(profile=Profile.STRUCTURE)
    return lambda folder: pipeline.judge(folder, used, pipeline.list_suite_folders())


LONG_NUMBER = b'{"found": "f", "items": [{"value": ' + b"9" * 4_000 + b"}]}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("trainings.json", b"[" * 5_000, id="trainings"),
        pytest.param("probe-count.json", b"{", id="an answer"),
        pytest.param("environment.json", b"[]", id="versions"),
        pytest.param("probe-count.json", LONG_NUMBER, id="a long number"),
    ],
)
def test_a_result_says_so(folder: Path, name: str, content: bytes, judge: Judge) -> None:
    written(folder, name, content)
    graded = judge(folder)
    assert graded.result.run.status is RunStatus.PROTOCOL_VIOLATION
    assert (graded.result.score.status, graded.result.score.points) == (ScoreStatus.GRADED, 0)
    assert not [check.id for check in graded.result.checks if check.verdict is Verdict.ERROR]
    assert any(note.startswith(f"Malformed evidence: {name}") for note in graded.details.notes)
    assert graded.result.model_validate_json(graded.result.model_dump_json()) == graded.result


def test_no_evidence_at_all_is_no_violation(folder: Path, judge: Judge) -> None:
    graded = judge(folder)
    assert graded.result.run.status is RunStatus.OK
    assert not [check.id for check in graded.result.checks if check.verdict is Verdict.ERROR]


@pytest.mark.parametrize("ask", ["weights", "digest"])
def test_weights_that_are_named_and_not_there(folder: Path, ask: str) -> None:
    evidence = written(folder, "trainings.json", leaving(file="training-0.safetensors"))
    with pytest.raises(ProtocolViolation, match="named and not there"):
        getattr(evidence, ask)("training-0.safetensors")


@pytest.mark.parametrize(
    ("there", "left"),
    [
        pytest.param([0, 1, 2], [0, 1, 2], id="all"),
        pytest.param([1, 2], [1, 2], id="the first made room"),
        pytest.param([1], [1, 2], id="the last is missing, for which nothing made room"),
        pytest.param([], [0, 1, 2], id="stored without weights"),
    ],
)
def test_weights_that_made_room_for_later_ones_are_none(folder: Path, there: list[int], left: list[int]) -> None:
    names = [f"training-{index}.safetensors" for index in range(3)]
    records = [{**TRAINING, "index": index, "exit": {"file": name}} for index, name in enumerate(names)]
    for index in there:
        (folder / names[index]).touch()
    evidence = written(folder, "trainings.json", records)
    assert [one.index for one in evidence.trainings if one.exit.file] == left
    assert len(set(evidence.fingerprints)) == 3


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        pytest.param("Step 1.3: write it", "Step 1.3: write it", id="the template's own"),
        pytest.param("off by 0.125 and -3.5e-07", "off by … and …", id="what a probe asked"),
        pytest.param("Step 1.375", "Step …", id="no step"),
        pytest.param("Steps 1.3", "Steps …", id="another word"),
    ],
)
def test_errors_are_told_without_decimals(message: str, shown: str) -> None:
    assert describe_error(Raised("ValueError", message)) == f"ValueError: {shown}"
