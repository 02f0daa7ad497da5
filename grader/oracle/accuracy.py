"""The accuracy of rebuilt weights on held-out reviews, measured here and nowhere else. Cached by content.

Reviews are asked in an order that nobody chose, that of their digests, and only until it is certain on which side of
its threshold the accuracy on all of them lies: a training that learned is told from one that did not by a third.
"""

import hashlib
import importlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from grader.assets.cache import place_file
from grader.assets.reviews import read_reviews
from grader.assets.synthetic_reviews import Review
from grader.model import Profile
from grader.protocol.precision import use_precision
from grader.protocol.tensor_names import ENCODER

BATCH = 32
SAMPLE_ROWS, SAMPLE_TOKENS = 8, 32  # rows of each label
CACHE_VERSION = 2  # raise it when the measurement itself changes
LIBRARIES: Final = ("transformers.models.distilbert.modeling_distilbert", "scipy.stats")  # loaded where they are used
BLOCK: Final = 4 * BATCH  # reviews between two looks at the answers
WRONG_VERDICTS: Final = 0.001  # at most, of accuracies next to their threshold: as many honest runs miss it by chance


@dataclass(frozen=True)
class Accuracy:
    """So many answers are `right`, of so many `reviews` that were asked, `of` so many held-out ones."""

    right: int
    reviews: int
    of: int

    @property
    def share(self) -> float:
        """The share of right answers."""
        return self.right / self.reviews

    def is_decided(self, threshold: float | None) -> bool:
        """Return True if `share` lies on the same side of a threshold as that of all reviews, but for a small chance.

        The reviews asked are a draw without replacement, so the number of right answers is hypergeometric. If all
        reviews together were just below the threshold, or just at it, how seldom would this draw look as it does? Both
        exact tests are made at each look, with an equal part of WRONG_VERDICTS (Bonferroni).
        """
        if self.reviews == self.of or threshold is None or not self.reviews:
            return self.reviews == self.of
        from scipy.stats import hypergeom

        needed, looks = math.ceil(threshold * self.of), max(1, math.ceil(self.of / BLOCK) - 1)
        reached = hypergeom.sf(self.right - 1, self.of, max(needed - 1, 0), self.reviews)
        missed = hypergeom.cdf(self.right, self.of, min(needed, self.of), self.reviews)
        return bool(min(reached, missed) < WRONG_VERDICTS / looks)


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

    def measure(
        self, tensors: Mapping[str, Tensor], base: Mapping[str, Tensor], digest: str, threshold: float | None = None
    ) -> Accuracy:
        """Ask base + tensors about held-out reviews; `digest` stands for the tensors.

        threshold: it is enough to know whether the accuracy reaches it. None: all reviews are asked.
        """
        known = self.known(digest, threshold)
        return known or self._ask(tensors, base, digest, threshold)

    def known(self, digest: str, threshold: float | None = None) -> Accuracy | None:
        """Return what was measured before for the same content under the same conditions; None if it is too little."""
        answers, of = self._read_answers(digest)
        found = Accuracy(answers.count("1"), len(answers), of)
        return found if of and found.is_decided(threshold) else None

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

    def _read_answers(self, digest: str) -> tuple[str, int]:
        """Return what is known of the first reviews, "1" for each right answer, and the number of all reviews."""
        try:
            kept = json.loads(self._locate_cached(digest).read_text(encoding="utf-8"))
            answers, of = str(kept["answers"]), int(kept["of"])
        except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged: it is measured again
            return "", 0
        return (answers, of) if len(answers) <= of and set(answers) <= {"0", "1"} else ("", 0)

    def _ask(
        self, tensors: Mapping[str, Tensor], base: Mapping[str, Tensor], digest: str, threshold: float | None
    ) -> Accuracy:
        """Ask on from where the answers that are known end, and keep all of them."""
        reviews = draw_order(read_reviews(self.heldout))
        model, (answers, _) = rebuild(tensors, base, self.snapshot), self._read_answers(digest)
        head_only = not any(key[2:].startswith(ENCODER) for key in tensors)  # the encoder is the checkpoint's own
        answers = "" if head_only else answers
        size = len(reviews) if head_only else BLOCK  # with features that are known, one product answers all
        with torch.inference_mode(), use_precision(self.bfloat16):
            while not (found := Accuracy(answers.count("1"), len(answers), len(reviews))).is_decided(threshold):
                answers += self._answer(model, reviews[len(answers) : len(answers) + size], head_only)
        place_file(self._locate_cached(digest), json.dumps({"answers": answers, "of": len(reviews)}).encode())
        return found

    def _answer(self, model: Any, reviews: Sequence[Review], of_checkpoint: bool) -> str:
        """Return "1" for each review that is classified right, "0" for the others."""
        features = self._features(model, [review.text for review in reviews], of_checkpoint)
        # The head of DistilBertForSequenceClassification in evaluation: (reviews, width) to (reviews, labels).
        chosen = model.classifier(torch.relu(model.pre_classifier(features))).argmax(-1)
        return "".join(str(int(label == review.label)) for label, review in zip(chosen.tolist(), reviews, strict=True))

    def _features(self, model: Any, texts: Sequence[str], of_checkpoint: bool) -> Tensor:
        """Compute the head's input, (reviews, width). The checkpoint's own encoder gives everyone the same: kept."""
        kept = self._locate_cached("features", "safetensors")
        if of_checkpoint and (known := _read_features(kept)) is not None:
            return known
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))  # little padding in a batch
        batches = [[texts[at] for at in order[start : start + BATCH]] for start in range(0, len(texts), BATCH)]
        found = torch.cat([model.distilbert(**self._encode(batch)).last_hidden_state[:, 0] for batch in batches])
        features = found[torch.tensor(order).argsort()]
        if of_checkpoint:
            place_file(kept, save({"features": features.contiguous()}))
        return features

    def _encode(self, texts: list[str]) -> Mapping[str, Tensor]:
        tokenizer = _tokenizer(self.snapshot)
        return tokenizer(texts, truncation=True, max_length=self.max_tokens, padding=True, return_tensors="pt")


def load_libraries(profile: Profile) -> None:
    """Load what measuring takes, which is seconds: each judging is a copy of the process that has them already.

    Nothing is measured in `structure`.
    """
    for name in LIBRARIES if profile is not Profile.STRUCTURE else ():
        importlib.import_module(name)


def draw_order(reviews: Sequence[Review]) -> list[Review]:
    """Put reviews in the order of their digests, which has nothing to do with what they say."""
    return sorted(reviews, key=lambda review: hashlib.sha256(review.text.encode()).digest())


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
