"""Evidence leaves the kernel through here: JSON and safetensors, bounded in size.

Every file is announced to the host by its digest before it is there: what a notebook puts into the folder itself is not
taken for evidence.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from grader.protocol.events import announce

MAX_TEXT = 500


def cut(text: object) -> str:
    """Text of bounded length; an object whose `str` fails is named by its type."""
    try:
        plain = str(text).encode("utf-8", "replace").decode("utf-8")  # lone surrogates are not JSON
    except Exception:  # a student's object may raise anything
        plain = f"<{type(text).__name__}>"
    return plain if len(plain) <= MAX_TEXT else plain[:MAX_TEXT] + " [cut]"


def record_error(error: BaseException) -> dict[str, str]:
    """An exception as data."""
    return {"type": type(error).__name__, "message": cut(error)}


def replace_nonfinite(payload: Any) -> Any:
    """The same with None for what JSON cannot say: NaN and infinities, as in the log of a training that diverged."""
    if isinstance(payload, dict):
        return {key: replace_nonfinite(value) for key, value in payload.items()}
    if isinstance(payload, (list, tuple)):
        return [replace_nonfinite(value) for value in payload]
    return None if isinstance(payload, float) and not math.isfinite(payload) else payload


def write_json(folder: str, name: str, payload: Any) -> None:
    """Write `payload` so that a reader never sees half a file."""
    target = Path(folder) / name
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(replace_nonfinite(payload), allow_nan=False), encoding="utf-8")
    _publish(partial, target)


def write_tensors(folder: str, name: str, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors, detached and on the CPU; shared storage is copied because the format refuses it."""
    plain = dict(_separate(tensors))
    target = Path(folder) / name
    partial = target.with_suffix(".partial")
    save_file(plain, partial)
    _publish(partial, target)


def _separate(tensors: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """Whole tensors with a storage of their own. Few share one, and a copy of all weights takes as long as writing."""
    taken: set[int] = set()
    for key, value in tensors.items():
        plain = value.detach().cpu().contiguous()
        place = plain.untyped_storage().data_ptr()
        alone = place not in taken and plain.untyped_storage().nbytes() == plain.nbytes
        taken.add(place)
        yield key, plain if alone else plain.clone()


def _publish(partial: Path, target: Path) -> None:
    with partial.open("rb") as file:
        announce(target.name, hashlib.file_digest(file, "sha256").hexdigest())
    partial.replace(target)
