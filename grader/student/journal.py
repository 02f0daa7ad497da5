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
KEPT: Final = (
    *("step", "began_s", "ended_s", "finished", "error", "left", "saved", "folder", "encoder", "left_encoder"),
    "unheld",
)
FILE: Final = "model.safetensors"
FIELDS: Final = ("model_class", "trainable", "total", "trainable_names", "wrapped", "adapters", "head")


def keep(key: str, trainings: Sequence[Noted]) -> None:
    """Write down the last training of each step, those of earlier kernels included. Raises OSError.

    `key`: the notebook's path, or its folder. What is of a notebook is kept for its folder, too: it may be renamed.
    """
    last = {noted.step: noted for noted in (*recall(key), *trainings)}
    plain = [{**_to_plain(noted), "of": key} for noted in last.values()]
    folder = _find_folder(key)
    _write(folder, [*(one for one in _read(folder) if one.get("of", folder) != key), *plain])
    if folder != key:
        _write(key, plain)


def recall(key: str) -> list[Noted]:
    """Return the last training of each step before this kernel; nothing where none is known.

    One of another notebook in this folder that is there no more, so that it may be this one, counts where the weights
    that it left are there.
    """
    found = {noted.step: noted for one in _read(key) if one.get("of", key) == key and (noted := _from_plain(one))}
    renamed = (one for one in _read(_find_folder(key)) if not Path(str(one.get("of"))).is_file())
    others = [noted for one in renamed if (noted := _from_plain(one)) and noted.step not in found]
    return [*found.values(), *(noted for noted in others if find_weights(noted))]


def _find_folder(key: str) -> str:
    return str(Path(key).parent) if key.endswith(".ipynb") else key


def _write(key: str, plain: Sequence[dict[str, Any]]) -> None:
    place_file(_locate(key), json.dumps(plain).encode())


def _read(key: str) -> list[dict[str, Any]]:
    """Return what was written down; nothing where that is of another version, damaged, or old."""
    try:
        found = json.loads(_locate(key).read_text(encoding="utf-8"))
        return [one for one in found if _from_plain(one) is not None]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _locate(key: str) -> Path:
    from platformdirs import user_cache_path

    return Path(user_cache_path(FOLDER)) / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.json"


def _to_plain(noted: Noted) -> dict[str, Any]:
    entry = asdict(noted.entry)
    return {**{name: getattr(noted, name) for name in KEPT}, "entry": {name: entry[name] for name in FIELDS}}


def _from_plain(plain: dict[str, Any]) -> Noted | None:
    """Return a training that was written down; None for one that is old. Raises KeyError and TypeError."""
    entry = dict(plain["entry"])
    adapters = {path: tuple(map(tuple, shapes)) for path, shapes in entry["adapters"].items()}
    entry |= {"adapters": adapters, "trainable_names": tuple(entry["trainable_names"])}
    noted = Noted(entry=Entry(**entry), here=False, **{name: plain[name] for name in KEPT if name in plain})
    return noted if noted.step in STEPS and noted.began_s > time.time() - KEPT_S else None


def find_weights(noted: Noted) -> str:
    """Return the folder that holds the head which a training left: saved by hand, or by its Trainer; empty for none."""
    checkpoints = list(Path(noted.folder).glob("checkpoint-*")) if noted.folder else []
    checkpoints.sort(key=lambda path: (len(path.name), path.name), reverse=True)
    folders = [*map(Path, filter(None, (noted.saved, noted.folder))), *checkpoints]
    return next((str(folder) for folder in folders if noted.left and _holds(folder / FILE, noted.left)), "")


def _holds(file: Path, left: dict[str, str]) -> bool:
    """Return True if a file has tensors with these digests. The small ones come first, and tell most files apart."""
    from safetensors import SafetensorError, safe_open

    from grader.kernel.training.observation import compute_digest

    try:
        with safe_open(file, framework="pt") as tensors:
            names = sorted(left, key=lambda name: (not name.endswith("bias"), name))
            return set(names) <= set(tensors.keys()) and all(
                compute_digest(tensors.get_tensor(name)) == left[name] for name in names
            )
    except (OSError, SafetensorError):
        return False
