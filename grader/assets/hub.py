"""Hugging Face hub caches that hold one model under both its names, so that `from_pretrained` works offline.

The layout is the hub's own (`models--<name>/refs/main`, `snapshots/<revision>/<file>`), without its blobs folder: a
snapshot may hold plain files. The second name is made of hard links where the file system has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grader.assets import standin
from grader.assets.cache import (
    Recipe,
    build_bytes_recipe,
    build_link_recipe,
    find_damaged,
    hash_file,
    prepare,
    read_manifest,
)
from grader.assignment import MODEL_NAMES
from grader.model import Profile

REAL_NAME: Final = MODEL_NAMES[0]
FILES: Final = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
EMBEDDINGS: Final = "distilbert.embeddings.word_embeddings.weight"
DOWNLOAD_TIMEOUT_S: Final = 5  # to reach the hub, not for the transfer


@dataclass(frozen=True)
class Checkpoint:
    """The pretrained model that a run starts from.

    `weights` is its model.safetensors with the hub's tensor names (prefix `distilbert.`) and `sha256` the hash of that
    file; `hub_cache` is what HF_HUB_CACHE has to be, and is only read.
    """

    name: str
    weights: Path
    hub_cache: Path
    sha256: str


def resolve_checkpoint(profile: Profile, cache_dir: Path) -> Checkpoint:
    """The checkpoint for `profile`, prepared under `cache_dir` if it is not there yet.

    `full` takes the real one from a hub cache of this user or from the network; where there is none, and in the other
    profiles, it is the stand-in. Raises GraderError when it cannot be prepared.
    """
    real = prepare_real_checkpoint(cache_dir) if profile is Profile.FULL else None
    return real or prepare_standin_checkpoint(cache_dir)


def prepare_standin_checkpoint(cache_dir: Path) -> Checkpoint:
    """The stand-in, prepared in `cache_dir`/hub-stand-in. Raises GraderError."""
    return _prepare_hub(standin.NAME, cache_dir / "hub-stand-in", standin.build_recipes())


def prepare_real_checkpoint(cache_dir: Path) -> Checkpoint | None:
    """The real distilbert-base-uncased, prepared in `cache_dir`/hub-distilbert, or None when there is none."""
    folder = cache_dir / "hub-distilbert"
    if prepared := find_real_checkpoint(cache_dir):
        return prepared
    source = find_snapshot() or download_snapshot()
    if source is None:
        return None
    return _prepare_hub(
        REAL_NAME, folder, {name: build_link_recipe(source / name, hash_file(source / name)) for name in FILES}
    )


def find_real_checkpoint(cache_dir: Path) -> Checkpoint | None:
    """The real checkpoint if an earlier call prepared it and its files are still whole."""
    folder = cache_dir / "hub-distilbert"
    recorded = {name: stamp.sha256 for name, stamp in read_manifest(folder).items()}
    weights = next((name for name in recorded if name.endswith(FILES[0])), None)
    if weights is None or find_damaged(folder, recorded):
        return None
    return Checkpoint(REAL_NAME, folder / weights, folder, recorded[weights])


def has_standin_checkpoint(cache_dir: Path) -> bool:
    """Whether the stand-in is there and whole; makes nothing."""
    folder = cache_dir / "hub-stand-in"
    return not find_damaged(
        folder, {name: recipe.sha256 for name, recipe in _hub_recipes(folder, standin.build_recipes()).items()}
    )


def find_snapshot() -> Path | None:
    """The folder of the real checkpoint's files in the hub cache of this user, or None."""
    from huggingface_hub import try_to_load_from_cache

    for name in MODEL_NAMES:
        found = [try_to_load_from_cache(name, file) for file in FILES]
        folders = {Path(path).parent for path in found if isinstance(path, str)}
        if (
            len(folders) == 1
            and all(isinstance(path, str) for path in found)
            and is_distilbert(folder := folders.pop())
        ):
            return folder
    return None


def download_snapshot() -> Path | None:
    """Download the real checkpoint (268 MB) into this user's hub cache. None when that fails, in seconds if offline."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(MODEL_NAMES[-1], allow_patterns=list(FILES), etag_timeout=DOWNLOAD_TIMEOUT_S))
    except (OSError, ValueError):  # no network, refused, or switched off by HF_HUB_OFFLINE
        return None
    return folder if is_distilbert(folder) else None


def is_distilbert(folder: Path) -> bool:
    """Whether `folder` holds every file, and weights under the names and in the shape of the real checkpoint."""
    from safetensors import SafetensorError, safe_open

    if not all((folder / name).is_file() for name in FILES):
        return False
    try:
        with safe_open(folder / FILES[0], "numpy") as weights:
            shape = weights.get_slice(EMBEDDINGS).get_shape()
    except (SafetensorError, OSError):
        return False
    return list(shape) == [standin.CONFIG["vocab_size"], standin.CONFIG["dim"]]


def _prepare_hub(name: str, folder: Path, recipes: Mapping[str, Recipe]) -> Checkpoint:
    hub_recipes = _hub_recipes(folder, recipes)
    prepare(folder, hub_recipes)
    weights = recipes[FILES[0]]
    return Checkpoint(name, _snapshot(folder, MODEL_NAMES[0], weights.sha256) / FILES[0], folder, weights.sha256)


def _hub_recipes(folder: Path, recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Recipes of a whole hub cache in `folder` from those of a checkpoint's files (name -> recipe)."""
    result = {}
    revision_source = recipes[FILES[0]].sha256
    first = _snapshot(folder, MODEL_NAMES[0], revision_source)
    for model in MODEL_NAMES:
        snapshot = _snapshot(folder, model, revision_source)
        for name, recipe in recipes.items():
            path = (snapshot / name).relative_to(folder).as_posix()
            result[path] = recipe if snapshot == first else build_link_recipe(first / name, recipe.sha256)
        result[f"{_model_folder(model)}/refs/main"] = build_bytes_recipe(snapshot.name.encode("ascii"))
    return result


def _snapshot(folder: Path, model: str, weights_sha256: str) -> Path:
    revision = weights_sha256[:40]  # shaped like the commit hash that the hub would have put there
    return folder / _model_folder(model) / "snapshots" / revision


def _model_folder(model: str) -> str:
    return "models--" + model.replace("/", "--")
