"""Reads a student's modules as torch itself does, whatever they keep under the names of torch's methods.

`self.parameters = [self.A, self.B]` in a layer is an honest line: torch asks the model that holds the layer, and never
notices. So the methods that read are those of `nn.Module` itself. Methods that do something may be overridden, as
loralib does with `train`; only what cannot be called is passed over.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from grader.kernel.fence import ask


def list_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a module, each once."""
    return [parameter for _, parameter in nn.Module.named_parameters(module)]


def name_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return names and parameters, one that is in several places under every name."""
    return list(nn.Module.named_parameters(module, remove_duplicate=False))


def list_modules(module: nn.Module) -> list[nn.Module]:
    """Return a module and all that are inside of it."""
    return [part for _, part in nn.Module.named_modules(module)]


def read_state(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers whose numbers can be read, by name."""
    return {name: tensor for name, tensor in nn.Module.state_dict(module).items() if is_readable(tensor)}


def is_readable(tensor: Any) -> bool:
    """Return False for a tensor without numbers: one that is not initialised yet, or on no device."""
    return isinstance(tensor, Tensor) and not is_lazy(tensor) and not tensor.is_meta


def count_numbers(parameter: nn.Parameter) -> int:
    """Return how many numbers there are; 0 where they do not exist."""
    return parameter.numel() if is_readable(parameter) else 0


def train(module: nn.Module) -> None:
    """Put a module into training mode. Raises what its own method raises."""
    ask(_find_method(module, "train"))


def set_mode(module: nn.Module, training: bool) -> None:
    """Put a module into the mode that it was in. Raises what its own method raises."""
    ask(_find_method(module, "train"), training)


def evaluate(module: nn.Module) -> None:
    """Put a module into evaluation mode. Raises what its own method raises."""
    ask(_find_method(module, "eval"))


def convert(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Convert a module to a precision, and return it. Raises what its own method raises."""
    ask(_find_method(module, "to"), dtype)
    return module


def _find_method(module: nn.Module, name: str) -> Callable[..., Any]:
    found: Any = ask(getattr, module, name)
    return found if callable(found) else functools.partial(getattr(nn.Module, name), module)
