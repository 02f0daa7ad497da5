"""What a layer answered in one challenge, beside what it was asked, ready to be compared with predictions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from torch import Tensor

from grader.oracle import lora
from grader.oracle.mistakes import forms
from grader.oracle.mistakes.forms import Adapter, Form, Question

# What is in the adapter while each output is taken: nothing, the values given, or ones; and which input it is of.
ZERO, FILL, ONES = "zero", "fill", "ones"
OUTPUTS: Final[Mapping[str, tuple[str, str]]] = {
    "emptied": (ZERO, "x"),
    "filled": (FILL, "x"),
    "ones": (ONES, "x"),
    "emptied_batched": (ZERO, "x3"),
    "filled_batched": (FILL, "x3"),
}


@dataclass(frozen=True)
class Observation:
    """One challenge. `answers` holds only finite tensors, in float64; their shapes are as the layer returned them."""

    question: Question
    fill: Tensor
    cotangent: Tensor  # (n, out)
    shapes: tuple[tuple[int, ...], ...]
    answers: Mapping[str, Tensor]

    @cached_property
    def adapters(self) -> Sequence[Adapter]:
        """The readings of the filled tensors."""
        return list(forms.read_adapters(lora.split(self.fill, self.shapes), self.question.challenge))

    @property
    def has_second_w(self) -> bool:
        """Whether a trainable tensor is as large as W's weight: emptied, it may be missing from the base."""
        return tuple(self.question.weight.shape) in self.shapes

    def explain_all(self, form: Form, order: int) -> bool:
        """Return True if a layer of this form gives every output that was observed, under one reading."""
        adapter = self.adapters[order]
        return all(self._agrees(form, name, adapter) for name in OUTPUTS if name in self.answers)

    def _agrees(self, form: Form, name: str, adapter: Adapter) -> bool:
        filled, inputs = OUTPUTS[name]
        inside = adapter if filled == FILL else forms.fill_with_ones(adapter, float(filled == ONES))
        predicted = forms.predict(form, self.question, self.question.inputs[inputs], inside)
        return forms.agrees(predicted, self.answers[name], self._magnitude, self.question.challenge)

    @cached_property
    def _magnitude(self) -> float:
        """The largest number that is rounded on the way: of W(x), or of a right update."""
        base = forms.compute_base(Form(), self.question, self.question.inputs["x"])
        return float(base.abs().max()) if base is not None else 0.0

    def explain_base(self, form: Form) -> bool:
        """Return True if the outputs with an empty adapter are those of this form's base alone."""
        found = False
        for name in ("emptied", "emptied_batched"):
            if name in self.answers:
                base = forms.compute_base(form, self.question, self.question.inputs[OUTPUTS[name][1]])
                if not forms.agrees(base, self.answers[name], self._magnitude, self.question.challenge):
                    return False
                found = True
        return found

    def explain_update(self, form: Form, order: int) -> bool:
        """Return True if filling the adapter makes the difference that this form's update makes."""
        found = False
        for name, adapter, x, difference in self._list_differences(order):
            update = forms.compute_update(form, self.question, x, adapter)
            nothing = forms.compute_update(form, self.question, x, forms.fill_with_ones(adapter, 0.0))
            if update is None or nothing is None:
                return False
            predicted = (update - nothing).expand(difference.shape) if update.ndim == 0 else update - nothing
            largest = max(self._magnitude, float(self.answers[name].abs().max()), float(update.abs().max()))
            if not forms.agrees(predicted, difference, largest, self.question.challenge):
                return False
            found = True
        return found

    def _list_differences(self, order: int) -> Iterator[tuple[str, Adapter, Tensor, Tensor]]:
        adapter = self.adapters[order]
        for name, empty in (("filled", "emptied"), ("filled_batched", "emptied_batched"), ("ones", "emptied")):
            if name in self.answers and empty in self.answers:
                filled, emptied = self.answers[name], self.answers[empty]
                if filled.shape == emptied.shape:
                    inside = forms.fill_with_ones(adapter) if name == "ones" else adapter
                    yield name, inside, self.question.inputs[OUTPUTS[name][1]], filled - emptied
