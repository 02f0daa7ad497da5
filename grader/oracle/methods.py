"""Assigns trainings to methods. A notebook may train more than three times, in odd order, or wrongly.

What a model is says more than where it stands: wrapped layers make it LoRA; a frozen encoder makes it head only. Only
trainings that fit nothing are placed by their order, so that a mistake (nothing frozen, adapters never put in) is
judged under the step in which it was made.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Self

from grader import assignment
from grader.model import Method
from grader.oracle.exposure import is_whole
from grader.protocol.records import Entry, Training
from grader.protocol.tensor_names import ENCODER

MOST_CHANGED = 50  # tensors, of the 100 in the encoder


def infer_rank(entry: Entry) -> int:
    """Infer the rank of the adapters in the model from the shapes of their tensors."""
    shapes = (shape for adapter in entry.adapters.values() for shape in adapter if len(shape) == 2)
    sides = [side for shape in shapes for side in shape if side < assignment.WIDTH]
    if sides:
        return max(set(sides), key=sides.count)
    # Of vectors, of convolutions, of both in one. A square matrix in place of A and B has no rank.
    sizes = {sum(map(prod, adapter)) for adapter in entry.adapters.values() if 2 not in map(len, adapter)}
    ranks = {size / (2 * assignment.WIDTH) for size in sizes}
    told = len(ranks) == 1 and min(ranks).is_integer() and 0 < min(ranks) < assignment.WIDTH
    return int(min(ranks)) if told else assignment.DEFAULT_RANK


def count_rank(entry: Entry) -> int:
    """Count the rank that the numbers in each wrapped layer's adapter suffice for: r · (in + out) for rank r.

    Where the layers hold none and read their A and B from elsewhere in the model, those are counted together.
    """
    numbers = (sum(map(prod, adapter)) for adapter in entry.adapters.values())
    inside = max((count // (2 * assignment.WIDTH) for count in numbers), default=0)
    elsewhere = entry.trainable - assignment.HEAD_PARAMETERS
    return inside or max(0, elsewhere // (2 * assignment.WIDTH * len(assignment.QV_LAYER_NAMES)))


def is_encoder_frozen(entry: Entry) -> bool:
    """Return True if nothing below the head is trainable."""
    return not any(name.startswith(ENCODER) for name in entry.trainable_names)


def name_wrong_count(entry: Entry, wanted: int) -> str:
    """Name the cause of a wrong number of trainable parameters, the same name in every step; empty if none is known."""
    if labels := assignment.count_surplus_labels(entry.trainable, wanted):
        return f"{2 + labels} labels"
    names = entry.trainable_names
    frozen = [module for module in assignment.HEAD_MODULES if not any(name.startswith(module) for name in names)]
    if frozen:
        return f"frozen: {' '.join(frozen)}"
    inside = tuple(f"{path}." for path in assignment.QV_LAYER_NAMES)  # wrapped in one step and not in the others
    below = sorted(name for name in names if name.startswith(ENCODER) and not name.startswith(inside))
    return f"trainable: {' '.join(below)}" if below else ""


def find_source_of_head(trainings: Sequence[Training], training: Training) -> Training | None:
    """Find an earlier training of another kind that left the head, or a matrix of it, with which this one begins."""
    kind, matrices = _describe_kind(training.entry), _list_matrices(training.entry.head)
    for earlier in trainings[: training.index]:
        left = _list_matrices(earlier.exit.head) - _list_matrices(earlier.entry.head)  # what it changed
        if earlier.finished and _describe_kind(earlier.entry) != kind and left & matrices:
            return earlier
    return None


def _describe_kind(entry: Entry) -> tuple[bool, bool]:
    return bool(entry.wrapped), is_encoder_frozen(entry)


def _list_matrices(head: Mapping[str, str]) -> set[tuple[str, str]]:
    return {(name, digest) for name, digest in head.items() if name.endswith(".weight")}


def starts_elsewhere(entry: Entry) -> bool:
    """Return True if a model does not start from the pretrained network: it holds few of the encoder's tensors."""
    return len(entry.changed) > MOST_CHANGED


