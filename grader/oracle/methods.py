"""Which training is which method. A notebook may train more than three times, in odd order, or wrongly.

What a model is says more than where it stands: wrapped layers make it LoRA; a frozen encoder makes it head only. Only
trainings that fit nothing are placed by their order, so that a mistake (nothing frozen, adapters never put in) is
judged under the step in which it was made.
"""

from collections.abc import Sequence
from typing import Protocol

from grader.model import Method


class TrainingLike(Protocol):
    """What placing a training needs to know of it."""

    @property
    def wrapped(self) -> bool:
        """Whether any linear layer is replaced."""

    @property
    def encoder_frozen(self) -> bool:
        """Whether nothing below the head is trainable."""

    @property
    def finished(self) -> bool:
        """Whether it ran to its end."""

    @property
    def exported(self) -> bool:
        """Whether the weights that it left were kept."""

    @property
    def fits(self) -> bool:
        """Whether it trains what the step that it looks like asks for."""


def attribute(trainings: Sequence[TrainingLike]) -> dict[Method, int]:
    """Method -> index of the training that is judged for it.

    Of several versions the last counts, but one that ended, left weights and fits counts before others: after its three
    steps a notebook may try what the handout suggests, such as adapting other layers.
    """
    lora = [i for i, training in enumerate(trainings) if training.wrapped]
    plain = [i for i, training in enumerate(trainings) if not training.wrapped]
    if not lora and _ends_with_another_step([trainings[i].encoder_frozen for i in plain]):
        lora = [plain.pop()]
    placed = _attribute_full_and_head(trainings, plain)
    return placed | ({Method.LORA: _choose_best(trainings, lora)} if lora else {})


def _ends_with_another_step(frozen: list[bool]) -> bool:
    """Whether the last plain training comes after both a full and a head-only one: step 3 without its adapters.

    Three trainings of everything are read as the three steps with nothing ever frozen.
    """
    earlier = frozen[:-1]
    return len(earlier) >= 2 and (not any(frozen) or (not earlier[0] and earlier[-1]))


def _attribute_full_and_head(trainings: Sequence[TrainingLike], plain: list[int]) -> dict[Method, int]:
    heads = [i for i in plain if trainings[i].encoder_frozen]
    fulls = [i for i in plain if not trainings[i].encoder_frozen]
    if heads and fulls:
        before = [i for i in fulls if i < heads[-1]]
        return {Method.FULL: _choose_best(trainings, before or fulls), Method.HEAD: _choose_best(trainings, heads)}
    if len(plain) > 1:  # both steps trained the same parameters: one of them is wrong
        return {Method.FULL: plain[0], Method.HEAD: plain[-1]}
    return {Method.FULL: fulls[0]} if fulls else {Method.HEAD: heads[0]} if heads else {}


def _choose_best(trainings: Sequence[TrainingLike], indices: list[int]) -> int:
    def merits(index: int) -> tuple[bool, bool, bool, int]:
        training = trainings[index]
        return training.finished, training.exported, training.fits, index

    return max(indices, key=merits)
