"""The exercises of the notebook by its own numbers, with the public checks that belong to each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from grader.errors import SubmissionError
from grader.student.looks import Look, look_at_accuracy, look_at_labels, look_at_reviews, look_at_tokens
from grader.text import sanitise


@dataclass(frozen=True)
class Exercise:
    """One section of the notebook. `checks`: ids of the public suite. `trains`: it is about the training of its step.

    `defines`: what a student writes in it, by the name in `assignment.LOOKED_FOR`. `looks`: at objects of the notebook.
    `prepares`: the model that it makes is judged as if it were trained now.
    """

    number: str
    title: str
    checks: tuple[str, ...] = ()
    trains: bool = False
    defines: str = ""
    looks: tuple[Look, ...] = ()
    prepares: bool = False

    @property
    def step(self) -> str:
        """The step that it is a part of: `step1`."""
        return f"step{self.number[0]}"


EXERCISES: Final = (
    Exercise("1.1", "Read the reviews", looks=(look_at_reviews,)),
    Exercise("1.2", "Turn text into tokens", looks=(look_at_tokens,)),
    Exercise(
        *("1.3", "Load the model and count what is trained", ("step1.count_function",)),
        defines="count",
        looks=(look_at_labels,),
    ),
    Exercise("1.4", "How accuracy is measured", looks=(look_at_accuracy,)),
    Exercise("1.5", "Train", ("step1.trainable_parameters",), trains=True),
    Exercise("2.1", "Freeze the encoder", ("step2.trainable_parameters",), prepares=True),
    Exercise("2.2", "Train and compare", ("step2.trainable_parameters",), trains=True),
    Exercise(
        *("3.1", "Find the query and value layers", ("step3.extract_names", "step3.extract_modules")), defines="extract"
    ),
    Exercise("3.2", "Put other layers in their place", ("step3.replace_layers",), defines="replace"),
    Exercise(
        *("3.3", "The LoRA layer"),
        (
            *("step3.lora_construct", "step3.lora_fresh", "step3.lora_registered", "step3.lora_forward"),
            "step3.lora_gradients",
        ),
        defines="lora",
    ),
    Exercise("3.4", "Wrap, train and compare", ("step3.trainable_parameters",), trains=True, prepares=True),
)
WAYS: Final = 'check("3.3") for one exercise, check("step3") for a step, check() for everything'


def select(what: object) -> tuple[Exercise, ...]:
    """Return the exercises that a student asks for: all, those of a step, or one. Raises SubmissionError.

    `what`: None, `"step3"`, `"3"`, `3`, `"3.3"`, `3.3`, the id of a public check, or several of these.
    """
    several = what if isinstance(what, (list, tuple)) else ()
    if what is None or (what is several and not several):
        return EXERCISES
    if what is several:
        numbers = {exercise.number for one in several for exercise in select(one)}
        return tuple(exercise for exercise in EXERCISES if exercise.number in numbers)
    asked = re.sub(r"[\s_]+", "", str(what)).lower()
    found = tuple(exercise for exercise in EXERCISES if asked in _list_names(exercise))
    if found:
        return found
    known = ", ".join(exercise.number for exercise in EXERCISES)
    raise SubmissionError(f"There is no exercise {sanitise(str(what), 40)!r} to check. There are {known}: {WAYS}.")


def _list_names(exercise: Exercise) -> Iterator[str]:
    yield from (exercise.number, exercise.number[0], exercise.step)
    yield from (check.replace("_", "") for check in exercise.checks)
