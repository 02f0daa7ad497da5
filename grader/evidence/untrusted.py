"""One untrusted file → what it holds, or a `ProtocolViolation`, whatever is in it."""

from pathlib import Path
from typing import Final, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from grader.text import sanitise

MAX_JSON_BYTES: Final = 16 * 2**20
MAX_TENSORS: Final = 2_000
MAX_TENSOR_BYTES: Final = 2**30  # a whole DistilBERT is 268 MB in float32
MAX_DIMENSIONS: Final = 4
DTYPES: Final = frozenset(
    (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)
)

T = TypeVar("T")


class ProtocolViolation(Exception):
    """Evidence that no honest kernel writes. The message begins with the name of the file."""


def parse_json(path: Path, schema: TypeAdapter[T]) -> T:
    """Records from a file, if they are as the schema says, and nothing besides. Raises ProtocolViolation.

    The message says where and what kind of mistake, and nothing of the values that are in the file.
    """
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ProtocolViolation(f"{path.name}: larger than {MAX_JSON_BYTES // 2**20} MiB")
    try:
        return schema.validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = sanitise(".".join(map(str, first["loc"])))
        raise ProtocolViolation(f"{path.name}: {f'{where}: ' * bool(where)}{first['msg']}") from None
    except RecursionError:
        raise ProtocolViolation(f"{path.name}: nested too deeply") from None


def parse_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file. Raises ProtocolViolation."""
    if path.stat().st_size > MAX_TENSOR_BYTES:
        raise ProtocolViolation(f"{path.name}: larger than {MAX_TENSOR_BYTES // 2**20} MiB")
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if len(names) > MAX_TENSORS:
                raise ProtocolViolation(f"{path.name}: more than {MAX_TENSORS} tensors")
            found = {key: file.get_tensor(key) for key in names}
    except (SafetensorError, ValueError, RuntimeError, TypeError, AttributeError, OverflowError) as error:
        raise ProtocolViolation(f"{path.name}: not a safetensors file that can be read") from error
    if any(tensor.ndim > MAX_DIMENSIONS or tensor.dtype not in DTYPES for tensor in found.values()):
        raise ProtocolViolation(f"{path.name}: a tensor of a type or shape that no model here has")
    return found
