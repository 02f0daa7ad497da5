"""The accuracy of rebuilt weights on held-out reviews, measured here and nowhere else. Cached by content."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from grader.assets.cache import place_file
from grader.assets.reviews import read_reviews
from grader.protocol.precision import use_precision
from grader.protocol.tensor_names import ENCODER

BATCH = 32
SAMPLE_ROWS, SAMPLE_TOKENS = 8, 32  # rows of each label
CACHE_VERSION = 1  # raise it when the measurement itself changes


@dataclass(frozen=True)
class AccuracyMeter:
    """Measures accuracy on these reviews, up to so many tokens of each, in this precision."""

    heldout: Path
    snapshot: Path  # folder of the checkpoint's files, for tokenizer and configuration
    base_sha256: str
    reviews_sha256: str
    max_tokens: int
    bfloat16: bool
    cache: Path

    def measure(self, tensors: Mapping[str, Tensor], base: Mapping[str, Tensor], digest: str) -> float:
        """Return the share of held-out reviews classified right by base + tensors; `digest` stands for the tensors."""
        known = self.known(digest)
        if known is not None:
            return known
        accuracy = self._compute(tensors, base)
        place_file(self._locate_cached(digest), json.dumps({"accuracy": accuracy}).encode())
        return accuracy

    def known(self, digest: str) -> float | None:
        """Return what was measured before for the same content under the same conditions, or None."""
        try:
            return float(json.loads(self._locate_cached(digest).read_text(encoding="utf-8"))["accuracy"])
        except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged: it is measured again
            return None

    def measure_majority(self) -> float:
        """Return the accuracy on held-out reviews of the answer that is right most often, given every time."""
        labels = [review.label for review in read_reviews(self.heldout)]
        return max(labels.count(label) for label in set(labels)) / len(labels)

    def encode_sample(self) -> tuple[Tensor, Tensor]:
        """Return tokens and mask, (rows, tokens), of the beginnings of a few held-out reviews: half of each label."""
        reviews = read_reviews(self.heldout)
        each = [[review.text for review in reviews if review.label == label][:SAMPLE_ROWS] for label in (0, 1)]
        fewest = min(map(len, each))
        encoded = self._encode([text for texts in each for text in texts[:fewest]])
        return encoded["input_ids"][:, :SAMPLE_TOKENS], encoded["attention_mask"][:, :SAMPLE_TOKENS]

    def _locate_cached(self, digest: str, kind: str = "json") -> Path:
        conditions = (self.base_sha256, self.reviews_sha256, self.max_tokens, self.bfloat16)
        key = hashlib.sha256(json.dumps((CACHE_VERSION, digest, *conditions)).encode()).hexdigest()
        return self.cache / f"{key[:40]}.{kind}"

    def _compute(self, tensors: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> float:
        model = rebuild(tensors, base, self.snapshot)
        reviews = sorted(read_reviews(self.heldout), key=lambda review: len(review.text))  # little padding in a batch
        labels = torch.tensor([review.label for review in reviews])
        head_only = not any(key[2:].startswith(ENCODER) for key in tensors)  # the encoder is the checkpoint's own
        with torch.inference_mode(), use_precision(self.bfloat16):
            features = self._features(model, [review.text for review in reviews], of_checkpoint=head_only)
            # The head of DistilBertForSequenceClassification in evaluation: (reviews, width) to (reviews, labels).
            logits = model.classifier(torch.relu(model.pre_classifier(features)))
            return int((logits.argmax(-1) == labels).sum()) / len(reviews)

    def _features(self, model: Any, texts: list[str], of_checkpoint: bool) -> Tensor:
        """Compute the head's input, (reviews, width). The checkpoint's own encoder gives everyone the same: kept."""
        kept = self._locate_cached("features", "safetensors")
        if of_checkpoint and (known := _read_features(kept)) is not None:
            return known
        batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
        features = torch.cat([model.distilbert(**self._encode(batch)).last_hidden_state[:, 0] for batch in batches])
        if of_checkpoint:
            place_file(kept, save({"features": features.contiguous()}))
        return features

    def _encode(self, texts: list[str]) -> Mapping[str, Tensor]:
        tokenizer = _tokenizer(self.snapshot)
        return tokenizer(texts, truncation=True, max_length=self.max_tokens, padding=True, return_tensors="pt")


@cache
def _tokenizer(snapshot: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(snapshot)


def rebuild(tensors: Mapping[str, Tensor], base: Mapping[str, Tensor], snapshot: Path) -> Any:
    """Build a plain DistilBERT classifier from the checkpoint's weights and the exported differences."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    state = {name: tensor.float() for name, tensor in base.items()}
    for key, tensor in tensors.items():
        kind, name = key[:2], key[2:]
        if kind == "d:" and (name not in base or base[name].shape != tensor.shape):  # before anything is computed
            raise IncompleteWeights([name])
        state[name] = base[name].float() + tensor.float() if kind == "d:" else tensor.float()
    config = AutoConfig.from_pretrained(snapshot, num_labels=2)
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    model.load_state_dict(state, strict=False, assign=True)
    return _materialise(model)


def _materialise(model: torch.nn.Module) -> torch.nn.Module:
    """Compute buffers such as position ids, which are not loaded."""
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                module.register_buffer(name, torch.arange(buffer.shape[-1]).expand(buffer.shape), persistent=False)
    if missing := [name for name, p in model.named_parameters() if p.is_meta]:
        raise IncompleteWeights(missing)
    return model.eval()


class IncompleteWeights(Exception):
    """The exported weights are not those of a DistilBERT classifier."""


def _read_features(path: Path) -> Tensor | None:
    try:
        return load(path.read_bytes())["features"]
    except (OSError, SafetensorError, KeyError):  # not there, or damaged: they are computed again
        return None
