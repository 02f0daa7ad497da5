"""The LoRA checks, repeated with other seeds: a verdict on a right layer must not depend on the draw.

No notebook runs here. The class is taken from the case's cells, the probes ask it in this process (it is our own
code), and the functions of the suite judge the answers.
"""

import ast
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors.torch import save_file

from grader import assignment, challenges
from grader.evidence.reader import Evidence
from grader.execution.record import RunConditions, RunRecord
from grader.judging.case import Case, Oracle
from grader.judging.suite import Advice, Outcome
from grader.kernel.namespace import Bindings
from grader.kernel.probes import observe
from grader.model import Profile, RunStatus, RunSummary, SubmissionRef
from grader.paths import ROOT
from grader.protocol.records import LoraAnswers
from tests.proof.validity.corpus import Base, CorpusCase

FAMILY = "step3.lora_"
FILES = ("tests/public/test_step3.py", "tests/hidden/test_lora.py")
CELLS = ("imports", "lora-layer")

Check = Callable[[Case], None]


@dataclass(frozen=True)
class Repetition:
    """How often a check of the family failed."""

    case: str
    seeds: int
    failures: tuple[str, ...]  # "seed 7: step3.lora_forward: ..."

    @property
    def flips(self) -> int:
        """How many verdicts were not `passed`."""
        return len(self.failures)


def repeat(base: Base, case: CorpusCase, seeds: Iterable[int]) -> Repetition:
    """Judge the case's LoRA layer once for each seed."""
    names = {"lora": assignment.LORA_NAMES}
    namespace = execute_definitions(dict(zip(base.cells, case.cells, strict=False)))
    numbers = tuple(seeds)
    failures = tuple(failure for seed in numbers for failure in _failures(namespace, names, seed))
    return Repetition(case.id, len(numbers), failures)


def execute_definitions(cells: Mapping[str, str]) -> dict[str, Any]:
    """A namespace with the imports and definitions of the LoRA cells; their other statements are not run."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for name in CELLS:
        kept: list[ast.stmt] = [node for node in ast.parse(cells[name]).body if isinstance(node, KEPT)]
        exec(compile(ast.Module(kept, []), f"<{name}>", "exec"), namespace)
    return namespace


KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


def _failures(namespace: dict[str, Any], names: Mapping[str, tuple[str, ...]], seed: int) -> Iterator[str]:
    answered = ask_class(namespace, names, seed)
    for check, function in load_family().items():
        try:
            function(answered)
        except Advice:
            continue
        except Outcome as outcome:
            yield f"seed {seed}: {check}: {outcome.rationale}"


def ask_class(namespace: dict[str, Any], names: Mapping[str, tuple[str, ...]], seed: int) -> Case:
    """A case that holds the answers of the class in `namespace` to the challenges of a seed."""
    drawn = challenges.draw(seed)
    bindings = Bindings(names)
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
        self.run, self._lora, self._tensors = run, lora, tensors

    @property
    def lora(self) -> LoraAnswers:
        """The answers."""
        return self._lora

    @property
    def lora_tensors(self) -> dict[str, Any]:
        """The tensors that belong to them."""
        return self._tensors

    @property
    def sources(self) -> dict[int, str]:
        """None: the source is judged once, with the corpus."""
        return {}


def build_record(seed: int) -> RunRecord:
    """As little of a run record as judging needs."""
    conditions = RunConditions(
        profile=Profile.STRUCTURE, seed=seed, checkpoint="", checkpoint_sha256="", reviews="", reviews_sha256="",
        synthetic=False, precision="float32", budget="", sandbox="none", grader="",
    )  # fmt: skip
    summary = RunSummary(status=RunStatus.OK, wall_s=0, peak_memory_mib=0)
    return RunRecord(
        submission=SubmissionRef(name="", sha256=""), conditions=conditions, summary=summary, reason="", cells=(),
        training_cells={}, probes={}, timings={},
    )  # fmt: skip


def _refuse(*args: object) -> Any:
    raise LookupError("the LoRA checks need no oracle but their challenges")


NO_ORACLE = Oracle(base_weights=Path(), meter=_refuse, library=_refuse, calibration=_refuse)


@cache
def load_family() -> Mapping[str, Check]:
    """The suite's functions for the LoRA layer, by check id."""
    found: dict[str, Check] = {}
    for number, path in enumerate(FILES):
        module = _module(ROOT / path, f"_suite_{number}")
        for function in vars(module).values():
            for mark in getattr(function, "pytestmark", ()):
                if mark.name == "check" and mark.kwargs["id"].startswith(FAMILY):
                    found[mark.kwargs["id"]] = function
    return found


def _module(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
