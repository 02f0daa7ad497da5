"""Runs the cells of a case without data, weights or training: models have shapes, and trainings are only described."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import nbformat.v4
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

from grader import assignment, challenges
from grader.judging.case import Case
from grader.kernel import weights
from grader.kernel.namespace import Bindings
from grader.kernel.probes import observe
from grader.kernel.training import observation
from grader.protocol.records import Answers, Entry, Training
from grader.protocol.tensor_names import HEAD_LINEARS
from tests.proof.validity.repetition import NO_ORACLE, AnswerEvidence, build_record

SKIPPED = ("read-reviews", "tokenize-reviews", "compute-metrics", "import-check")


def load_pretrained(name: str, num_labels: int = 2, **others: Any) -> nn.Module:
    """Return the assignment's model without numbers."""
    with torch.device("meta"):
        config: Any = transformers.DistilBertConfig
        return transformers.DistilBertForSequenceClassification(config(num_labels=num_labels))


class MockTrainer:
    """Describes the model that it is to train."""

    found: ClassVar[list[Entry]]
    base: ClassVar[dict[str, Tensor]]

    def __init__(self, model: nn.Module, *args: Any, **kwargs: Any) -> None:
        """Take what a Trainer takes."""
        self.model = model

    def train(self) -> None:
        """Note the model."""
        inside = weights.find_wrapped(self.model, self.base)
        self.found.append(
            Entry(
                model_class=type(self.model).__name__,
                trainable=sum(p.numel() for p in self.model.parameters() if p.requires_grad),
                total=sum(p.numel() for p in self.model.parameters()),
                trainable_names=tuple(observation.list_trainable(self.model)),
                wrapped={path: type(module).__name__ for path, module in inside.items()},
                adapters={
                    path: tuple(tuple(p.shape) for p in module.parameters() if p.requires_grad)
                    for path, module in inside.items()
                },
            )
        )

    def evaluate(self, *args: Any) -> dict[str, float]:
        """Return what the notebook prints."""
        return {"eval_accuracy": 0.5}


def list_base() -> dict[str, Tensor]:
    """Return the pretrained tensors, without numbers: those below the head."""
    state = load_pretrained("").state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith(HEAD_LINEARS)}


def run_cells(cells: Sequence[tuple[str, str]]) -> tuple[dict[str, Any], tuple[Entry, ...]]:
    """Execute (id, source) of cells, each as far as it goes; return the namespace and the models that were trained."""

    class Trainer(MockTrainer):
        found: ClassVar[list[Entry]] = []
        base = list_base()

    namespace: dict[str, Any] = {"__name__": "__main__", "check": print}
    namespace |= {"tokenized": {"train": None, "eval": None}, "tokenizer": None, "evaluation_helper": None}
    for name, source in cells:
        if name not in SKIPPED:
            try:
                with torch.device("meta"):
                    exec(compile(source, f"<{name}>", "exec"), namespace)
            except Exception as error:  # a notebook goes on after a cell that raises
                namespace["_error"] = error
        if name == "imports":
            namespace |= {
                "Trainer": Trainer,
                "TrainingArguments": lambda **given: SimpleNamespace(**given),
                "AutoModelForSequenceClassification": SimpleNamespace(from_pretrained=load_pretrained),
                "print": lambda *args: None,
            }
    return namespace, tuple(Trainer.found)


def ask(cells: Sequence[tuple[str, str]], seed: int, families: Sequence[str] = ("count", "extract", "lora")) -> Case:
    """Return a case with the answers of what these cells define, and with their trainings."""
    namespace, entries = run_cells(cells)
    drawn = challenges.draw(seed)
    bindings = Bindings(assignment.LOOKED_FOR)
    bindings.note(namespace)
    found: dict[str, tuple[Answers[Any], dict[str, Tensor]]] = {}
    with tempfile.TemporaryDirectory(prefix="a4-ask-") as folder:
        file = Path(folder) / "challenges.safetensors"
        save_file(drawn.lora_tensors, file)
        requests = drawn.build_requests(str(file))
        found = {family: observe(family, requests[family], bindings, namespace) for family in families}
    answers, tensors = found.get("lora", (Answers(), {}))
    evidence = AnswerEvidence(answers, {k: t.detach() for k, t in tensors.items()}, build_record(seed))
    evidence.count, evidence.extract = (found.get(name, (Answers(), {}))[0] for name in ("count", "extract"))
    evidence.trainings = tuple(Training(i, "Trainer", True, entry) for i, entry in enumerate(entries))
    evidence.submitted = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for _, source in cells])
    case = Case(evidence, NO_ORACLE)
    case.base = list_base()
    return case
