"""One schema of the evidence: what the kernel's code builds is what the host reads, and nothing else is."""

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from annotated_types import MaxLen
from pydantic import TypeAdapter

from grader import assignment, challenges
from grader.evidence import reader
from grader.evidence.untrusted import ProtocolViolation, parse_json
from grader.kernel import bootstrap, probes, weights, writing
from grader.kernel.namespace import Bindings
from grader.kernel.probes import functions
from grader.kernel.training import observation, recorder, review_keys
from grader.protocol import records
from grader.protocol.records import (
    Answers,
    CountItem,
    DataSeen,
    Entry,
    Environment,
    Exit,
    ExtractItem,
    LayerEntry,
    LogEntry,
    LoraItem,
    Raised,
    Reduction,
    ReplaceItem,
    RowKeys,
    Training,
)

RAISED = Raised("TypeError", "an 'å' and a \u2028")
KEYS = RowKeys(3, "text", ("a", "b"))
ENTRY = Entry("M", 1, 2, ("a.b",), {"a": "L"}, {"a": ((6, 768), (768, 6), ())}, ("c",), "0f")
EXIT = Exit("training-0.safetensors", "0f", {"a": Reduction("float32", 0.5)}, {"b": "ValueError"}, ("extra",))
TRAINING = Training(
    index=0,
    via="Trainer",
    finished=True,
    entry=ENTRY,
    error=RAISED,
    device="cpu",
    exit=EXIT,
    data=DataSeen(KEYS, replace(KEYS, kind="tokens")),
    evaluations=(None, KEYS),
    arguments={"max_steps": -1.0, "learning_rate": None},
    log=(LogEntry(1.0, 0.5, 0.25, 0.75, 0.5), LogEntry()),
    seconds=1.5,
    steps=2,
    precision="bfloat16 autocast",
    unrecorded=RAISED,
)
# Each file that the kernel writes, with every key in use.
FILES: list[Any] = [
    pytest.param(reader.TRAININGS, (TRAINING,), id="trainings"),
    pytest.param(reader.COUNT, Answers("f", (CountItem(1, "int", "x", RAISED),)), id="count"),
    pytest.param(
        reader.EXTRACT,
        Answers("f", (ExtractItem("dict", True, (LayerEntry("a", "Linear", True, "b"),), RAISED),)),
        id="extract",
    ),
    pytest.param(reader.REPLACE, Answers("f", (ReplaceItem(("a",), 1, True, RAISED),)), id="replace"),
    pytest.param(
        reader.LORA, Answers("f", (LoraItem("k", "fresh", ("fresh",), ((1, 2), (3,)), 2, True, RAISED),)), id="lora"
    ),
    pytest.param(reader.ENVIRONMENT, Environment("3.11", "2", "5", "5", "cpu", "2"), id="environment"),
]
CLASSES = [kind for _, kind in inspect.getmembers(records, inspect.isclass)]
RECORDS = [kind for kind in CLASSES if issubclass(kind, records.Record) and kind is not records.Record]


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No host listens here."""
    monkeypatch.setattr(writing, "announce", lambda name, sha256: None)


@pytest.mark.parametrize(("schema", "written"), FILES)
def test_what_is_written_is_what_is_read(schema: TypeAdapter[Any], written: Any, tmp_path: Path) -> None:
    writing.write_json(str(tmp_path), "x.json", written)
    assert parse_json(tmp_path / "x.json", schema) == written


def parts(value: Any) -> Iterator[Any]:
    """All records in a record, itself included."""
    if is_dataclass(value):
        yield value
        value = [getattr(value, part.name) for part in fields(value)]
    elif isinstance(value, dict):
        value = list(value.values())
    for part in value if isinstance(value, (list, tuple)) else ():
        yield from parts(part)


def test_every_record_is_in_a_file() -> None:
    seen = {type(part) for file in FILES for part in parts(file.values[1])}
    assert seen == set(RECORDS)


@pytest.mark.parametrize(("schema", "written"), FILES)
def test_no_record_takes_another_key(schema: TypeAdapter[Any], written: Any, tmp_path: Path) -> None:
    plain = writing.to_plain(written)
    for place in places(plain):
        place["colour"] = "red"
        (tmp_path / "x.json").write_text(json.dumps(plain), encoding="utf-8")
        with pytest.raises(ProtocolViolation, match=r"^x\.json: .*colour: Unexpected keyword argument$"):
            parse_json(tmp_path / "x.json", schema)
        del place["colour"]


def places(plain: Any) -> Iterator[dict[str, Any]]:
    """The dictionaries that stand for records: those whose keys are fields of one."""
    if isinstance(plain, dict):
        if any(set(plain) == {part.name for part in fields(kind)} for kind in RECORDS):
            yield plain
        plain = list(plain.values())
    for part in plain if isinstance(plain, list) else ():
        yield from places(part)


@pytest.mark.parametrize("kind", RECORDS)
def test_a_key_that_is_none_is_our_mistake(kind: type[Any]) -> None:
    with pytest.raises(TypeError, match="colour"):
        kind(colour="red")


@pytest.mark.parametrize("kind", [kind for kind in RECORDS if kind is not Training])
def test_what_is_written_down_stays_so(kind: type[Any]) -> None:
    assert kind.__dataclass_params__.frozen


DEFINITIONS = """
from torch import nn
def count_trainable_parameters(model): return sum(p.numel() for p in model.parameters() if p.requires_grad)
def extract_qv_layers(model): return {n: m for n, m in model.named_modules() if n.endswith(("q_lin", "v_lin"))}
def replace_layers(model, named_layers):
    for name, layer in named_layers.items():
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, layer)
    return model
