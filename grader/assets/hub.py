"""Hugging Face hub caches that hold one model under both its names, so that `from_pretrained` works offline.

The layout is the hub's own (`models--<name>/refs/main`, `snapshots/<revision>/<file>`), without its blobs folder: a
snapshot may hold plain files. The second name is made of hard links where the file system has them. Models that have
the same vocabulary are there as well, without their weights: their tokenizers give the same ids.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grader.assets import cache, standin
from grader.assets.cache import Recipe
from grader.assignment import MODEL_NAMES
from grader.model import Profile

REAL_NAME: Final = MODEL_NAMES[0]
WEIGHTS: Final = standin.WEIGHTS
REAL_FOLDER: Final = "hub-distilbert"
BERT: Final[Mapping[str, object]] = {"architectures": ["BertForMaskedLM"], "model_type": "bert", "vocab_size": 30522}
# Models whose tokenizers are right as well. Of their configurations, the tokenizer needs no more than the type.
SAME_VOCABULARY: Final = (
    *("bert-base-uncased", "google-bert/bert-base-uncased"),
    *("bert-large-uncased", "google-bert/bert-large-uncased"),
)
TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
FILES: Final = (WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")


@dataclass(frozen=True)
class Checkpoint:
    """The pretrained model that a run starts from."""

    name: str
    weights: Path  # its model.safetensors, with the hub's tensor names (prefix `distilbert.`)
    hub_cache: Path  # the value for HF_HUB_CACHE; it is only read
    sha256: str  # of the weights


def resolve_checkpoint(profile: Profile, cache_dir: Path) -> Checkpoint:
    """Return the checkpoint for `profile`, prepared under `cache_dir` if it is not there yet. Raises GraderError.

    `full` takes the real one from this user's hub cache or the network; otherwise it is the stand-in.
    """
    real = prepare_real_checkpoint(cache_dir) if profile is Profile.FULL else None
    return real or prepare_standin_checkpoint(cache_dir)


def prepare_standin_checkpoint(cache_dir: Path) -> Checkpoint:
    """Return the stand-in, prepared in its folder of `cache_dir`. Raises GraderError."""
    chosen = standin.choose_standin()
    return _prepare_hub(chosen.name, cache_dir / chosen.folder, standin.build_recipes(chosen))


def has_standin_checkpoint(cache_dir: Path) -> bool:
    """Return True if the stand-in is there and whole; makes nothing."""
    chosen = standin.choose_standin()
    folder = cache_dir / chosen.folder
    return cache.is_prepared(folder, _build_hub_recipes(folder, standin.build_recipes(chosen)))


def prepare_real_checkpoint(cache_dir: Path) -> Checkpoint | None:
    """Return the real distilbert-base-uncased, prepared in `cache_dir`/hub-distilbert, or None when there is none."""
    prepared = find_real_checkpoint(cache_dir)
    if prepared and all((prepared.hub_cache / _name_folder(name)).is_dir() for name in SAME_VOCABULARY):
        return prepared
    source = prepared.weights.parent if prepared else find_snapshot() or download_snapshot()
    if source is None:
        return None
    recipes = {name: cache.build_link_recipe(source / name, cache.hash_file(source / name)) for name in FILES}
    return _prepare_hub(REAL_NAME, cache_dir / REAL_FOLDER, recipes)


def find_real_checkpoint(cache_dir: Path) -> Checkpoint | None:
    """Return the real checkpoint if an earlier call prepared it and its files are still whole."""
    folder = cache_dir / REAL_FOLDER
    recorded = {name: stamp.sha256 for name, stamp in cache.read_manifest(folder).items()}
    weights = next((name for name in recorded if name.endswith(WEIGHTS)), None)
    if weights is None or cache.find_damaged(folder, recorded):
        return None
    return Checkpoint(REAL_NAME, folder / weights, folder, recorded[weights])


def find_snapshot() -> Path | None:
    """Return the folder of the real checkpoint's files in the hub cache of this user, or None."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(name, WEIGHTS) for name in MODEL_NAMES]
    folders = (Path(path).parent for path in found if isinstance(path, str))
    return next((folder for folder in folders if is_distilbert(folder)), None)


def download_snapshot() -> Path | None:
    """Download the real checkpoint (268 MB) into this user's hub cache. None when that fails, in seconds if offline."""
    from huggingface_hub import snapshot_download

    try:  # 5 s to reach the hub, not for the transfer
        folder = Path(snapshot_download(MODEL_NAMES[-1], allow_patterns=list(FILES), etag_timeout=5))
    except (OSError, ValueError):  # no network, refused, or switched off by HF_HUB_OFFLINE
        return None
    return folder if is_distilbert(folder) else None


def is_distilbert(folder: Path) -> bool:
    """Return True if `folder` holds every file, and weights under the names and in the shape of the real checkpoint."""
    from safetensors import SafetensorError, safe_open

    if not all((folder / name).is_file() for name in FILES):
        return False
    try:
        with safe_open(folder / WEIGHTS, "numpy") as weights:
            shape = weights.get_slice("distilbert.embeddings.word_embeddings.weight").get_shape()
    except (SafetensorError, OSError):
        return False
    return list(shape) == [standin.CONFIG["vocab_size"], standin.CONFIG["dim"]]


def _prepare_hub(name: str, folder: Path, recipes: Mapping[str, Recipe]) -> Checkpoint:
    cache.prepare(folder, _build_hub_recipes(folder, recipes))
    sha256 = recipes[WEIGHTS].sha256
    return Checkpoint(name, folder / _locate_snapshot(MODEL_NAMES[0], sha256) / WEIGHTS, folder, sha256)


def _build_hub_recipes(folder: Path, recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Return the recipes of a whole hub cache in `folder`, from those of a checkpoint's files (name -> recipe)."""
    sha256 = recipes[WEIGHTS].sha256
    source = folder / _locate_snapshot(MODEL_NAMES[0], sha256)
    links = {name: cache.build_link_recipe(source / name, recipe.sha256) for name, recipe in recipes.items()}
    result: dict[str, Recipe] = {}
    for model in MODEL_NAMES:
        result |= _build_model_recipes(model, sha256, recipes if model == MODEL_NAMES[0] else links)
    config = cache.build_bytes_recipe(json.dumps(BERT, indent=2).encode("utf-8"))
    tokenizer = {"config.json": config, **{name: links[name] for name in TOKENIZER_FILES}}
    for model in SAME_VOCABULARY:
        result |= _build_model_recipes(model, sha256, tokenizer)
    return result


def _build_model_recipes(model: str, weights_sha256: str, files: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """Return the recipes of one model's part of a hub cache."""
    snapshot = _locate_snapshot(model, weights_sha256)
    head = cache.build_bytes_recipe(snapshot.rpartition("/")[2].encode("ascii"))
    return {**{f"{snapshot}/{name}": file for name, file in files.items()}, f"{_name_folder(model)}/refs/main": head}


def _locate_snapshot(model: str, weights_sha256: str) -> str:
    """Return the path of a snapshot in a hub cache. Its revision is shaped like the commit hash that the hub has."""
    return f"{_name_folder(model)}/snapshots/{weights_sha256[:40]}"


def _name_folder(model: str) -> str:
    return f"models--{model.replace('/', '--')}"
