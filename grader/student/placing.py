"""Which of the three steps a training belongs to.

Grading sees all trainings of a notebook and judges the three that stand for its steps. Here only some are there yet,
tried again and again, and a wrong one has to be judged under the step in which it was tried: a step 2 in which nothing
is frozen looks like a step 1. So besides the model it counts where the cell stands in the notebook, what the training
is called, and what the cells since the training before it do with this model.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Final

from grader.judging.places.code import Code, list_read
from grader.protocol.records import Entry
from grader.protocol.tensor_names import ENCODER
from grader.student.noted import STEPS, Noted

# What trainings of each step are called, as a part of a name: of a folder, of a variable.
NAMES: Final = {
    "step3": r"lora|adapter|step_?3|part_?3",
    "step2": r"head|frozen|freez|step_?2|part_?2",
    "step1": r"full|step_?1|part_?1",
}
SETS: Final = re.compile(r"requires_grad\s*=(?!=)|requires_grad_\(|setattr\([^)\n]*requires_grad", re.I)
FREEZES: Final = re.compile(rf"{SETS.pattern}|freez\w*\(", re.I)
# The same in one statement, without what makes parameters trainable again.
FROZE: Final = re.compile(
    r"requires_grad\s*=(?!=|\s*True\b)|requires_grad_\((?!True\b|\))|setattr\([^)\n]*requires_grad|(?<!un)freez\w*\(",
    re.I,
)
ADAPTS: Final = re.compile(r"replace_?layers\(|\blora\w*\(|extract_?qv\w*\(", re.I)


def place(
    entry: Entry, section: str | None, variables: Sequence[str], labels: Sequence[str], since: Sequence[str]
) -> str:
    """Return the step that a training belongs to.

    Args:
        entry: the model at its start.
        section: the step under whose heading the cell stands, where that is known.
        variables: names of the model in the notebook.
        labels: what the training is called otherwise: its folder, what it is recorded under.
        since: the cells that ran since the training before it.
    """
    called = [*variables, *labels]
    if entry.wrapped:
        return "step3"
    # A name that is left over, of a model or of a folder, is one of an earlier step: the latest is meant.
    named = max((step for name in called if (step := read_name(name))), default=None)
    if section in STEPS:
        return named if named and _is_elsewhere(entry, section, named) else section
    done = [*_list_statements(variables, since)]
    adapted = named == "step3" or (named is None and any(map(ADAPTS.search, done)))
    encoder = [name for name in entry.trainable_names if name.startswith(ENCODER)]
    if not encoder:  # a folder's name may be left over from the step before
        return "step3" if adapted else "step2"
    if named or adapted:
        return named or "step3"
    return "step2" if entry.trainable < entry.total or any(map(FROZE.search, done)) else "step1"


def read_form(entry: Entry) -> str | None:
    """Return the step that asks for such a model: all of it is trained, or the head, or adapters; None for another."""
    if entry.wrapped:
        return "step3"
    if not any(name.startswith(ENCODER) for name in entry.trainable_names):
        return "step2"
    return "step1" if entry.trainable == entry.total else None


def place_together(trainings: Sequence[Noted]) -> None:
    """Place those of one cell anew by what their models are, where models of several kinds are trained in it.

    Then the heading above it says nothing, and a name still does.
    """
    forms = [read_form(noted.entry) for noted in trainings]
    if len(set(forms)) == 1:
        return
    for noted, form in zip(trainings, forms, strict=True):
        if not noted.named and form is not None:
            noted.step = form


def _list_statements(variables: Sequence[str], cells: Sequence[str]) -> Iterator[str]:
    """Yield the statements about a model since one of its variables got it, the last one first.

    A function that is only defined has changed nothing, and the template's own assertions freeze toys.
    """
    steps = Code(dict(enumerate(cells))).steps
    for name in variables:
        for step in reversed(steps):
            if name in step.names and not isinstance(step.node, ast.Assert):
                yield ast.unparse(step.node)
            if name in step.assigned and name not in list_read(step.node):  # before, it was another model
                break


def _is_elsewhere(entry: Entry, section: str, named: str) -> bool:
    """Return True for a model that is trained as the step asks for that its name speaks of, below whatever heading.

    One cell of step 3 may train all three models. Below the heading of step 2, a model of which nothing is frozen is
    one that ought to be, whatever its name is.
    """
    if named == "step2":
        return not any(name.startswith(ENCODER) for name in entry.trainable_names)
    return (section, named) == ("step3", "step1") and entry.trainable == entry.total


def read_name(name: str) -> str | None:
    """Return the step that a name speaks of, if it speaks of one."""
    found = [step for step, words in NAMES.items() if re.search(rf"(?<![a-z])(?:{words})", name.lower())]
    return found[0] if len(found) == 1 else None
