"""From judgements to what a student reads: by exercise, with what was looked at, and what is not begun."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FunctionType
from typing import Any, Final

from torch import nn

from grader import assignment
from grader.judging.runner import Judgement
from grader.model import Verdict
from grader.protocol.tensor_names import ENCODER
from grader.reporting import words
from grader.reporting.in_notebook import Mark, Part, Report, Row, count_marks
from grader.student import cells, looks
from grader.student.definitions import find_outdated
from grader.student.exercises import Exercise
from grader.student.live import Observed
from grader.student.noted import Noted
from grader.student.origins import Origin
from grader.student.placing import FREEZES, SETS

MARKS: Final = {
    Verdict.PASSED: Mark.PASSED,
    Verdict.FAILED: Mark.FAILED,
    Verdict.BLOCKED: Mark.BLOCKED,
    Verdict.ERROR: Mark.ERROR,
    Verdict.NOT_JUDGED: Mark.NOT_YET,
}
UNWRITTEN: Final = NotImplementedError.__name__
AGAIN: Final = "Load the model again with `from_pretrained`."
TRAIN_AGAIN: Final = "Then train again: this looks at your last training."
AFRESH: Final = "Then load the model again, and train it."


@dataclass(frozen=True)
class Findings:
    """All that a report is made of."""

    judgements: Mapping[str, Judgement]
    observed: Observed
    trainings: Mapping[str, Noted]  # the last one of each step
    namespace: Mapping[str, Any]
    unseen: Sequence[str]  # what the watch could not note, and why
    # step -> the model that it would train now, and that as if it were a training
    prepared: Mapping[str, tuple[str, Noted, Judgement]] = field(default_factory=dict)
    looks: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)  # number of an exercise -> what was seen
    earlier: Mapping[str, Noted] = field(default_factory=dict)  # step -> its last training in a kernel before this one
    history: Sequence[Noted] = ()  # all trainings that are known, oldest first
    changed: Sequence[str] = ()  # variables with models in which a function changed weights while it was asked
    origins: Mapping[str, Origin] = field(default_factory=dict)  # by what it defines: what comes from another file
    unread: Mapping[str, str] = field(default_factory=dict)  # variables with models that cannot be read -> why
    unwatched: int | None = None  # the cell that began to watch, where one before it may have trained


def build_report(exercises: Sequence[Exercise], found: Findings) -> Report:
    """Build the report on these exercises."""
    parts = tuple(_build_part(exercise, found) for exercise in exercises)
    rows = [row for part in parts for row in part.rows]
    return Report(parts, count_marks(rows), tuple(_list_notes(found)))


def _list_notes(found: Findings) -> Iterator[str]:
    if found.unseen:
        yield f"A training could not be noted ({found.unseen[-1]}). It went on all the same; train again to check it."
    if found.changed:
        names = ", ".join(f"`{name}`" for name in found.changed)
        yield f"A function that was asked here wrote to the weights of {names}, not of its argument. {AGAIN}"


def _build_part(exercise: Exercise, found: Findings) -> Part:
    training = found.trainings.get(exercise.step) if exercise.trains else None
    rows = [*found.looks.get(exercise.number, ())]
    if exercise.prepares and training is None:
        rows += _build_prepared(exercise, found)
    if exercise.trains or not exercise.prepares:
        absent = _find_absent(exercise, found)
        judged = (_build_judged(exercise, found.judgements[name], found, training) for name in exercise.checks)
        rows += [absent] if absent else judged
        rows += _build_origin(found.origins.get(exercise.defines), absent)
    if training:
        rows = [*_list_standing(training, rows), *_build_end(training)]
        rows += _build_unheld(training, rows)
        rows += _build_reused(training, training.find_before(found.history))
        rows += _build_outdated(training, found.namespace)
    note = describe_training(training, time.time()) if training else ""
    return Part(f"{exercise.number} {exercise.title}", tuple(rows), note)


def _build_prepared(exercise: Exercise, found: Findings) -> list[Row]:
    """Return the rows about the model that would be trained now."""
    if exercise.step not in found.prepared:
        done = found.judgements[exercise.checks[0]]  # a model may be gone, or changed, since it was trained rightly
        trained = exercise.step in found.trainings and done.verdict is Verdict.PASSED
        if found.unread and not trained:
            name, said = next(iter(found.unread.items()))
            return [Row(Mark.ERROR, f"`{name}` could not be looked at", said)]
        return [_build_row(done, None) if trained else Row(Mark.NOT_YET, NOT_PREPARED[exercise.step])]
    name, noted, judgement = found.prepared[exercise.step]
    before = noted.find_before(found.history)
    while before and before.step == exercise.step:  # once it is trained in this step, the one before that counts
        before = before.find_before(found.history)
    reused = (replace(row, place=_find_origin(name), hint=AGAIN) for row in _build_reused(noted, before))
    return [_build_form(name, judgement, found), *reused]


def _find_origin(name: str) -> str:
    """Return the line that gave a variable its value."""
    return cells.find_line(_read_variable(name), re.compile(rf"^\s*{re.escape(name)}\s*=(?!=)"))


def _read_variable(name: str) -> str:
    """Return the variable in a name such as `models['head']`."""
    return name.partition("[")[0]


def _build_form(name: str, judgement: Judgement, found: Findings) -> Row:
    row = replace(_build_row(judgement, None), title=f"`{name}` would train the right parameters")
    if row.mark is Mark.FAILED:  # a line that sets it says more than the call of a function that does
        row = replace(row, place=cells.find_line(_read_variable(name), SETS, FREEZES))
    model = dict(looks.list_held(found.namespace)).get(name)
    held = looks.find_attribute(model) if model is not None else None
    if row.mark is Mark.FAILED and held:
        said = f"{row.rationale} `requires_grad` was set on the module `{held}`, which has no effect on its parameters."
        return replace(row, rationale=said, hint="Call the method `requires_grad_(False)`, or set each parameter.")
    return row


INTERRUPTION: Final = KeyboardInterrupt.__name__


def _list_standing(noted: Noted, rows: Sequence[Row]) -> list[Row]:
    """Return the rows that an interruption leaves: what was right when a training began is not done before its end."""
    return [row for row in rows if noted.error != INTERRUPTION or row.mark is not Mark.PASSED]


def _build_end(noted: Noted) -> list[Row]:
    """Return the row about a training that was ended early: it has left no model to compare."""
    title = f"Step {noted.step[-1]} is trained to its end"
    if noted.error == INTERRUPTION:
        said = "The training was interrupted, so this model is not the one to compare."
        return [Row(Mark.NOT_YET, title, said, hint=f"{AGAIN} Then train again, to the end.")]
    if noted.error:
        cell = "the training" if noted.via == "Trainer" else "the cell that trains"
        said = f"Expected {cell} to run to its end; it ended with `{noted.error}`."
        return [Row(Mark.FAILED, title, said, hint=f"Read the last lines below that cell, and put it right. {AFRESH}")]
    return []


def _build_reused(noted: Noted, before: Noted | None) -> list[Row]:
    """Return the row about a model that was trained before: wrong after another step, worth knowing after the same."""
    if before is None:
        return []
    title, number = f"Step {noted.step[-1]} begins with a fresh model", before.step[-1]
    where = f" (In [{before.cell}])" if before.cell else ""
    what = _name_shared(noted, before)
    said = f"Expected a model just loaded; step {number} has trained {what or 'this one'} already{where}."
    if before.step == noted.step:
        said = f"{what.capitalize() or 'This model'} had been trained already{where}"
        said += "; your last training went on from there."
    mark = Mark.NOTE if before.step == noted.step else Mark.FAILED
    return [Row(mark, title, said, hint=f"{AGAIN} {TRAIN_AGAIN}")]


def _build_unheld(noted: Noted, rows: Sequence[Row]) -> list[Row]:
    """Return the row about what no optimiser has changed, where the model is right otherwise."""
    if not (noted.unheld and noted.finished) or any(row.mark is Mark.FAILED for row in rows):
        return []
    number, adapters = noted.step[-1], any(name.startswith(tuple(noted.entry.wrapped)) for name in noted.unheld)
    said = (
        f"Expected an optimiser with all {noted.entry.trainable:,} trainable parameters; "
        f"{sum(noted.unheld.values()):,} of them are in none, for example `{next(iter(noted.unheld))}`, and stay as "
        "they are."
    )
    made = "after `replace_layers`: one that is made before does not know A and B" if adapters else "with all of them"
    return [Row(Mark.FAILED, f"Step {number} trains all that is trainable", said, hint=f"Make the optimiser {made}.")]


def _name_shared(noted: Noted, before: Noted) -> str:
    """Name the part of a model that an earlier training left, as "its encoder"; empty for all that it trained.

    What was trained between them, in the same step, may have left no number of it.
    """
    shared = noted.list_shared(before)
    if not shared or len(shared) == len(before.list_trained()):
        return ""
    return "its encoder" if shared == [ENCODER] else "a part of it" if ENCODER in shared else "its head"


def _build_outdated(noted: Noted, namespace: Mapping[str, Any]) -> list[Row]:
    """Return the row about layers of a class that the notebook defines otherwise by now."""
    name = find_outdated(noted.layers, namespace)
    if name is None:
        return []
    title = f"Step {noted.step[-1]} is trained with your `{name}` as it is now"
    said = f"It was trained with an earlier `{name}`; the code of the one that you have now is different."
    return [Row(Mark.NOTE, title, said, hint=f"{AGAIN} Then wrap and train again.")]


NOT_PREPARED: Final = {
    "step2": "No model for this step has frozen parameters yet.",
    "step3": "No model contains LoRA layers yet: call `replace_layers` to put yours into the model.",
}


def _build_judged(exercise: Exercise, judgement: Judgement, found: Findings, training: Noted | None) -> Row:
    """Return the row about one check; what the exercise before it has said already is not said again."""
    row = _build_row(judgement, training)
    if exercise.step in found.prepared and training and row.mark is Mark.FAILED:
        name, _, prepared = found.prepared[exercise.step]
        if prepared.verdict is Verdict.PASSED:  # another model was trained, or this one before it was put right
            said = f"{row.rationale} `{name}` would train the right ones now."
            return replace(row, rationale=said, place="", hint=f"Train `{name}`: this looks at your last training.")
        if prepared.rationale == judgement.rationale:
            said = f"You trained the model as `{name}` is now: see above."
            return replace(row, rationale=said, hint=f"Put that right first. {TRAIN_AGAIN}")
    return row


def _build_row(judgement: Judgement, training: Noted | None) -> Row:
    place = judgement.place
    where = f"{words.describe_place(place, in_notebook=True)}: {place.source}" if place else ""
    mark = MARKS[judgement.verdict]
    if mark is Mark.PASSED:
        return Row(Mark.NOTE if judgement.rationale else mark, judgement.title, judgement.rationale, "", judgement.hint)
    if mark is Mark.BLOCKED:  # what it waits for says what to do
        return Row(mark, judgement.title, judgement.rationale)
    again = f" {TRAIN_AGAIN}" if training else ""
    return Row(mark, judgement.title, judgement.rationale, where, f"{judgement.hint}{again}".strip())


def _find_absent(exercise: Exercise, found: Findings) -> Row | None:
    """Return the row of an exercise that is not begun; None where there is something to judge."""
    if exercise.trains and exercise.step not in found.trainings:
        if exercise.step in found.earlier:
            return Row(Mark.NOT_YET, "Train this step again.", describe_loss(found.earlier[exercise.step]), hint=SAVE)
        if found.unwatched:
            said = f"Trainings before In [{found.unwatched}], which imports the check, are not known to it."
            return Row(Mark.NOT_YET, "No training of this step is known.", said, hint="Run the cell that trains again.")
        return Row(Mark.NOT_YET, "No training of this step in this kernel yet.")
    observed = found.observed.get(exercise.defines)
    if not exercise.defines or observed is None:
        return None
    answers, name = observed[0], assignment.LOOKED_FOR[exercise.defines][0]
    if (origin := found.origins.get(exercise.defines)) is not None and not origin.judged:
        return _describe_import(origin)
    if answers.found is None:
        row = _describe_missing(name, found.namespace)
        return replace(row, rationale=RESTARTED) if found.earlier and row.mark is Mark.NOT_YET else row
    if answers.items and all(item.error and item.error.type == UNWRITTEN for item in answers.items):
        if (defined := found.namespace.get(answers.found)) is not None and _lacks_forward(defined):
            return _describe_lost_forward(answers.found, defined)
        return Row(Mark.NOT_YET, f"`{answers.found}` still raises `{UNWRITTEN}`: it is not written yet.")
    return None


def _describe_missing(name: str, namespace: Mapping[str, Any]) -> Row:
    if name not in namespace:
        return Row(Mark.NOT_YET, f"`{name}` is not defined in this kernel yet.")
    kind = type(namespace[name]).__name__
    return Row(
        Mark.FAILED,
        f"`{name}` is something else now",
        f"Expected a function or class `{name}`; the name holds an object of type `{kind}`.",
        hint="Give that object another name, and run the cell with the definition again.",
    )


def _describe_import(origin: Origin) -> Row:
    said = f"Expected a cell that defines `{origin.name}`; the name holds what was imported from `{origin.file}`."
    hint = "Define it in a cell, and leave out that import: you hand in the notebook alone."
    return Row(Mark.FAILED, f"A cell defines `{origin.name}`", said, hint=hint)


def _build_origin(origin: Origin | None, absent: Row | None) -> list[Row]:
    """Return the row about a definition that is judged here and would be missing in grading: no cell holds it."""
    if origin is None or not origin.judged or absent:
        return []
    said = f"It comes from `{Path(origin.file).name}`. {NOT_HANDED_IN}"
    return [Row(Mark.NOTE, f"`{origin.name}` is not in the notebook", said, hint=MOVE)]


def _lacks_forward(defined: Any) -> bool:
    """Return True for a layer without `forward`: calling it raises what a stub raises, and yet it is written."""
    return issubclass(type(defined), type) and issubclass(defined, nn.Module) and defined.forward is nn.Module.forward


def _describe_lost_forward(name: str, layer: type) -> Row:
    methods = [f"`{method}`" for method, value in vars(layer).items() if isinstance(value, FunctionType)]
    said = f"Expected `{name}` to have the methods `__init__` and `forward`; it has {' and '.join(methods) or 'none'}."
    place = cells.find_line(name, re.compile(rf"^\s*class\s+{name}\b"))
    hint = "Look at its name and indentation: its `def` begins below that of `__init__`."
    return Row(Mark.FAILED, f"`{name}` has no method `forward`", said, place, hint)


NOT_HANDED_IN: Final = "You hand in the notebook alone, and grading finds no other file of yours."
MOVE: Final = "Copy the code from that file into a cell."
RESTARTED: Final = "The kernel was restarted since you trained: if you have written it, run its cell again."
SAVE: Final = "After the next training, `trainer.save_model(…)` keeps its weights, so that a restart loses nothing."


def describe_loss(noted: Noted) -> str:
    """Say that of a training, nothing is known to be left."""
    when = time.strftime("%d %B, %H:%M", time.localtime(noted.began_s))
    return f"It was trained on {when}, before the kernel was restarted, and no saved weights of it are known here."


def describe_training(noted: Noted, now_s: float) -> str:
    """Say which training was looked at, and how it ended. How long ago is counted from its end: it may take hours."""
    age = describe_age(now_s - (noted.ended_s or noted.began_s))
    if not noted.here:
        return f"Your last training of this step: {age} ago, before the kernel was restarted; weights: `{noted.saved}`."
    cell = f", In [{noted.cell}]" if noted.cell else ""
    if not (noted.finished or noted.error):
        return f"Your last training of this step: begun {age} ago{cell}; it has not ended yet."
    end = f"; it was stopped ({noted.error})" if noted.error else ""
    return f"Your last training of this step: {age} ago{cell}{end}."


def describe_age(seconds: float) -> str:
    """Write how long something is ago, in the largest unit that is not below one."""
    for unit, size in (("day", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {unit}{'s' if unit == 'day' and number > 1 else ''}"
    return f"{max(0, int(seconds))} s"
