"""Accuracy from rebuilt weights: the same as asking the model, once per content."""

import csv
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import BertTokenizerFast, DistilBertConfig, DistilBertForSequenceClassification

from grader.assets.synthetic_reviews import Review
from grader.kernel import weights
from grader.oracle.accuracy import BLOCK, Accuracy, AccuracyMeter, IncompleteWeights, rebuild

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
    assert meter.measure(tensors, BASE, f"digest {seed}") == Accuracy(right, len(REVIEWS), len(REVIEWS))


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


DAMAGED = {
    "empty": b"",
    "no answers": b"{}",
    "a list": b"[1]",
    "other letters": b'{"answers": "01x", "of": 45}',
    "more answers than reviews": b'{"answers": "0101", "of": 3}',
    "no number": b'{"answers": "01", "of": "x"}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_cache_is_measured_again(content: bytes, meter: AccuracyMeter) -> None:
    first = meter.measure(TRAINED, BASE, "digest")
    (stored,) = meter.cache.iterdir()  # features of a trained encoder are not kept
    stored.write_bytes(content)
    assert meter.measure(TRAINED, BASE, "digest") == first
    assert len(json.loads(stored.read_text(encoding="utf-8"))["answers"]) == len(REVIEWS)


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
    assert 0 <= meter.measure(nan, BASE, "digest").share <= 1


# As many reviews as it takes.


@pytest.fixture
def long(snapshot: Path, tmp_path: Path) -> AccuracyMeter:
    """1,800 reviews, no two of which are the same; the model answers most of them in one way."""
    texts = (f"{' '.join('very' for _ in range(n % 7))} {text} {n}" for n, (text, _) in enumerate(REVIEWS * 40))
    with (tmp_path / "heldout.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("review", "label"), *((text, int(n % 5 != 0)) for n, text in enumerate(texts))])
    return AccuracyMeter(tmp_path / "heldout.csv", snapshot, "base", "reviews", 8, False, tmp_path / "cache")


def answer(label: int, count: list[int]) -> Callable[..., str]:
    """A model that always gives the same answer, and counts the reviews that it is asked about."""

    def answer(self: AccuracyMeter, model: object, reviews: Sequence[Review], of_checkpoint: bool) -> str:
        count.append(len(reviews))
        return "".join("1" if review.label == label else "0" for review in reviews)

    return answer


def test_a_clear_case_needs_few_reviews(long: AccuracyMeter, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(AccuracyMeter, "_answer", answer(1, asked))  # right in 80 %
    passed = long.measure(TRAINED, BASE, "digest", 0.6)
    assert (passed.of, passed.reviews) == (1_800, sum(asked))
    assert passed.reviews <= 256
    assert passed.share >= 0.6
    assert long.known("digest", 0.6) == passed


def test_another_threshold_goes_on_from_there(long: AccuracyMeter, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(AccuracyMeter, "_answer", answer(1, asked))
    few = long.measure(TRAINED, BASE, "digest", 0.6)
    assert long.known("digest", 0.79) is None
    more = long.measure(TRAINED, BASE, "digest", 0.79)
    assert (few.reviews, more.reviews) == (sum(asked[: few.reviews // BLOCK]), sum(asked))
    whole = long.measure(TRAINED, BASE, "digest")
    assert (whole.reviews, sum(asked)) == (1_800, 1_800)  # none was asked twice
    assert long.known("digest", 0.79) == whole


def test_the_order_of_the_file_decides_nothing(long: AccuracyMeter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AccuracyMeter, "_answer", answer(1, []))
    first = long.measure(TRAINED, BASE, "digest", 0.6)
    heading, *lines = long.heldout.read_text(encoding="utf-8").splitlines()
    long.heldout.write_text("\n".join([heading, *sorted(lines)]), encoding="utf-8")
    assert long.measure(TRAINED, BASE, "another", 0.6) == first


@pytest.mark.parametrize("right", [1_079, 1_080], ids=["one too few in all", "just enough in all"])
def test_seldom_is_a_verdict_another_than_that_of_all_reviews(right: int) -> None:
    """Next to the threshold, where it is hardest: 0.6 of 1,800 are 1,080."""
    generator, wrong = random.Random(1), 0
    answers = [True] * right + [False] * (1_800 - right)
    for _ in range(2_000):
        generator.shuffle(answers)
        looks = (Accuracy(sum(answers[:at]), at, 1_800) for at in range(BLOCK, 1_800 + BLOCK, BLOCK))
        stopped = next((a for a in looks if a.reviews >= a.of or a.is_decided(0.6)), None)
        if stopped and stopped.reviews < stopped.of:
            wrong += (stopped.share >= 0.6) != (right >= 1_080)
    assert wrong <= 8  # 2 are expected at most; more than 8 of 2,000 would be seen once in 4,000 times


@given(st.integers(2, 400), st.data())
def test_a_verdict_is_that_of_the_share(of: int, data: st.DataObject) -> None:
    """What is shown to people agrees with what was decided."""
    reviews = data.draw(st.integers(1, of))
    found = Accuracy(data.draw(st.integers(0, reviews)), reviews, of)
    threshold = data.draw(st.floats(0.01, 1))
    if found.is_decided(threshold) and reviews < of:
        least, most = found.right, found.right + of - reviews  # right answers in all
        assert most / of >= threshold if found.share >= threshold else least / of < threshold
