"""Accuracy from rebuilt weights: the same as asking the model, once per content."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import BertTokenizerFast, DistilBertConfig, DistilBertForSequenceClassification

from grader.kernel import weights
from grader.oracle.accuracy import AccuracyMeter, IncompleteWeights, rebuild

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "very", "not"]
REVIEWS = [("good film", 1), ("bad film", 0), ("very very good film", 1), ("not good", 0), ("not bad", 1)] * 9


class Unread(Mapping[str, Tensor]):
    """Weights that may not be looked at."""

    def __getitem__(self, *key: str) -> Tensor:
        raise AssertionError("weights were read")

    __iter__ = __len__ = __getitem__  # type: ignore[assignment]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokenizer and configuration of a tiny model, as a hub cache has them."""
    folder = tmp_path_factory.mktemp("snapshot")
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    model(0).config.save_pretrained(folder)
    return folder


def model(seed: int) -> DistilBertForSequenceClassification:
    torch.manual_seed(seed)
    sizes = {"dim": 16, "hidden_dim": 32, "n_heads": 2, "n_layers": 2, "max_position_embeddings": 16}
    config = DistilBertConfig(vocab_size=len(WORDS), **sizes)
    made = DistilBertForSequenceClassification(config).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)  # so that predictions differ between reviews
    return made


@pytest.fixture
def meter(snapshot: Path, tmp_path: Path) -> AccuracyMeter:
    with (tmp_path / "heldout.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("review", "label"), *REVIEWS])
    return AccuracyMeter(tmp_path / "heldout.csv", snapshot, "base", "reviews", 16, False, tmp_path / "cache")


def encoder(of: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in of.state_dict().items() if name.startswith("distilbert.")}


BASE = encoder(model(0))
TRAINED, _ = weights.export(model(1), BASE)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equals_asking_the_model(seed: int, meter: AccuracyMeter, snapshot: Path) -> None:
    trained, right = model(seed), 0
    tokenizer = BertTokenizerFast.from_pretrained(snapshot)
    with torch.inference_mode():
        for text, label in REVIEWS:
            tokens = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
            right += int(trained(**tokens).logits.argmax()) == label
    tensors, _ = weights.export(trained, BASE)
    assert meter.measure(tensors, BASE, f"digest {seed}") == right / len(REVIEWS)


def test_rebuilt_from_differences(snapshot: Path) -> None:
    trained = model(1)
    differences = {f"d:{name}": tensor - BASE[name] for name, tensor in encoder(trained).items()}
    found = rebuild(differences | head_only(trained), BASE, snapshot).state_dict()
    for name, tensor in trained.state_dict().items():
        # (x − b) + b in float32: one rounding each of numbers below 16
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=2e-6)


def test_the_same_content_is_measured_once(meter: AccuracyMeter) -> None:
    first = meter.measure(TRAINED, BASE, "digest")
    assert meter.measure(Unread(), Unread(), "digest") == first
    with pytest.raises(AssertionError, match="weights were read"):
        meter.measure(Unread(), Unread(), "another digest")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"accuracy": "x"}'], ids=["empty", "{}", "list", "text"])
def test_a_damaged_cache_is_measured_again(content: bytes, meter: AccuracyMeter) -> None:
    first = meter.measure(TRAINED, BASE, "digest")
    (stored,) = meter.cache.iterdir()  # features of a trained encoder are not kept
    stored.write_bytes(content)
    assert meter.measure(TRAINED, BASE, "digest") == first
    assert json.loads(stored.read_text(encoding="utf-8"))["accuracy"] == first


def head_only(of: torch.nn.Module) -> dict[str, Tensor]:
    return {f"w:{name}": tensor for name, tensor in of.state_dict().items() if not name.startswith("distilbert.")}


@pytest.mark.parametrize("content", [None, b"", b"damaged"], ids=["kept", "empty", "damaged"])
def test_features_are_kept(content: bytes | None, meter: AccuracyMeter, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [meter.measure(head_only(model(seed)), BASE, f"digest {seed}") for seed in (1, 2, 3)]
    (kept,) = meter.cache.glob("*.safetensors")
    if content is None:
        monkeypatch.setattr(AccuracyMeter, "_encode", None)  # the encoder is not asked again
    else:
        kept.write_bytes(content)
    found = [meter.measure(head_only(model(seed)), BASE, f"again {seed}") for seed in (1, 2, 3)]
    assert found == expected
    assert len(set(expected)) > 1


QUERY = "d:distilbert.transformer.layer.0.attention.q_lin.weight"
SPOILT = {
    "without head": {name: tensor for name, tensor in TRAINED.items() if "classifier" not in name},
    "another shape": TRAINED | {"w:classifier.weight": torch.zeros(3, 16)},
    "unknown difference": TRAINED | {"d:no.such.tensor": torch.zeros(1)},
    "difference of another shape": TRAINED | {QUERY: torch.zeros(3, 5)},
}


@pytest.mark.parametrize("tensors", SPOILT.values(), ids=SPOILT)
def test_broken_weights(tensors: dict[str, Tensor], meter: AccuracyMeter) -> None:
    with pytest.raises((IncompleteWeights, RuntimeError, KeyError)):  # Case.accuracy makes None of these
        meter.measure(tensors, BASE, "digest")


def test_weights_that_diverged_are_measured(meter: AccuracyMeter) -> None:
    nan = {name: torch.full_like(tensor, float("nan")) for name, tensor in TRAINED.items()}
    assert 0 <= meter.measure(nan, BASE, "digest") <= 1
