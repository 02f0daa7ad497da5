"""Describes a model before and after a training, however the training is done."""

import hashlib
from dataclasses import replace

import torch
from torch import Tensor, nn

from grader.kernel import modules, weights
from grader.kernel.fence import ask
from grader.protocol.records import Entry
from grader.protocol.tensor_names import HEAD_LINEARS, Naming

MAX_NAMES = 400
MAX_HEAD_TENSORS = 20


def describe_entry(model: nn.Module, base: dict[str, Tensor]) -> Entry:
    """Describe the model as a training finds it: sizes, what is trainable, wrapped, and no longer as pretrained."""
    return replace(describe_form(model, base), changed=tuple(weights.find_changed(model, base)[:MAX_NAMES]))


def describe_form(model: nn.Module, base: dict[str, Tensor]) -> Entry:
    """Describe the model without comparing its numbers: of `base`, only names and shapes are read."""
    inside = weights.find_wrapped(model, base)
    parameters = modules.list_parameters(model)
    return Entry(
        model_class=type(model).__name__,
        trainable=sum(modules.count_numbers(p) for p in parameters if p.requires_grad),
        total=sum(map(modules.count_numbers, parameters)),
        trainable_names=tuple(list_trainable(model)[:MAX_NAMES]),
        wrapped={path: type(module).__name__ for path, module in inside.items()},
        adapters={path: _list_trained_shapes(module) for path, module in inside.items()},
        head_sha256=hash_head(model),
        head=hash_head_tensors(model),
    )


def list_trainable(model: nn.Module) -> list[str]:
    """Return the pretrained names of what is trainable: every one of a tensor that is in several places."""
    naming = Naming.of(model)
    named = modules.name_parameters(model)
    return list(dict.fromkeys(naming.to_plain(name) for name, parameter in named if parameter.requires_grad))


def _list_trained_shapes(module: nn.Module) -> tuple[tuple[int, ...], ...]:
    trained = filter(modules.is_readable, modules.list_parameters(module))
    return tuple(tuple(p.shape) for p in trained if p.requires_grad)


def hash_head(model: nn.Module) -> str:
    """Compute a digest of the classification head, to see a model trained on from an earlier training."""
    digest = hashlib.sha256()
    for _, tensor in sorted(weights.collect_head(model).items()):
        digest.update(_read_bytes(tensor))
    return digest.hexdigest()


def hash_head_tensors(model: nn.Module) -> dict[str, str]:
    """Compute a short digest of each tensor of the head: a part of it may come from an earlier training."""
    tensors = list(weights.collect_head(model).items())[:MAX_HEAD_TENSORS]
    return {name: compute_digest(tensor) for name, tensor in tensors}


def compute_digest(tensor: Tensor) -> str:
    """Compute a short digest of a tensor's numbers."""
    return hashlib.sha256(_read_bytes(tensor)).hexdigest()[:16]


def _read_bytes(tensor: Tensor) -> bytes:
    return ask(_copy_bytes, tensor)


def _copy_bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().float().contiguous().numpy().tobytes()


def guess_method(entry: Entry) -> str:
    """Return the method whose learning rate suits the model: a matter of budget, never of a verdict."""
    if entry.wrapped:
        return "lora"
    heads = all(name.startswith(HEAD_LINEARS) for name in entry.trainable_names)
    return "head" if heads else "full"


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model without the shells that parallel training or compilation put around it."""
    while hasattr(model, "module") and isinstance(model.module, nn.Module):
        model = model.module
    original = getattr(model, "_orig_mod", None)
    return original if isinstance(original, nn.Module) else model


def get_device_name() -> str:
    """Return the name of the device that trainings run on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