class LoRALayer(nn.Module):
    def __init__(self, W, rank=12, alpha=24):
        super().__init__()
        self.W, self.scale = W, alpha / rank
        self.A, self.B = (nn.Linear(*s, bias=False) for s in ((W.in_features, rank), (rank, W.out_features)))
        nn.init.zeros_(self.B.weight)
    def forward(self, x): return self.W(x) + self.scale * self.B(self.A(x))
"""
SCHEMAS = {"count": reader.COUNT, "extract": reader.EXTRACT, "replace": reader.REPLACE, "lora": reader.LORA}


@pytest.mark.parametrize("source", [DEFINITIONS, ""], ids=["all defined", "nothing defined"])
@pytest.mark.parametrize("family", SCHEMAS)
def test_answers_of_the_probes_are_read(family: str, source: str, tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(source, namespace)
    bindings = Bindings(assignment.LOOKED_FOR)
    bindings.note(namespace, source)
    drawn = challenges.draw(0)
    writing.write_tensors(str(tmp_path), "given.safetensors", drawn.lora_tensors)
    request = drawn.build_requests(str(tmp_path / "given.safetensors"))[family]
    answers, _ = probes.observe(family, request, bindings, namespace)
    writing.write_json(str(tmp_path), "x.json", answers)
    assert parse_json(tmp_path / "x.json", SCHEMAS[family]) == answers
    assert bool(answers.items) is bool(answers.found) is bool(source)
    assert not any(item.error for item in answers.items)


def test_the_environment_is_read(tmp_path: Path) -> None:
    seen = bootstrap.describe_environment()
    writing.write_json(str(tmp_path), "environment.json", seen)
    assert parse_json(tmp_path / "environment.json", reader.ENVIRONMENT) == seen
    assert seen.torch == torch.__version__


def bound(kind: Any, name: str) -> int:
    """How much of a field the host takes."""
    hint = get_type_hints(kind, include_extras=True)[name]
    return next(mark.max_length for mark in get_args(hint)[1:] if isinstance(mark, MaxLen))


# What the kernel cuts, it cuts to less than the host takes: a long answer is no violation.
CUTS = [
    pytest.param(observation.MAX_NAMES, bound(Entry, "trainable_names"), id="names"),
    pytest.param(observation.MAX_NAMES, bound(Entry, "changed"), id="names of what is changed"),
    pytest.param(weights.MAX_EXTRA, bound(Exit, "extra"), id="names that are nobody's"),
    pytest.param(review_keys.MAX_ROWS, bound(RowKeys, "keys"), id="rows"),
    pytest.param(recorder.MAX_LOG, bound(Training, "log"), id="lines of a log"),
    pytest.param(recorder.MAX_EVALUATIONS, bound(Training, "evaluations"), id="evaluations"),
    pytest.param(len(recorder.ARGUMENTS), bound(Training, "arguments"), id="arguments"),
    pytest.param(functions.MAX_ENTRIES, bound(ExtractItem, "entries"), id="entries"),
    pytest.param(len(writing.cut("x" * 10_000)), bound(Raised, "message"), id="a message"),
    pytest.param(len(writing.cut("x" * 10_000)), bound(CountItem, "printed"), id="what was printed"),
]


@pytest.mark.parametrize(("cut", "taken"), CUTS)
def test_the_kernel_cuts_before_the_host_refuses(cut: int, taken: int) -> None:
    assert cut <= taken


HEAVY = ("pydantic", "torch", "numpy", "transformers", "safetensors", "nbformat")


def test_the_schema_costs_the_kernel_nothing() -> None:
    program = f"import sys, grader.protocol.records; print(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
