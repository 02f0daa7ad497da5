"""A case together with its code, as finders of places read both."""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from grader import assignment
from grader.judging.case import Case
from grader.judging.places.code import Code, Spot
from grader.judging.places.lora_code import LoraCode
from grader.judging.places.training_code import History, TrainingCode
from grader.model import Method, Place
from grader.protocol.records import Raised
from grader.text import sanitise

Finder = Callable[["Notebook"], Spot | None]

FRAME: Final = re.compile(
    r"Cell In\[(\d{1,7})\], line (\d{1,7})\b"
)  # how IPython names the line of a cell in a traceback
COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Notebook:
    """A case, and its code as it is read to find places."""

    case: Case

    @cached_property
    def code(self) -> Code:
        """The code cells."""
        run = self.case.evidence.run
        failed = {cell.index: self.find_failing_line(cell.index) for cell in run.summary.failed_cells}
        return Code(self.case.evidence.sources, failed, run.out_of_order)

    @cached_property
    def trainings(self) -> TrainingCode:
        """The statements that train."""
        return TrainingCode(self.code)

    @cached_property
    def lora(self) -> LoraCode | None:
        """The class of the LoRA layer."""
        definition = self.find_definition("lora")
        return LoraCode(self.code, definition) if definition and isinstance(definition.node, ast.ClassDef) else None

    def find_definition(self, what: str) -> Spot | None:
        """Return what the probes of this family called, or what was defined and failed; None where there is neither."""
        answers = getattr(self.case.evidence, what)
        names = (answers.found,) if answers and answers.found else assignment.LOOKED_FOR[what]
        found = next((spot for name in names if (spot := self.code.definitions.get(name))), None)
        return found or next((s for s in reversed(self.code.steps) if s.assigned & set(names)), None)

    def list_errors(self, what: str, stage: str = "") -> list[Raised]:
        """Return the errors of a family of probes, or those of one stage of it."""
        answers = getattr(self.case.evidence, what)
        items = answers.items if answers else ()
        return [item.error for item in items if item.error and (not stage or item.stage == stage)]

    def read_traceback(self, cell: int) -> str:
        """Return the traceback of a cell without its colours."""
        records = {record.index: record for record in self.case.evidence.run.cells}
        return COLOURS.sub("", records[cell].traceback) if cell in records else ""

    def list_frames(self, cell: int) -> list[tuple[int, int]]:
        """Return the execution counts and lines of the traceback of a cell, outermost first."""
        return [(int(count), int(line)) for count, line in FRAME.findall(self.read_traceback(cell))]

    def find_failing_line(self, cell: int) -> int:
        """Return the line of a cell that raised; 0 where it is unknown."""
        frames = self.list_frames(cell)
        return frames[0][1] if frames else 0

    def find_history(self, method: Method) -> History | None:
        """Return what came before the training that is judged for a method; None where the code does not show it.

        A function that a cell below defines anew was another one when the model was trained.
        """
        training = self.case.training(method)
        if training is None:
            return None
        start = self._find_start(training.index)
        return TrainingCode(self.code.until(start.cell)).trace(start) if start else None

    def precedes(self, first: Spot, second: Spot) -> bool:
        """Return True if a statement outside of all definitions ran before another one."""
        steps = self.code.steps
        return first in steps and second in steps and steps.index(first) < steps.index(second)

    def _find_start(self, index: int) -> Any:
        cells = self.case.evidence.run.training_cells
        known = [cells.get(number) for number in range(len(self.case.evidence.trainings))]
        return self.trainings.find_step(index, known)


def locate(case: Case, find: Finder) -> Place | None:
    """Return the place that a function of this module finds in a case."""
    notebook = Notebook(case)
    place = notebook.code.place(find(notebook))
    return place.model_copy(update={"source": sanitise(place.source)}) if place else None
