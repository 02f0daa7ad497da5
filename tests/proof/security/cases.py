"""The tables in tests/corpus/hostile. Reading one runs nothing: `write` makes the notebooks."""

import json
import re
import tomllib
from pathlib import Path
from typing import Final

from grader.model import FrozenModel, RunStatus

HONEST_ID: Final = "honest definitions"
DEFINITIONS: Final = """
import torch
from torch import nn

def count_trainable_parameters(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)

def extract_qv_layers(model):
    return {name: layer for name, layer in model.named_modules() if name.endswith((".q_lin", ".v_lin"))}

def replace_layers(model, named_layers):
    for name, layer in named_layers.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer)

class LoRALayer(nn.Module):
    def __init__(self, W, rank=12, alpha=24):
        super().__init__()
        self.W, self.scale = W, alpha / rank
        self.A = nn.Linear(W.in_features, rank, bias=False)
        self.B = nn.Linear(rank, W.out_features, bias=False)
        nn.init.zeros_(self.B.weight)

    def forward(self, x):
        return self.W(x) + self.scale * self.B(self.A(x))
"""

MODEL: Final = """
import torch
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments
from transformers.trainer_utils import TrainOutput

model = AutoModelForSequenceClassification.from_pretrained("distilbert-base-uncased", num_labels=2)
model.distilbert.requires_grad_(False)

def shake(model):
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(1e-3 * torch.randn_like(p))

def adapt(model, layer):
    for block in model.distilbert.transformer.layer:
        for name in ("q_lin", "v_lin"):
            setattr(block.attention, name, layer(getattr(block.attention, name)))

def fit(model, trainer, **given):
    rows = [{"input_ids": [101, 2023 + i, 102], "attention_mask": [1] * 3, "labels": i % 2} for i in range(8)]
    args = TrainingArguments(output_dir="out", report_to="none", disable_tqdm=True)
    trainer(model=model, args=args, train_dataset=rows, **given).train()
"""
FORGE: Final = """
import torch

write = type(recorder).write.__globals__["write_tensors"]
names = ["pre_classifier.weight", "pre_classifier.bias", "classifier.weight", "classifier.bias"]
entry = {"model_class": "M", "trainable": 592_130, "total": 66_955_010, "trainable_names": names}
ended = {"file": "training-0.safetensors"}
write(recorder.plan.evidence, ended["file"], {f"w:{name}": torch.randn(2) for name in names})
recorder.records.append({"index": 0, "via": "Trainer", "finished": True, "entry": entry, "exit": ended})
recorder.write()
"""
ANSWERS: Final = """
import ctypes, hashlib, json, os

KIND = "application/" + ".".join(["vnd", "grader", "event+json"])
FOLDER = os.environ["SANDBOX_" + "EVIDENCE"]
paths = [f"distilbert.transformer.layer.{i}.attention.{p}_lin" for i in range(6) for p in "qv"]
layers = [{"name": path, "type": "Linear", "linear": True, "place": path} for path in paths]
items = {"extract": {"type": "dict", "mapping": True, "entries": layers}, "replace": {"placed": paths, "finite": True}}

def announce(send):
    for family, item in items.items():
        data = json.dumps({"found": family, "items": [item] * 2}).encode()
        with open(f"{FOLDER}/probe-{family}.json", "wb") as file:
            file.write(data)
        send({"kind": "written", "name": f"probe-{family}.json", "sha256": hashlib.sha256(data).hexdigest()})
"""
PIECES: Final = {
    "MODEL": MODEL,
    "FORGE": FORGE,
    "ANSWERS": ANSWERS,
    "DASHES": "-" * 20_000,
}  # of sources: what several cases begin or end with


class HostileCase(FrozenModel):
    """One notebook and what may become of it. The fields are explained at the top of processes.toml."""

    id: str
    row: int
    cells: tuple[str, ...]
    outcome: tuple[RunStatus, ...]
    statuses: tuple[str, ...] = ()
    says: str = ""
    earns: tuple[str, ...] = ()
    work: bool = False
    witness: bool = False
    honest: bool = False
    flagged: bool = False
    blameless: bool = False
    times: int = 1
    tags: tuple[str, ...] = ()
    planted: str = ""
    inert: tuple[str, ...] = ()
    name: str = ""
    cell_s: float | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """All cells, those of honest work first."""
        return (DEFINITIONS,) * self.work + self.cells * self.times

    def write(self, folder: Path, places: dict[str, str]) -> Path:
        """Make the notebook, with the places of this run put in. Returns its path."""
        path = folder / f"{self.name.replace('/', '_') or 'notebook'}.ipynb"
        outputs = [{"output_type": "stream", "name": "stdout", "text": self.planted}] if self.planted else []
        metadata = {"tags": list(self.tags)} if self.tags else {}
        cell = {"cell_type": "code", "execution_count": 1, "metadata": metadata, "outputs": outputs}
        cells = [{**cell, "source": fill_places(source, {**PIECES, **places})} for source in self.sources]
        notebook = {"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells}
        path.write_text(json.dumps(notebook), encoding="utf-8")
        return path


class HostileUpload(FrozenModel):
    """One file that is refused unexecuted. `repeat`: beginning, piece, how often, end."""

    id: str
    row: int
    name: str = "upload.ipynb"
    text: str = ""
    hex: str = ""
    repeat: tuple[str, str, int, str] | None = None
    size_mib: int = 0

    def write(self, folder: Path) -> Path:
        """Make the file. Returns its path."""
        path = folder / self.name
        begin, piece, times, end = self.repeat or (self.text, "", 0, "")
        path.write_bytes(bytes.fromhex(self.hex) or (begin + piece * times + end).encode())
        if self.size_mib:
            with path.open("r+b") as file:
                file.truncate(self.size_mib * 2**20)
        return path


class _Table(FrozenModel):
    case: tuple[HostileCase, ...] = ()
    upload: tuple[HostileUpload, ...] = ()


def fill_places(source: str, places: dict[str, str]) -> str:
    """A source with `@NAME@` replaced."""
    return re.sub(r"@(\w+)@", lambda found: places.get(found[1], found[0]), source)


def load_cases(folder: Path) -> tuple[HostileCase, ...]:
    """All notebooks, the honest one last."""
    return tuple(sorted((case for table in _tables(folder) for case in table.case), key=lambda case: case.honest))


def load_uploads(folder: Path) -> tuple[HostileUpload, ...]:
    """All files that are refused."""
    return tuple(upload for table in _tables(folder) for upload in table.upload)


def _tables(folder: Path) -> list[_Table]:
    texts = (path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.toml")))
    return [_Table.model_validate(tomllib.loads(text)) for text in texts]
