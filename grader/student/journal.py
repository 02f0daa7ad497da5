"""Keeps what was noted of trainings, in the cache folder of this user, for the time after a restart of the kernel."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from grader.assets.cache import place_file
from grader.protocol.records import Entry
from grader.student.noted import STEPS, Noted

FOLDER: Final = "finetuning-check"
KEPT_S: Final = 30 * 86_400
KEPT: Final = ("step", "began_s", "ended_s", "finished", "error", "left", "saved", "encoder", "left_encoder", "unheld")
FIELDS: Final = ("model_class", "trainable", "total", "trainable_names", "wrapped", "adapters", "head")


def keep(key: str, trainings: Sequence[Noted]) -> None:
    """Write down the last training of each step, those of earlier kernels included. Raises OSError."""
    last = {noted.step: noted for noted in (*recall(key), *trainings)}
    place_file(_locate(key), json.dumps([_to_plain(noted) for noted in last.values()]).encode())


def recall(key: str) -> list[Noted]:
    """Return the last training of each step before this kernel; nothing where none is known."""
    try:
        found = [_from_plain(one) for one in json.loads(_locate(key).read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError):  # none yet, of another version, or damaged
        return []
    return [noted for noted in found if noted.step in STEPS and noted.began_s > time.time() - KEPT_S]


def _locate(key: str) -> Path:
    from platformdirs import user_cache_path

    return Path(user_cache_path(FOLDER)) / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.json"


def _to_plain(noted: Noted) -> dict[str, Any]:
    entry = asdict(noted.entry)
    return {**{name: getattr(noted, name) for name in KEPT}, "entry": {name: entry[name] for name in FIELDS}}


def _from_plain(plain: dict[str, Any]) -> Noted:
    entry = dict(plain["entry"])
    adapters = {path: tuple(map(tuple, shapes)) for path, shapes in entry["adapters"].items()}
    entry |= {"adapters": adapters, "trainable_names": tuple(entry["trainable_names"])}
    return Noted(entry=Entry(**entry), here=False, **{name: plain[name] for name in KEPT if name in plain})


def holds_weights(noted: Noted) -> bool:
    """Return True if the folder that `save_model` wrote to holds the head that this training left."""
    file = Path(noted.saved) / "model.safetensors" if noted.saved else None
    if file is None or not file.is_file() or not noted.left:
        return False
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from grader.kernel.training.observation import compute_digest

    try:
        tensors = load_file(file)
    except (OSError, SafetensorError):
        return False
    return all(name in tensors and compute_digest(tensors[name]) == digest for name, digest in noted.left.items())
