"""Puts LoRA layers of the student's making through challenges, without assuming how they are written.

A challenge gives a linear layer W, a rank, an alpha, inputs and values to fill the adapter with. What the layer
answers is written down: fresh, with the adapter emptied, filled, filled with ones; its gradients; and what a step of
training does to W. Only tensors that the layer registers as trainable are touched, in the order it lists them.
"""

import inspect
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from grader.kernel.writing import record_error
from grader.protocol.records import Answers, LoraItem

RANK_NAMES = ("rank", "r", "lora_rank", "lora_r")
ALPHA_NAMES = ("alpha", "a", "lora_alpha", "scale_alpha")
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
STEP_SIZE = 0.5


def run(cls: Any, request: dict[str, Any]) -> tuple[Answers[LoraItem], dict[str, Tensor]]:
    """`request`: `{"file", "challenges": [{"key", "rank", "alpha", "bias", "dtype"}, ...]}`. One item per challenge."""
    given = load_file(request["file"])
    tensors: dict[str, Tensor] = {}
    items = tuple(
        _item(cls, challenge, _select_tensors(given, challenge["key"]), tensors) for challenge in request["challenges"]
    )
    return Answers(items=items), tensors


def _select_tensors(tensors: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{key}."): tensor for name, tensor in tensors.items() if name.startswith(f"{key}.")}


def _item(cls: Any, challenge: dict[str, Any], given: dict[str, Tensor], out: dict[str, Tensor]) -> LoraItem:
    item = LoraItem(challenge["key"], stage="construct")
    torch.manual_seed(0)
    try:
        subject = Subject(*build(cls, challenge, given))
        item = subject.describe(item)
        dtype = DTYPES[challenge["dtype"]]
        subject.linear.to(dtype)
        subject.layer.to(dtype)
        for stage, answers in STAGES.items():
            item = replace(item, stage=stage)
            found = answers(subject, {k: v.to(dtype) if k != "fill" else v for k, v in given.items()})
            out |= {f"{challenge['key']}.{name}": tensor for name, tensor in found.items()}
            item = replace(item, finished=(*item.finished, stage))
    except Exception as error:  # whatever it raises is the observation
        item = replace(item, error=record_error(error))
    return item


def build(
    cls: Any, challenge: dict[str, Any], given: dict[str, Tensor]
) -> tuple[nn.Module, nn.Linear, list[nn.Parameter]]:
    """The student's layer around a frozen linear layer with the given values, that layer, and its tensors as made."""
    out_features, in_features = given["weight"].shape
    linear = nn.Linear(in_features, out_features, bias=challenge["bias"])
    with torch.no_grad():
        linear.weight.copy_(given["weight"])
        if challenge["bias"]:
            linear.bias.copy_(given["bias"])
    linear.requires_grad_(False)
    own = list(linear.parameters())
    layer = construct(cls, linear, challenge["rank"], challenge["alpha"])
    if not isinstance(layer, nn.Module):
        raise TypeError(f"{cls.__name__} is not an nn.Module")
    return layer, linear, own


def construct(cls: Any, linear: nn.Linear, rank: int, alpha: float) -> Any:
    """Call the class: the layer first, rank and alpha by whatever their parameters are called, else by position."""
    names = list(inspect.signature(cls).parameters)
    rank_name = next((n for n in names if n.lower() in RANK_NAMES), None)
    alpha_name = next((n for n in names if n.lower() in ALPHA_NAMES), None)
    if rank_name and alpha_name:
        return cls(linear, **{rank_name: rank, alpha_name: alpha})
    return cls(linear, rank, alpha)


class Subject:
    """A layer under question: W, and which of the trainable tensors are the adapter's and which are W's or copies."""

    def __init__(self, layer: nn.Module, linear: nn.Linear, own: list[nn.Parameter]) -> None:
        """Look at a layer as it was made, before anything is written to it.

        `own`: W's tensors. A layer may have put its adapter into W, as a parametrization of its weight.
        """
        self.layer, self.linear, self.own = layer, linear, own
        self.adapter = [p for p in layer.parameters() if p.requires_grad and not self.is_of_linear(p)]

    def is_of_linear(self, parameter: nn.Parameter) -> bool:
        """Whether this is a tensor of W, or has the same values (random ones, so not by chance)."""
        return any(p is parameter or _is_same(p, parameter) for p in self.own)

    def describe(self, item: LoraItem) -> LoraItem:
        """Shapes of the adapter's tensors, how many tensors are registered at all, and whether W is trainable."""
        parameters = [*self.layer.parameters(), *self.linear.parameters()]
        return replace(
            item,
            shapes=tuple(tuple(p.shape) for p in self.adapter),
            registered=sum(1 for _ in self.layer.parameters()),
            linear_trainable=any(p.requires_grad and self.is_of_linear(p) for p in parameters),
        )


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers, whatever their precision and device."""
    return one.shape == other.shape and torch.equal(one.detach().double().cpu(), other.detach().double().cpu())


def probe_fresh(subject: Subject, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Output and gradients of the layer as made."""
    subject.layer.eval()
    with torch.no_grad():
        output = subject.layer(given["x"])
    return {"fresh": output, **_gradients(subject, given, "fresh")}


def probe_emptied(subject: Subject, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Output with the adapter zero: the path through W alone."""
    fill(subject, torch.zeros_like(given["fill"]))
    return _outputs(subject, given, "emptied")


def probe_filled(subject: Subject, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Output and gradients with the given values in the adapter."""
    fill(subject, given["fill"])
    return _outputs(subject, given, "filled") | _gradients(subject, given, "filled")


def probe_ones(subject: Subject, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Output with ones in the adapter, from which the scale can be read."""
    fill(subject, torch.ones_like(given["fill"]))
    with torch.no_grad():
        return {"ones": subject.layer(given["x"])}


def probe_trained(subject: Subject, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """W and the path through it after a step of training in which all that is trainable moves."""
    layer = subject.layer
    fill(subject, given["fill"])
    layer.train()
    output = layer(given["x"])
    if output.requires_grad:
        output.square().mean().backward()
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.requires_grad and parameter.grad is not None:
                parameter.sub_(STEP_SIZE * parameter.grad)
    layer.eval()
    fill(subject, torch.zeros_like(given["fill"]))
    with torch.no_grad():
        return {"weight_after": subject.linear.weight, "trained": layer(given["x"])}


def _outputs(subject: Subject, given: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    with torch.no_grad():
        return {name: subject.layer(given["x"]), f"{name}_batched": subject.layer(given["x3"])}


def _gradients(subject: Subject, given: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    subject.layer.zero_grad(set_to_none=True)
    output = subject.layer(given["x"])
    if output.requires_grad:
        (output * given["cotangent"]).sum().backward()
    found = {
        f"{name}_gradient{i}": torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for i, p in enumerate(subject.adapter)
    }
    subject.layer.zero_grad(set_to_none=True)
    return found


def fill(subject: Subject, values: Tensor) -> None:
    """Write consecutive values into the adapter's tensors, in the layer's order, again from the start if need be."""
    offset = 0
    needed = sum(parameter.numel() for parameter in subject.adapter)
    values = values.repeat(max(1, -(-needed // values.numel())))
    with torch.no_grad():
        for parameter in subject.adapter:
            size = parameter.numel()
            parameter.copy_(values[offset : offset + size].view(parameter.shape))
            offset += size


STAGES = {
    "fresh": probe_fresh,
    "emptied": probe_emptied,
    "filled": probe_filled,
    "ones": probe_ones,
    "trained": probe_trained,
}