def fits_its_step(entry: Entry) -> bool:
    """Return True if a training trains what the step that it looks like requires.

    That is the number of parameters, LoRA in the right layers, and both LoRA and a head on an encoder that nothing has
    tuned.
    """
    if entry.wrapped:
        right_layers = set(entry.wrapped) == set(assignment.QV_LAYER_NAMES) and not entry.changed
        return right_layers and entry.trainable == assignment.count_lora_parameters(infer_rank(entry))
    if is_encoder_frozen(entry):
        return entry.trainable == assignment.HEAD_PARAMETERS and not entry.changed
    return entry.trainable == assignment.FULL_PARAMETERS


@dataclass(frozen=True)
class Traits:
    """The properties of a training that decide its place."""

    wrapped: bool  # any linear layer is replaced
    encoder_frozen: bool
    finished: bool = True
    exported: bool = True  # it left weights; of a notebook that trains very often, not all are kept
    fits: bool = True
    whole: bool = True  # it asks for as much training as any other of the notebook

    @classmethod
    def of(cls, training: Training, trainings: Sequence[Training]) -> Self:
        """Read the traits of a recorded training, one of `trainings`."""
        entry = training.entry
        return cls(
            wrapped=bool(entry.wrapped),
            encoder_frozen=is_encoder_frozen(entry),
            finished=training.finished,
            exported=training.exit.file is not None,
            fits=fits_its_step(entry) and (not entry.wrapped or find_source_of_head(trainings, training) is None),
            whole=is_whole(training, trainings),
        )


def attribute(trainings: Sequence[Training], idle: Collection[int] = ()) -> dict[Method, int]:
    """Return the index of the training that is judged for each method. `idle`: those that did no work are none."""
    indices = [index for index in range(len(trainings)) if index not in idle]
    placed = place([Traits.of(trainings[index], trainings) for index in indices])
    return {method: indices[position] for method, position in placed.items()}


def place(trainings: Sequence[Traits]) -> dict[Method, int]:
    """Return the index of the training that is judged for each method.

    Of several versions the last counts, but one that ended, left weights, fits and is no shorter than others counts
    before them: after its three steps a notebook may try what the handout suggests, such as adapting other layers, or
    how much a method learns from few reviews.
    """
    lora = [i for i, training in enumerate(trainings) if training.wrapped]
    plain = [i for i, training in enumerate(trainings) if not training.wrapped]
    if not lora and _ends_with_another_step([trainings[i].encoder_frozen for i in plain]):
        lora = [plain.pop()]
    placed = _place_full_and_head(trainings, plain)
    return placed | ({Method.LORA: _choose_best(trainings, lora)} if lora else {})


def _ends_with_another_step(frozen: list[bool]) -> bool:
    """Return True if the last plain training comes after both a full and a head-only one: step 3 without its adapters.

    Three trainings of everything are read as the three steps with nothing ever frozen.
    """
    earlier = frozen[:-1]
    return len(earlier) >= 2 and (not any(frozen) or (not earlier[0] and earlier[-1]))


def _place_full_and_head(trainings: Sequence[Traits], plain: list[int]) -> dict[Method, int]:
    heads = [i for i in plain if trainings[i].encoder_frozen]
    fulls = [i for i in plain if not trainings[i].encoder_frozen]
    if heads and fulls:
        before = [i for i in fulls if i < heads[-1]]
        return {Method.FULL: _choose_best(trainings, before or fulls), Method.HEAD: _choose_best(trainings, heads)}
    if len(plain) > 1:  # both steps trained the same parameters: one of them is wrong
        return {Method.FULL: plain[0], Method.HEAD: plain[-1]}
    return {Method.FULL: fulls[0]} if fulls else {Method.HEAD: heads[0]} if heads else {}


def _choose_best(trainings: Sequence[Traits], indices: list[int]) -> int:
    def merits(index: int) -> tuple[bool, bool, bool, bool, int]:
        training = trainings[index]
        return training.finished, training.exported, training.fits, training.whole, index

    return max(indices, key=merits)
