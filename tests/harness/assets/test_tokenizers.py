"""Tokenizers of other models with the same vocabulary, which the offline cache holds without their weights."""

import json
import shutil
from pathlib import Path

import pytest

from grader.assets.hub import REAL_FOLDER, SAME_VOCABULARY, Checkpoint, prepare_real_checkpoint


@pytest.mark.parametrize("name", SAME_VOCABULARY)
@pytest.mark.parametrize("text", ["A GREAT film, isn't it?", "naïve café – 10/10 ☃"])
def test_ids_are_those_of_the_model(name: str, text: str, standin: Checkpoint) -> None:
    from transformers import AutoTokenizer

    (snapshot,) = (standin.hub_cache / f"models--{name.replace('/', '--')}").glob("snapshots/*")
    found, expected = (AutoTokenizer.from_pretrained(folder) for folder in (snapshot, standin.weights.parent))
    assert found(text)["input_ids"] == expected(text)["input_ids"]
    assert len(found) == len(expected) == 30_522
    assert not (snapshot / "model.safetensors").exists()


def test_a_cache_that_was_prepared_without_them_gets_them(standin: Checkpoint, tmp_path: Path) -> None:
    folder = tmp_path / REAL_FOLDER
    shutil.copytree(standin.hub_cache, folder, copy_function=lambda a, b: Path(b).hardlink_to(a))
    for name in SAME_VOCABULARY:
        shutil.rmtree(folder / f"models--{name.replace('/', '--')}")
    stamps = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").unlink()  # a link: what it holds belongs to others as well
    kept = {name: stamp for name, stamp in stamps.items() if "models--distilbert" in name}
    (folder / "manifest.json").write_text(json.dumps(kept), encoding="utf-8")
    prepared = prepare_real_checkpoint(tmp_path)
    assert prepared is not None
    assert prepared.weights.is_relative_to(folder)
    assert len(list(folder.glob("models--*/snapshots/*/tokenizer.json"))) == 2 + len(SAME_VOCABULARY)
