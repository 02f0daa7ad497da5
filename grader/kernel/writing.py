"""Writes evidence: records as JSON, and tensors as safetensors, bounded in size.

Every file is announced to the host by its digest before it is there: what a notebook puts into the folder itself is not
taken for evidence.
"""

import hashlib
import json
import math
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from grader.kernel.fence import note_if_ours
from grader.protocol.events import announce
from grader.protocol.records import Raised, Record

MAX_TEXT = 500
RAISED = (Exception, SystemExit)  # what a function raises: `sys.exit()` does not end who asks it


def cut(text: object) -> str:
    """Return text of bounded length; an object whose `str` fails is named by its type."""
    try:
        # Lone surrogates are not JSON. The methods are those of `str`, not of a subclass.
        plain = str.encode(str(text), "utf-8", "replace").decode("utf-8")
    except Exception:  # a student's object may raise anything
        plain = f"<{type(text).__name__}>"
    return plain if len(plain) <= MAX_TEXT else plain[:MAX_TEXT] + " [cut]"


def record_error(error: BaseException) -> Raised:
    """Return an exception as data. One of our own is a fault, whatever the record then says."""
    note_if_ours("a record", error)
    return Raised(type(error).__name__, cut(error))


def to_plain(value: Any) -> Any:
    """Convert records to dictionaries. None stands for what JSON lacks: NaN and infinities of a diverged training."""
    if is_dataclass(value):
        return {part.name: to_plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, dict):
        return {key: to_plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(folder: str, name: str, payload: Record | Sequence[Record]) -> None:
    """Write records so that a reader never sees half a file."""
    text = json.dumps(to_plain(payload), allow_nan=False)
    _publish(Path(folder) / name, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_tensors(folder: str, name: str, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors, detached and on the CPU; shared storage is copied because the format refuses it."""
    plain = dict(_separate(tensors))
    _publish(Path(folder) / name, lambda partial: save_file(plain, partial))


def _separate(tensors: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """Copy what shares its storage, and nothing else: a copy of all weights takes as long as writing them."""
    taken: set[int] = set()
    for key, value in tensors.items():
        plain = make_plain(value)
        place = plain.untyped_storage().data_ptr()
        alone = place not in taken and plain.untyped_storage().nbytes() == plain.nbytes
        taken.add(place)
        yield key, plain if alone else plain.clone()


def make_plain(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor's numbers as the format holds them. Raises what torch raises where there are none."""
    there = tensor.detach().cpu()
    dense = there if there.layout is torch.strided else there.to_dense()
    return dense.resolve_conj().resolve_neg().contiguous()


def _publish(target: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a name that nobody foresees, announce it, and put it in place of whatever lies there."""
    partial = target.with_name(f"{secrets.token_hex(8)}.partial")
    write(partial)
    with partial.open("rb") as file:
        announce(target.name, hashlib.file_digest(file, "sha256").hexdigest())
    if target.is_dir() and not target.is_symlink():  # the notebook made it
        shutil.rmtree(target)
    partial.replace(target)
