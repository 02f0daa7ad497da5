"""Run in a process of its own by test_offline.py: loads what a notebook would and prints what happened as JSON.

Any attempt to reach a network is refused and recorded.
"""

import json
import logging
import socket
from logging.handlers import BufferingHandler

attempts: list[str] = []


def refuse(*where: object, **_: object) -> None:
    attempts.append(repr(where))
    raise OSError("no network in this test")


socket.socket.connect = refuse  # type: ignore[assignment,method-assign]
socket.getaddrinfo = refuse  # type: ignore[assignment]

import evaluate  # noqa: E402  (imports come after the guard on purpose)
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from datasets import load_dataset  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DistilBertForSequenceClassification,
    DistilBertTokenizerFast,
)

from grader.assets.metrics import METRICS  # noqa: E402
from grader.assignment import HEAD_MODULES, MODEL_NAMES  # noqa: E402

recorder = BufferingHandler(capacity=10**6)
recorder.setLevel(logging.WARNING)
for library in ("transformers", "huggingface_hub", "evaluate", "datasets"):
    logging.getLogger(library).addHandler(recorder)


def count(name: str) -> dict[str, int]:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(name, num_labels=2)
    head = sum(p.numel() for part in HEAD_MODULES for p in getattr(model, part).parameters())
    return {"all": sum(p.numel() for p in model.parameters()), "head": head}


def measure(name: str) -> dict[str, float]:
    metric = evaluate.load(name, "mrpc" if name == "glue" else None)
    column = "prediction_scores" if name == "roc_auc" else "predictions"
    return metric.compute(references=[1, 0, 0, 1], **{column: [1, 1, 0, 1]})


def tokenized(tokenizer_class: type, name: str) -> list[list[int]]:
    tokenizer = tokenizer_class.from_pretrained(name)  # type: ignore[attr-defined]
    lengths = [len(tokenizer("good " * 600, truncation=cut)["input_ids"]) for cut in (True, False)]
    return [tokenizer("A dull mess.")["input_ids"], lengths]


pd.DataFrame({"review": ["dull", "fun"], "label": [0, 1]}).to_csv("train.csv")

report = {
    "rows": load_dataset("csv", data_files="train.csv")["train"]["label"][:],
    "parameters": {name: count(name) for name in MODEL_NAMES},
    "hidden": [
        list(AutoModel.from_pretrained(name)(torch.tensor([[101, 102]])).last_hidden_state.shape)
        for name in MODEL_NAMES
    ],
    "dropout": [AutoConfig.from_pretrained(name).seq_classif_dropout for name in MODEL_NAMES],
    "explicit_class": type(DistilBertForSequenceClassification.from_pretrained(MODEL_NAMES[0])).__name__,
    "tokens": [tokenized(kind, name) for kind in (AutoTokenizer, DistilBertTokenizerFast) for name in MODEL_NAMES],
    "metrics": {name: measure(name) for name in METRICS},
    "lists": evaluate.load("f1", "multilabel").compute(references=[[1, 1]], predictions=[[1, 0]], average="micro"),
    "names": [evaluate.load(name).name for name in METRICS],
    "combined": evaluate.combine(["accuracy", "f1"]).compute(predictions=[1, 0], references=[1, 1]),
}
warnings = [record.getMessage() for record in recorder.buffer]
print(json.dumps({**report, "attempts": attempts, "warnings": warnings}))
