"""In a forked process: executes the cells of one program, trains small copies of its models, puts the probes to it.

A program is executed twice. With models of full size, everything that a training finds at its start is described
exactly as in a real run. With models of the same shape but 48 wide, two real training steps are taken, and the trained
weights are exported. So the entries of `trainings.json` are those of DistilBERT, its exits those of the small model,
and the judge is given the small model as the pretrained one. Cells are plain Python here: what IPython adds is the
business of the whole notebooks.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from grader import assignment
from grader.kernel import probes, weights
from grader.kernel.namespace import Bindings
from grader.kernel.training import observation
from grader.kernel.writing import write_json, write_tensors
from grader.protocol.records import Entry, Exit, Training
from tests.proof.generated.models import Supply

STEPS: Final = 2  # as in profile `structure`: A and B both move, whichever is zero at first
LEARNING_RATE: Final = 1e-2
TRAININGS: Final = {"train-full": "full_model", "train-head": "head_model", "train-lora": "lora_model"}  # cell -> model
EXECUTED: Final = (
    *("load-model", "train-full", "freeze-encoder", "train-head"),
    *("extract-qv-layers", "replace-layers", "lora-layer", "wrap-layers", "train-lora"),
)
ENDED: Final = "ended.json"


class Hub:
    """What `AutoModelForSequenceClassification` is while a program runs: hands out the models of a supply."""

    def __init__(self, supply: Supply) -> None:
        self.waiting = list(supply.models)
        self.first = self.waiting[-1]

    def from_pretrained(self, *args: Any, **kwargs: Any) -> nn.Module:
        """A fresh pretrained model. Raises IndexError when a program loads more of them than it has steps."""
        return self.waiting.pop()


Exported = tuple[dict[str, Tensor], Exit]


@dataclass(frozen=True)
class Stage:
    """All that programs are executed with: prepared once, before processes fork."""

    names: Mapping[str, Any]  # of the reference's first cells
    full: Supply
    small: Supply
    requests: Mapping[str, dict[str, Any]]  # to the probes
    first: tuple[Entry, Exported] | None = None  # the training of step 1, which is the same for all programs


def prepare(stage: Stage) -> Stage:
    """Train step 1 once for all."""
    (full,), (small,) = stage.full.models[-1:], stage.small.models[-1:]
    entry = observation.describe_entry(full, dict(stage.full.base))
    return replace(stage, first=(entry, train(copy.deepcopy(small), dict(stage.small.base))))


def witness(stage: Stage, cells: Mapping[str, str], folder: Path) -> None:
    """Execute and probe a program, and leave evidence in `folder`, with how its cells ended."""
    names, entries, errors = execute(stage, stage.full, cells, observation.describe_entry, 0)
    _, exits, _ = execute(stage, stage.small, cells, train, 1)
    trainings = [build_training(i, entries[cell], exits.get(cell), folder) for i, cell in enumerate(entries)]
    write_json(str(folder), "trainings.json", trainings)
    probe(stage, names, folder)
    (folder / ENDED).write_text(json.dumps(errors), encoding="utf-8")


def probe(stage: Stage, names: dict[str, Any], folder: Path) -> None:
    """Put all questions to what the program defines, as `probes.run` does."""
    bindings = Bindings(assignment.LOOKED_FOR)
    bindings.note(names)
    for family, request in stage.requests.items():
        answers, tensors = probes.observe(family, request, bindings, names)
        if tensors:
            write_tensors(str(folder), f"probe-{family}.safetensors", tensors)
        write_json(str(folder), f"probe-{family}.json", answers)


Observe = Callable[[nn.Module, dict[str, Tensor]], Any]
Executed = tuple[dict[str, Any], dict[str, Any], dict[str, list[str]]]


def execute(stage: Stage, supply: Supply, cells: Mapping[str, str], observe: Observe, part: int) -> Executed:
    """Run the cells; where the reference trains, observe the model instead.

    Returns the names that the cells leave, what was observed by cell, and errors by cell. `part`: of what is known of
    step 1. It is taken as known where nothing has touched the first model.
    """
    hub = Hub(supply)
    names = {**stage.names, "__name__": "__main__", "AutoModelForSequenceClassification": hub}
    found: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    torch.manual_seed(0)
    for cell in EXECUTED:
        try:
            if cell not in TRAININGS:
                exec(compile(cells[cell], f"<{cell}>", "exec"), names)
                continue
            model = names[TRAININGS[cell]]
            fresh = model is hub.first and all(p.requires_grad for p in model.parameters())
            found[cell] = stage.first[part] if fresh and stage.first else observe(model, dict(supply.base))
        except Exception as error:  # whatever a program raises is the observation
            errors[cell] = [type(error).__name__, str(error)[:500]]
    return names, found, errors


def train(model: nn.Module, base: dict[str, Tensor]) -> Exported:
    """What two steps of training change, as the recorder writes it down."""
    words = torch.randint(1, 50, (2, 8), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE)
    model.train()
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(input_ids=words, labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
    model.eval()
    model(input_ids=words)  # as the evaluation at the end of an epoch does
    tensors, notes = weights.export(model, base)
    return tensors, replace(notes, head_sha256=observation.hash_head(model))


def build_training(index: int, entry: Entry, trained: Exported | None, folder: Path) -> Training:
    """One training; unfinished where the small model could not be trained."""
    record = Training(index, "Trainer.train", finished=trained is not None, entry=entry, device="cpu")
    if trained is not None:
        tensors, notes = trained
        record.steps, record.seconds = STEPS, 1.0
        record.exit = replace(notes, file=f"training-{index}.safetensors")
        write_tensors(str(folder), f"training-{index}.safetensors", tensors)
    return record
