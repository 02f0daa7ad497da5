"""Untrusted files: whatever lies in the evidence folder, the answer is a value or a ProtocolViolation."""

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from grader.model import Profile, RunStatus, RunSummary, ScoreStatus, SubmissionRef, Verdict
from grader.protocol.records import Raised

CONDITIONS = RunConditions(
    profile=Profile.STRUCTURE,
    seed=0,
    checkpoint="stand-in",
    checkpoint_sha256="c",
    reviews="synthetic",
    reviews_sha256="r",
    synthetic=False,
    precision="float32",
    budget="b",
    sandbox="none",
    grader="0",
)
RECORD = RunRecord(
    submission=SubmissionRef(name="x", sha256="0"),
    conditions=CONDITIONS,
    summary=RunSummary(status=RunStatus.OK, wall_s=1, peak_memory_mib=1),
    reason="",
    cells=(),
    training_cells={},
    probes={},
    timings={},
)
TRAINING = {"index": 0, "via": "Trainer", "finished": True, "entry": {"model_class": "M", "trainable": 1, "total": 2}}


VERSIONS = dict.fromkeys(("python", "torch", "transformers", "datasets", "device", "threads"), "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An evidence folder with the host's own files."""
    (tmp_path / "run.json").write_text(RECORD.model_dump_json(), encoding="utf-8")
    nbformat.write(new_notebook(cells=[new_code_cell("x = 1")]), tmp_path / "submitted.ipynb")
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


MALFORMED_TRAININGS: list[Any] = [
    pytest.param(b"", id="empty"),
    pytest.param(b"\xff\xfe", id="not UTF-8"),
    pytest.param(b"[" * 100_000, id="nested deeply"),
    pytest.param(b"[" * 5_000 + b"]" * 5_000, id="nested deeply and closed"),
    pytest.param(b'[{"index": ' + b"9" * 5_000 + b"}]", id="a number of 5,000 digits"),
    pytest.param(b" " * (17 * 2**20), id="more than 16 MiB"),
    pytest.param(b'["' + b"x" * 2**20 + b'"]', id="a long string"),
    pytest.param(b'[{"a": "\\ud800"}]', id="a lone surrogate"),
    pytest.param({}, id="an object"),
    pytest.param([1], id="a list of numbers"),
    pytest.param([TRAINING] * 2, id="an index twice"),
    pytest.param([{**TRAINING, "index": i} for i in range(1_001)], id="a thousand trainings and one"),
    pytest.param(training(index=-1), id="a negative index"),
    pytest.param(training(finished="perhaps"), id="neither true nor false"),
    pytest.param(training(via=None), id="nothing for a text"),
    pytest.param(training(seconds=-1), id="negative seconds"),
    pytest.param(training(seconds=float("nan")), id="nan"),
    pytest.param(training(seconds=float("inf")), id="infinity"),
    pytest.param(training(seconds=1e300), id="longer than the world exists"),
    pytest.param(training(steps=10**18), id="too many steps"),
    pytest.param(training(log=[{"step": -1}]), id="a negative step"),
    pytest.param(training(log=[{}] * 2_001), id="a long log"),
    pytest.param(entry(trainable=-1), id="negative parameters"),
    pytest.param(entry(trainable=1.5), id="half a parameter"),
    pytest.param(entry(trainable_names=["x" * 301]), id="a long name"),
    pytest.param(entry(trainable_names=["x"] * 501), id="many names"),
    pytest.param(entry(wrapped={str(i): "x" for i in range(201)}), id="many wrapped layers"),
    pytest.param(entry(adapters={"x": [[1] * 9]}), id="nine dimensions"),
    pytest.param(leaving(file="../../etc/passwd"), id="a path"),
    pytest.param(leaving(file="/etc/passwd"), id="an absolute path"),
    pytest.param(leaving(file="training-0.safetensors/../run.json"), id="a path that begins well"),
    pytest.param(leaving(file="training-0.safetensors\n"), id="a line feed at the end"),
    pytest.param(leaving(file="training-\u0663.safetensors"), id="a digit of another script"),
    pytest.param(training(data={"train": {"rows": 1, "kind": "x", "keys": []}}), id="an unknown kind of keys"),
    pytest.param(training(colour="red"), id="an unknown key"),
    pytest.param(training(__pydantic_config__={}), id="a name of ours that is no key"),
    pytest.param(entry(colour="red"), id="an unknown key of an entry"),
    pytest.param(training(log=[{"colour": 1}]), id="an unknown key in the log"),
    pytest.param(training(index="0"), id="a number as text"),
    pytest.param(training(index=False), id="a truth for a number"),
    pytest.param(training(finished=1), id="a number for a truth"),
    pytest.param(training(log={"step": 1}), id="one entry for a log"),
    pytest.param(training(log=[{"loss": float("nan")}]), id="nan in the log"),
    pytest.param(leaving(reduced={"x": {"dtype": "y", "residual": float("inf")}}), id="an infinite residual"),
    pytest.param(leaving(reduced={"x": {"dtype": "y"}}), id="a reduction without its residual"),
    pytest.param(leaving(file="training-1000.safetensors"), id="a number of four digits"),
    pytest.param(training(data={"train": {"rows": 1, "kind": "text", "keys": ["x" * 17]}}), id="a long key"),
]


@pytest.mark.parametrize("content", MALFORMED_TRAININGS)
def test_malformed_trainings(folder: Path, content: object) -> None:
    evidence = written(folder, "trainings.json", content)
    with pytest.raises(ProtocolViolation, match=r"^trainings\.json: "):
        _ = evidence.trainings
    assert len(evidence.violations) == 1


@pytest.mark.parametrize(
    ("name", "ask", "content"),
    [
        pytest.param("probe-count.json", "count", {"items": [{"value": 10**30}]}, id="a count beyond all models"),
        pytest.param("probe-count.json", "count", {"items": [{"value": 10**4000}]}, id="a count of 4,000 digits"),
        pytest.param("probe-count.json", "count", {"items": [{}] * 101}, id="many answers"),
        pytest.param("probe-extract.json", "extract", {"items": [{"entries": [1]}]}, id="entries of numbers"),
        pytest.param("probe-replace.json", "replace", {"items": [{"others_changed": -1}]}, id="a negative number"),
        pytest.param("probe-lora.json", "lora", {"items": [{"shapes": [[-1]]}]}, id="a negative shape"),
        pytest.param("probe-count.json", "count", {"items": [{"valve": 1}]}, id="a misspelt key"),
        pytest.param("probe-count.json", "count", {"found": "f", "score": 1}, id="a key of no answers"),
        pytest.param("probe-extract.json", "extract", {"items": [{"placed": []}]}, id="a key of another family"),
        pytest.param("probe-lora.json", "lora", {"items": [{}]}, id="no key of a challenge"),
        pytest.param("environment.json", "environment", {**VERSIONS, "python": 3}, id="a version that is a number"),
        pytest.param("environment.json", "environment", {**VERSIONS, "home": "/root"}, id="more than was asked"),
    ],
)
def test_malformed_answers(folder: Path, name: str, ask: str, content: object) -> None:
    with pytest.raises(ProtocolViolation, match=f"^{name}: "):
        getattr(written(folder, name, content), ask)


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


@pytest.mark.parametrize("ask", ["count", "extract", "replace", "lora"])
def test_nothing_was_answered(folder: Path, ask: str) -> None:
    assert getattr(Evidence(folder), ask) is None


def header(fields: dict[str, object], data: bytes = b"", size: int | None = None) -> bytes:
    raw = json.dumps(fields).encode()
    return struct.pack("<Q", len(raw) if size is None else size) + raw + data


def tensor(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


MALFORMED_TENSORS = [
    pytest.param(b"", id="empty"),
    pytest.param(b"\x80\x04\x95pickle", id="pickle"),
    pytest.param(header({}, size=2**62), id="a huge header"),
    pytest.param(header({}, size=2**20), id="a header longer than the file"),
    pytest.param(header({"a": tensor(0, 2**40, [2**38])}), id="data that is not there"),
    pytest.param(header({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, bytes(12)), id="overlapping offsets"),
    pytest.param(header({"a": tensor(8, 0, [2])}, bytes(8)), id="offsets backwards"),
    pytest.param(header({"a": tensor(0, 8, [3])}, bytes(8)), id="a shape of another size"),
    pytest.param(header({"a": tensor(0, 8, [2**63, 2])}, bytes(8)), id="a shape beyond 64 bits"),
    pytest.param(header({"a": tensor(0, 2, [2], "F8_E4M3")}, bytes(2)), id="a type that cannot be computed with"),
    pytest.param(header({"a": tensor(0, 4, [1, 1, 1, 1, 1])}, bytes(4)), id="five dimensions"),
    pytest.param(header({f"t{i}": tensor(0, 0, [0]) for i in range(2_001)}), id="2,001 tensors"),
    pytest.param(b"[" * 10_000, id="brackets"),
]


@pytest.mark.parametrize("content", MALFORMED_TENSORS)
def test_malformed_tensors(folder: Path, content: bytes) -> None:
    evidence = written(folder, "probe-lora.safetensors", content)
    with pytest.raises(ProtocolViolation, match=r"^probe-lora\.safetensors: "):
        _ = evidence.lora_tensors


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

REPORT = Report(
    status=RunStatus.OK,
    reason="",
    cells=(),
    training_cells={},
    probes={},
    timings={},
    peak_memory_mib=0,
)


DIGEST = hashlib.sha256(b"{}").hexdigest()


def completed(folder: Path, *names: str, announced: tuple[str, ...] | None = None) -> Report:
    """Files of one content, all of them announced unless it is said which."""
    raw = folder / collection.RAW
    raw.mkdir()
    for name in names:
        (raw / name).write_text("{}", encoding="utf-8")
    path = folder / "x.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("x = 1")]), path)
    submission = read_submission(path)
    path.unlink()
    written = frozenset((name, DIGEST) for name in (names if announced is None else announced))
    return collection.complete(REPORT.model_copy(update={"written": written}), submission, folder)


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        pytest.param(("trainings.json", "training-0.safetensors"), None, id="answers"),
        pytest.param(("run.json",), (), id="our own record"),
        pytest.param(("submitted.ipynb",), (), id="the notebook"),
        pytest.param(("trainings.partial", "notes.txt"), (), id="something else"),
    ],
)
def test_what_is_kept(names: tuple[str, ...], kept: tuple[str, ...] | None, tmp_path: Path) -> None:
    report = completed(tmp_path, *names)
    assert report.status is RunStatus.OK
    assert {path.name for path in tmp_path.iterdir()} == {collection.SUBMITTED, *(names if kept is None else kept)}
    assert nbformat.read(tmp_path / collection.SUBMITTED, 4).cells[0].source == "x = 1"


def test_only_what_was_announced_is_kept(tmp_path: Path) -> None:
    report = completed(tmp_path, "probe-count.json", "trainings.json", announced=("probe-count.json", "gone.json"))
    assert {path.name for path in tmp_path.glob("*.json")} == {"probe-count.json"}
    assert report.refused == ("trainings.json: not what the grader's own code wrote",)


def test_more_files_than_an_honest_run_writes(tmp_path: Path) -> None:
    report = completed(tmp_path, *(f"{number}.json" for number in range(collection.MAX_FILES + 1)))
    assert report.status is RunStatus.PROTOCOL_VIOLATION
    assert {path.name for path in tmp_path.iterdir()} == {collection.SUBMITTED}


# The whole of judging over malformed evidence.


@pytest.fixture
def judge(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], result.GradingResult]:
    """`grading.judge` with the suite, on a checkpoint without tensors and without a calibration."""
    base = tmp_path_factory.mktemp("base") / "base.safetensors"
    save_file({"distilbert.x.weight": torch.zeros(1)}, base)

    def unused(*args: object) -> Any:
        raise AssertionError("malformed evidence is not measured")

    oracle = Oracle(base_weights=base, meter=unused, library=unused, calibration=lambda evidence: None)
    monkeypatch.setattr(pipeline, "make_case", lambda folder, used: Case(Evidence(folder), oracle))
    used: Any = None
    return lambda folder: pipeline.judge(folder, used, pipeline.list_suite_folders())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("trainings.json", b"[" * 5_000, id="trainings"),
        pytest.param("probe-count.json", b"{", id="an answer"),
        pytest.param("environment.json", b"[]", id="versions"),
        pytest.param(
            "probe-count.json", b'{"found": "f", "items": [{"value": ' + b"9" * 4_000 + b"}]}", id="a long number"
        ),
    ],
)
def test_a_result_says_so(
    folder: Path, name: str, content: bytes, judge: Callable[[Path], result.GradingResult]
) -> None:
    written(folder, name, content)
    graded = judge(folder)
    assert graded.result.run.status is RunStatus.PROTOCOL_VIOLATION
    assert graded.result.score.status is ScoreStatus.GRADED
    assert graded.result.score.points == 0
    assert not [check.id for check in graded.result.checks if check.verdict is Verdict.ERROR]
    assert any(note.startswith(f"Malformed evidence: {name}") for note in graded.details.notes)
    assert graded.result.model_validate_json(graded.result.model_dump_json()) == graded.result


def test_no_evidence_at_all_is_no_violation(folder: Path, judge: Callable[[Path], result.GradingResult]) -> None:
    graded = judge(folder)
    assert graded.result.run.status is RunStatus.OK
    assert not [check.id for check in graded.result.checks if check.verdict is Verdict.ERROR]


def test_weights_that_are_named_and_not_there(folder: Path) -> None:
    evidence = written(folder, "trainings.json", leaving(file="training-0.safetensors"))
    with pytest.raises(ProtocolViolation, match="named and not there"):
        evidence.weights("training-0.safetensors")
    with pytest.raises(ProtocolViolation, match="named and not there"):
        evidence.digest("training-0.safetensors")


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
