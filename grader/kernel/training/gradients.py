"""Answers the gradient challenge: loss, logits and gradients of a model for a small batch, as a training finds it.

Nothing remains of it: no gradient in a parameter, no random number drawn, every module in the mode that it was in.
Gradients of pretrained tensors are cut to their first rows, which tell as much; those of adapters are whole.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from grader.kernel import fence, modules, weights
from grader.protocol.plan import GradientQuestion
from grader.protocol.tensor_names import Naming

ROWS = 4
MAX_ADAPTER = 2**18  # numbers in a tensor of an adapter; rank 128 has fewer

Tensors = dict[str, Tensor]


def answer(model: nn.Module, base: Tensors, question: GradientQuestion) -> Tensors:
    """Answer for a model whose encoder is the pretrained one, adapters apart. Raises what the model raises.

    Keys: `loss`; `logits`; `head:NAME` a tensor of the head; `adapter:PATH:I` trainable tensor I of a wrapped layer;
    `gradient:` before one of the latter two, or before the name of a pretrained tensor, is the gradient.
    """
    inside = weights.find_wrapped(model, base)
    asked = dict(_list_asked(model, inside, question))
    head = {f"head:{name}": tensor for name, tensor in weights.collect_head(model).items()}
    device = next((p.device for p in modules.list_parameters(model)), torch.device("cpu"))
    ids, mask, labels = (
        torch.tensor(rows, device=device) for rows in (question.input_ids, question.attention_mask, question.labels)
    )
    adapters = {key: tensor for key, tensor in asked.items() if key.startswith("adapter:")}

    def backpropagate() -> tuple[Tensors, Tensors]:
        loss, logits = _read_output(model(input_ids=ids, attention_mask=mask, labels=labels))
        found = torch.autograd.grad(loss, list(asked.values()), allow_unused=True) if asked else ()
        pairs = zip(asked.items(), found, strict=True)
        gradients = {key: torch.zeros_like(tensor) if g is None else g for (key, tensor), g in pairs}
        return {"loss": loss, "logits": logits}, gradients

    with _evaluate(model), contextlib.redirect_stdout(io.StringIO()), torch.enable_grad():
        output, found = backpropagate()
        if adapters and not any(bool(found[key].any()) for key in adapters):
            # The update may be part of W in evaluation, as in loralib: then A and B have gradients in training only.
            for module in inside.values():
                train_without_dropout(module)
            output, found = backpropagate()
    cut = {f"gradient:{key}": g if key in adapters else g[:ROWS] for key, g in found.items()}
    return {**output, **head, **adapters, **cut}


def _read_output(output: Any) -> tuple[Tensor, Tensor]:
    """Return loss and logits of a model that answers as those of transformers do, or with a dictionary or a tuple."""
    if isinstance(output, Mapping) and {"loss", "logits"} <= output.keys():
        return output["loss"], output["logits"]
    if isinstance(output, tuple) and len(output) > 1:
        return output[0], output[1]
    raise fence.tell(TypeError(f"the model returns {type(output).__name__} without loss and logits"))


def train_without_dropout(module: nn.Module) -> None:
    """Put a layer into training mode, but the dropout layers in it."""
    modules.train(module)
    for part in modules.list_modules(module):
        if isinstance(part, _DropoutNd):
            modules.evaluate(part)


def _list_asked(
    model: nn.Module, inside: dict[str, nn.Module], question: GradientQuestion
) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the trainable tensors that are asked for: pretrained ones by name, then all of the adapters."""
    naming = Naming.of(model)
    own = dict(modules.name_parameters(model))
    for name in question.names:
        parameter = own.get(naming.own(name))
        if parameter is not None and parameter.requires_grad and name.rpartition(".")[0] not in inside:
            yield name, parameter
    for path, module in inside.items():
        trained = [p for p in modules.list_parameters(module) if p.requires_grad]
        if all(modules.count_numbers(p) <= MAX_ADAPTER for p in trained):
            yield from ((f"adapter:{path}:{i}", p) for i, p in enumerate(trained))


@contextmanager
def _evaluate(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while, without drawing random numbers."""
    modes = [(module, module.training) for module in modules.list_modules(model)]
    modules.evaluate(model)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, mode in modes:  # of a model in training, parts may be in evaluation on purpose
            if module is model or module.training is not mode:
                modules.set_mode(module, mode)
