"""The LoRA checks, repeated with other seeds: a verdict on a right layer must not depend on the draw.

No notebook runs here. The class is taken from the case's cells, the probes ask it in this process (it is our own
code), and the functions of the suite judge the answers.
"""

import ast
import importlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from nbformat.v4 import new_notebook
from safetensors.torch import save_file

from grader import assignment, challenges
from grader.evidence.reader import Evidence
from grader.execution.record import RunConditions, RunRecord
from grader.judging.case import Case, Oracle
from grader.judging.suite import Advice, Outcome
from grader.kernel.namespace import Bindings
from grader.kernel.probes import observe
from grader.model import Profile, RunStatus, RunSummary
from grader.protocol.records import LoraAnswers
from tests.proof.validity.corpus import Base, CorpusCase

FAMILY = "step3.lora_"
MODULES = ("tests.public.test_step3", "tests.public.test_step3_gradients", "tests.hidden.test_lora")
CELLS = ("imports", "lora-layer")
KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)  # of these cells

Check = Callable[[Case], None]


def repeat(base: Base, case: CorpusCase, seeds: Iterable[int]) -> tuple[str, ...]:
    """Judge the case's LoRA layer once for each seed, and return the failures: `seed 7: step3.lora_forward: …`."""
    cells = dict(zip(base.cells, case.cells, strict=False))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for name in CELLS:
        kept: list[ast.stmt] = [node for node in ast.parse(cells[name]).body if isinstance(node, KEPT)]
        exec(compile(ast.Module(kept, []), f"<{name}>", "exec"), namespace)
    return tuple(failure for seed in seeds for failure in _list_failures(namespace, seed))


def _list_failures(namespace: dict[str, Any], seed: int) -> Iterator[str]:
    answered = ask_class(namespace, seed)
    for check, function in load_family().items():
        try:
            function(answered)
        except Advice:
            continue
        except Outcome as outcome:
            yield f"seed {seed}: {check}: {outcome.rationale}"


def ask_class(namespace: dict[str, Any], seed: int) -> Case:
    """A case that holds the answers of the class in `namespace` to the challenges of a seed."""
    drawn = challenges.draw(seed)
    bindings = Bindings({"lora": assignment.LORA_NAMES})
    bindings.note(namespace)
    with tempfile.TemporaryDirectory(prefix="a4-ask-") as folder:
        file = Path(folder) / "challenges.safetensors"
        save_file(drawn.lora_tensors, file)
        answers, tensors = observe("lora", drawn.build_requests(str(file))["lora"], bindings, namespace)
    return Case(AnswerEvidence(answers, {k: t.detach() for k, t in tensors.items()}, build_record(seed)), NO_ORACLE)


class AnswerEvidence(Evidence):
    """Evidence that never was on disk: answers of the LoRA family only."""

    def __init__(self, lora: LoraAnswers, tensors: dict[str, Any], run: RunRecord) -> None:
        """Take what `observe` returns."""
        self.run, self.lora, self.lora_tensors, self.trainings = run, lora, tensors, ()
        self.submitted = new_notebook()  # without sources: these are judged once, with the corpus


def build_record(seed: int) -> RunRecord:
    """As little of a run record as judging needs."""
    conditions = RunConditions.model_construct(profile=Profile.STRUCTURE, seed=seed, precision="float32")
    summary = RunSummary(status=RunStatus.OK, wall_s=0, peak_memory_mib=0)
    return RunRecord.model_construct(
        conditions=conditions, summary=summary, reason="", cells=(), probes={}, training_cells={}
    )


def _refuse(*args: object) -> Any:
    raise LookupError("the LoRA checks need no oracle but their challenges")


NO_ORACLE = Oracle(base_weights=Path(), meter=_refuse, library=_refuse, calibration=_refuse)


@cache
def load_family() -> Mapping[str, Check]:
    """The suite's functions for the LoRA layer, by check id."""
    return {
        mark.kwargs["id"]: function
        for module in map(importlib.import_module, MODULES)
        for function in vars(module).values()
        for mark in getattr(function, "pytestmark", ())
        if mark.name == "check" and mark.kwargs["id"].startswith(FAMILY)
    }
