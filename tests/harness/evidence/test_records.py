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
from grader.protocol.events import fingerprint
from grader.protocol.records import Answers, CountItem, Entry, Exit, ExtractItem, Raised, RowKeys, Training

RAISED = Raised("TypeError", "an 'å' and a \u2028")
KEYS = RowKeys(3, "text", ("a", "b"))
ENTRY = Entry("M", 1, 2, ("a.b",), {"a": "L"}, {"a": ((6, 768), (768, 6), ())}, ("c",), "0f", {"a": "0f"})
EXIT = Exit(
    "training-0.safetensors",
    "0f",
    {"a": records.Reduction("float32", 0.5)},
    {"b": "ValueError"},
    ("extra",),
    {"a": "0f"},
)
TRAINING = Training(
    index=0,
    via="Trainer",
    finished=True,
    entry=ENTRY,
    error=RAISED,
    device="cpu",
    exit=EXIT,
    data=records.DataSeen(KEYS, replace(KEYS, kind="tokens")),
    evaluations=(None, KEYS),
    arguments={"max_steps": -1.0, "learning_rate": None},
    log=(records.LogEntry(1.0, 0.5, 0.25, 0.75, 0.5), records.LogEntry()),
    seconds=1.5,
    steps=2,
    precision="bfloat16 autocast",
    batch=records.BatchSeen(512, True),
    gradients="gradients-0.safetensors",
    unrecorded=RAISED,
    work=records.Work(2, 2, 8, (0.75, None), 0.5, 0.25, 0.0, 1000, 990),
)
EXTRACTED = ExtractItem("dict", True, (records.LayerEntry("a", "Linear", True, "b"),), RAISED)
LORA = records.LoraItem("k", "fresh", ("fresh",), ((1, 2), (3,)), 2, True, RAISED, 1)
# Each file that the kernel writes, with every key in use.
FILES: dict[str, tuple[TypeAdapter[Any], Any]] = {
    "trainings": (reader.TRAININGS, (TRAINING,)),
    "count": (reader.COUNT, Answers("f", (CountItem(1, "int", "x", RAISED),))),
    "extract": (reader.EXTRACT, Answers("f", (EXTRACTED,))),
    "replace": (reader.REPLACE, Answers("f", (records.ReplaceItem(("a",), 1, True, RAISED),))),
    "lora": (reader.LORA, Answers("f", (LORA,))),
    "environment": (reader.ENVIRONMENT, records.Environment("3.11", "2", "5", "5", "cpu", "2")),
}
CLASSES = [kind for _, kind in inspect.getmembers(records, inspect.isclass)]
RECORDS = [kind for kind in CLASSES if issubclass(kind, records.Record) and kind is not records.Record]


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No host listens here."""
    monkeypatch.setattr(writing, "announce", lambda name, sha256: None)


def written(folder: Path, value: Any) -> Path:
    writing.write_json(str(folder), "x.json", value)
    return folder / "x.json"


def places(plain: Any) -> Iterator[dict[str, Any]]:
    """The dictionaries that stand for records: those whose keys are fields of one."""
    if isinstance(plain, dict):
        if any(set(plain) == {part.name for part in fields(kind)} for kind in RECORDS):
            yield plain
        plain = list(plain.values())
    for part in plain if isinstance(plain, list) else ():
        yield from places(part)


@pytest.mark.parametrize(("schema", "value"), FILES.values(), ids=FILES)
def test_what_is_written_is_read_and_no_record_takes_another_key(
    schema: TypeAdapter[Any], value: Any, tmp_path: Path
) -> None:
    assert parse_json(written(tmp_path, value), schema) == value
    plain = writing.to_plain(value)
    for place in places(plain):
        place["colour"] = "red"
        with pytest.raises(ProtocolViolation, match=r"^x\.json: .*colour: Unexpected keyword argument$"):
            parse_json(written(tmp_path, plain), schema)
        del place["colour"]


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
    assert {type(part) for _, value in FILES.values() for part in parts(value)} == set(RECORDS)


def test_a_training_is_known_by_its_digest_whatever_is_evaluated_later(tmp_path: Path) -> None:
    (plain,) = json.loads(written(tmp_path, (TRAINING,)).read_bytes())
    del plain["evaluations"]
    later, other = replace(TRAINING, evaluations=()), replace(TRAINING, steps=3)
    assert fingerprint(plain) == recorder.fingerprint_record(TRAINING) == recorder.fingerprint_record(later)
    assert fingerprint(plain) != recorder.fingerprint_record(other)


@pytest.mark.parametrize("kind", RECORDS)
def test_a_key_that_is_none_is_our_mistake_and_what_is_written_down_stays_so(kind: type[Any]) -> None:
    with pytest.raises(TypeError, match="colour"):
        kind(colour="red")
    assert kind.__dataclass_params__.frozen is (kind is not Training)


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
    assert parse_json(written(tmp_path, answers), SCHEMAS[family]) == answers
    assert bool(answers.items) is bool(answers.found) is bool(source)
    assert not any(item.error for item in answers.items)


def test_the_environment_is_read(tmp_path: Path) -> None:
    seen = bootstrap.describe_environment()
    assert parse_json(written(tmp_path, seen), reader.ENVIRONMENT) == seen
    assert seen.torch == torch.__version__


def bound(kind: Any, name: str) -> int:
    hint = get_type_hints(kind, include_extras=True)[name]
    return next(mark.max_length for mark in get_args(hint)[1:] if isinstance(mark, MaxLen))


# What the kernel cuts, it cuts to less than the host takes: a long answer is no violation.
MESSAGE = len(writing.cut("x" * 10_000))
CUTS = {
    "names": (observation.MAX_NAMES, bound(Entry, "trainable_names")),
    "names of what is changed": (observation.MAX_NAMES, bound(Entry, "changed")),
    "names that are nobody's": (weights.MAX_EXTRA, bound(Exit, "extra")),
    "rows": (review_keys.MAX_ROWS, bound(RowKeys, "keys")),
    "lines of a log": (recorder.MAX_LOG, bound(Training, "log")),
    "evaluations": (recorder.MAX_EVALUATIONS, bound(Training, "evaluations")),
    "arguments": (len(recorder.ARGUMENTS), bound(Training, "arguments")),
    "entries": (functions.MAX_ENTRIES, bound(ExtractItem, "entries")),
    "a message": (MESSAGE, bound(Raised, "message")),
    "what was printed": (MESSAGE, bound(CountItem, "printed")),
}


def test_the_kernel_cuts_before_the_host_refuses() -> None:
    assert {name: bounds for name, bounds in CUTS.items() if bounds[0] > bounds[1]} == {}


def test_the_schema_costs_the_kernel_nothing() -> None:
    heavy = ("pydantic", "torch", "numpy", "transformers", "safetensors", "nbformat")
    program = f"import sys, grader.protocol.records; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
