"""Puts LoRA layers of the student's making through challenges, without assuming how they are written.

A challenge gives a linear layer W, a rank, an alpha, inputs and values to fill the adapter with. What the layer
answers is written down: fresh, with the adapter emptied, filled, filled with ones; its gradients; and what a step of
training does to W. Only tensors that the layer registers as trainable are touched, in the order it lists them.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from grader.kernel import fence, modules
from grader.kernel.training.gradients import train_without_dropout
from grader.kernel.writing import RAISED, make_plain, record_error
from grader.protocol.records import Answers, LoraItem

RANK_NAMES = ("rank", "r", "lora_rank", "lora_r")
ALPHA_NAMES = ("alpha", "a", "lora_alpha", "scale_alpha")
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
STEP_SIZE = 0.5

Tensors = dict[str, Tensor]


def ask(cls: Any, request: dict[str, Any]) -> tuple[Answers[LoraItem], Tensors]:
    """Challenge the student's class.

    Args:
        cls: the class.
        request: `{"file", "challenges": [{"key", "rank", "alpha", "bias", "dtype"}, ...]}`; in place of a file, the
            `"tensors"` that it would hold.
    """
    given = request["tensors"] if "tensors" in request else load_file(request["file"])
    found: Tensors = {}
    items = []
    for challenge in request["challenges"]:
        prefix = f"{challenge['key']}."
        own = {name.removeprefix(prefix): tensor for name, tensor in given.items() if name.startswith(prefix)}
        item, answers = _challenge(cls, challenge, own)
        items.append(item)
        found |= {prefix + name: tensor for name, tensor in answers.items()}
    return Answers(items=tuple(items)), found


def _challenge(cls: Any, challenge: dict[str, Any], given: Tensors) -> tuple[LoraItem, Tensors]:
    item = LoraItem(challenge["key"], stage="construct")
    found: Tensors = {}
    torch.default_generator.manual_seed(0)  # not those of GPUs: a notebook may have seeded them
    try:
        subject = Subject(cls, challenge, given)
        item = subject.describe(item)
        subject.convert(DTYPES[challenge["dtype"]])
        for stage, answer in STAGES.items():
            item = replace(item, stage=stage)
            found |= {name: fence.ask(make_plain, tensor) for name, tensor in answer(subject).items()}
            item = replace(item, finished=(*item.finished, stage), registered_later=subject.count_later(item))
    except RAISED as error:  # whatever it raises is the observation
        item = replace(item, error=record_error(error))
    return item, found


def construct(cls: Any, linear: nn.Linear, rank: int, alpha: float) -> Any:
    """Call the class: the layer first, rank and alpha by whatever their parameters are called, else by position."""
    names = list(fence.ask(inspect.signature, cls).parameters)
    rank_name = next((n for n in names if n.lower() in RANK_NAMES), None)
    alpha_name = next((n for n in names if n.lower() in ALPHA_NAMES), None)
    if rank_name and alpha_name:
        return fence.ask(cls, linear, **{rank_name: rank, alpha_name: alpha})
    return fence.ask(cls, linear, rank, alpha)


class Subject:
    """The student's layer around a frozen W, and what is asked of it."""

    def __init__(self, cls: Any, challenge: dict[str, Any], given: Tensors) -> None:
        """Make the layer and look at it before anything is written to it.

        A layer may have put its adapter into W, as a parametrization of its weight; so W's own tensors are kept.
        """
        out_features, in_features = given["weight"].shape
        self.given = given
        self.linear = nn.Linear(in_features, out_features, bias=challenge["bias"])
        self.linear.load_state_dict({name: given[name] for name in self.linear.state_dict()})
        self.linear.requires_grad_(False)
        self.own = list(self.linear.parameters())
        self.layer = construct(cls, self.linear, challenge["rank"], challenge["alpha"])
        if not isinstance(self.layer, nn.Module):
            name = getattr(cls, "__name__", type(cls).__name__)  # a partial has none
            raise fence.tell(TypeError(f"{name} is not an nn.Module"))
        self.adapter = [p for p in self.list_parameters() if p.requires_grad and not self.is_of_linear(p)]

    def list_parameters(self) -> list[nn.Parameter]:
        """Return what the layer registers."""
        return modules.list_parameters(self.layer)

    def is_of_linear(self, parameter: nn.Parameter) -> bool:
        """Return True for a tensor of W, or one of the same values (random ones, so not by chance)."""
        return any(p is parameter or fence.ask(_is_same, p, parameter) for p in self.own)

    def describe(self, item: LoraItem) -> LoraItem:
        """Note shapes of the adapter's tensors, how many tensors are registered, and whether W is trainable."""
        parameters = [*self.list_parameters(), *modules.list_parameters(self.linear)]
        return replace(
            item,
            shapes=tuple(tuple(p.shape) for p in self.adapter),
            registered=len(self.list_parameters()),
            linear_trainable=any(p.requires_grad and self.is_of_linear(p) for p in parameters),
        )

    def count_later(self, item: LoraItem) -> int:
        """Return how many tensors more are registered now than when the layer was made."""
        return max(0, len(self.list_parameters()) - item.registered)

    def convert(self, dtype: torch.dtype) -> None:
        """Convert the layers and what they are given to a precision; what fills the adapter stays exact."""
        modules.convert(self.linear, dtype)
        modules.convert(self.layer, dtype)
        self.given = {name: value if name == "fill" else value.to(dtype) for name, value in self.given.items()}

    def fill(self, values: Tensor) -> None:
        """Write consecutive values into the adapter's tensors, in the layer's order, again from the start if needed.

        Leaves the layer in evaluation mode. They are written in training mode, since a layer may add its update to W
        when evaluation begins and take it off when training begins, as loralib does.
        """
        modules.train(self.layer)
        sizes = [fence.ask(parameter.numel) for parameter in self.adapter]
        values = values.repeat(max(1, -(-sum(sizes) // values.numel())))[: sum(sizes)]
        with torch.no_grad():
            for parameter, part in zip(self.adapter, values.split(sizes), strict=True):
                fence.ask(parameter.copy_, part.view(parameter.shape))
        modules.evaluate(self.layer)

    def call(self, x: Tensor) -> Tensor:
        """Return the output of the layer. Raises TypeError where it is none that could be looked at."""
        output = fence.ask(self.layer, x)
        if not isinstance(output, Tensor):
            raise fence.tell(TypeError(f"{type(self.layer).__name__} returns {type(output).__name__}"))
        return output

    def get_output(self, inputs: str = "x") -> Tensor:
        """Return the output of the layer, without gradients."""
        with torch.no_grad():
            return self.call(self.given[inputs])

    def get_gradients(self, name: str) -> Tensors:
        """Return the gradients of adapter and input for the given cotangent.

        In evaluation mode. A layer whose update is part of W there has those of the adapter in training mode only:
        then all are from there, without the layer's dropout.
        """
        found = self._backpropagate()
        if not any(bool(gradient.any()) for gradient in found[1:]):
            with training_without_dropout(self.layer):
                again = self._backpropagate()
            found = again if any(bool(gradient.any()) for gradient in again[1:]) else found
        named = {f"{name}_gradient{i}": gradient for i, gradient in enumerate(found[1:])}
        return {f"{name}_input_gradient": found[0], **named}

    def get_input_gradient(self) -> Tensor:
        """Return the gradient of the input in training mode, dropout included, and go back to evaluation mode."""
        modules.train(self.layer)
        gradient = self._backpropagate()[0]
        modules.evaluate(self.layer)
        return gradient

    def _backpropagate(self) -> list[Tensor]:
        """Return the gradients of the input, then of the adapter's tensors; zero where nothing arrives."""
        x = self.given["x"].detach().clone().requires_grad_()
        output = self.call(x)
        wanted = [x, *self.adapter]
        if not output.requires_grad:
            return [torch.zeros_like(tensor) for tensor in wanted]
        found = fence.ask(_differentiate, output, self.given["cotangent"], wanted)
        return [torch.zeros_like(w) if g is None else g.detach() for w, g in zip(wanted, found, strict=True)]


@contextmanager
def training_without_dropout(layer: nn.Module) -> Iterator[None]:
    """Put a layer into training mode for a while, but its dropout layers."""
    train_without_dropout(layer)
    try:
        yield
    finally:
        modules.evaluate(layer)


def _differentiate(output: Tensor, cotangent: Tensor, wanted: list[Tensor]) -> tuple[Tensor | None, ...]:
    """Compute gradients of an output, which may have any shape and type."""
    return torch.autograd.grad((output * cotangent).sum(), wanted, allow_unused=True)


def _step(layer: nn.Module, output: Tensor) -> None:
    """Take a step of training, towards smaller outputs, with all that is trainable."""
    if output.requires_grad:
        output.square().mean().backward()
    with torch.no_grad():
        for parameter in modules.list_parameters(layer):
            if parameter.requires_grad and parameter.grad is not None:
                parameter.sub_(STEP_SIZE * parameter.grad)


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Compare numbers, whatever their precision and device."""
    return one.shape == other.shape and torch.equal(one.detach().double().cpu(), other.detach().double().cpu())


def probe_fresh(subject: Subject) -> Tensors:
    """Return output and gradients of the layer as made, and its output in training mode."""
    modules.train(subject.layer)
    training = subject.get_output()
    modules.evaluate(subject.layer)
    return {"fresh": subject.get_output(), "fresh_training": training, **subject.get_gradients("fresh")}


def probe_emptied(subject: Subject) -> Tensors:
    """Return the output with the adapter zero, the path through W alone, and the input's gradient in training mode."""
    subject.fill(torch.zeros_like(subject.given["fill"]))
    outputs = {"emptied": subject.get_output(), "emptied_batched": subject.get_output("x3")}
    return {**outputs, "emptied_training_input_gradient": subject.get_input_gradient()}


def probe_filled(subject: Subject) -> Tensors:
    """Return output and gradients with the given values in the adapter."""
    subject.fill(subject.given["fill"])
    outputs = {"filled": subject.get_output(), "filled_batched": subject.get_output("x3")}
    return outputs | subject.get_gradients("filled")


def probe_ones(subject: Subject) -> Tensors:
    """Return the output with ones in the adapter, from which the scale can be read."""
    subject.fill(torch.ones_like(subject.given["fill"]))
    return {"ones": subject.get_output()}


def probe_trained(subject: Subject) -> Tensors:
    """Return W and the path through it after a step of training in which all that is trainable moves."""
    layer = subject.layer
    subject.fill(subject.given["fill"])
    modules.train(layer)
    fence.ask(_step, layer, subject.call(subject.given["x"]))
    subject.fill(torch.zeros_like(subject.given["fill"]))
    trained = subject.get_output()
    # In this mode W is as before, up to rounding, also where the update is part of it in evaluation.
    modules.train(layer)
    return {"weight_after": fence.ask(getattr, subject.linear, "weight"), "trained": trained}


STAGES = {
    "fresh": probe_fresh,
    "emptied": probe_emptied,
    "filled": probe_filled,
    "ones": probe_ones,
    "trained": probe_trained,
}
