"""The questions of the probes, drawn at random from a seed: no answer can be prepared, every draw can be repeated."""

import secrets
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from grader import assignment
from grader.protocol.plan import GradientQuestion

SQUARE_SIZES: Final = (16, 24, 32, 40, 48)
DTYPES: Final = ("float32",) * 5 + ("float64",) * 2 + ("bfloat16",)
UNBIASED: Final = (1, 5)  # challenges in which W has no bias
ADVISORY: Final = 2  # further challenges with a W that is not square: advice, never a deduction
ROWS: Final = 16  # a ReLU on one unit is off for all rows by chance in one of 65,536 draws, which would hide gradients
FILL_FACTOR: Final = 4  # values to fill an adapter with, relative to its right size; a larger one gets them again
QUESTION_TOKENS: Final = 8  # of each review that the gradients of a whole model are asked for
CLS, SEP, WORDS = 101, 102, (1_996, 29_000)  # of the uncased vocabulary: whole words are in this range
SEEDS: Final = 2**31
TRAINING_SEEDS: Final = 2**12
DISTINCT: Final = 0.1  # relative distance between the right scale and every wrong one that students write


@dataclass(frozen=True)
class LoraChallenge:
    """One LoRA layer to build and question. `graded` is False where a wrong answer only leads to advice."""

    key: str
    rank: int
    alpha: int
    dtype: str
    bias: bool
    in_features: int
    out_features: int
    graded: bool

    @property
    def scale(self) -> float:
        """alpha / rank, the factor of the update (Hu et al. 2021, section 4.1)."""
        return self.alpha / self.rank

    def __str__(self) -> str:
        """Return the call that makes this layer, for rationales; with the precision where it is not float32."""
        linear = f"nn.Linear({self.in_features}, {self.out_features}{'' if self.bias else ', bias=False'})"
        call = f"`LoRALayer({linear}, rank={self.rank}, alpha={self.alpha})`"
        return call if self.dtype == "float32" else f"{call} in {self.dtype}"


@dataclass(frozen=True)
class Parameter:
    """One tensor of a toy model."""

    size: int
    trainable: bool
    matrix: bool
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class ToyModel:
    """A toy model for the counting function, in words and as a description for the kernel."""

    words: str
    description: dict[str, Any]

    @cached_property
    def tensors(self) -> tuple[Parameter, ...]:
        """The parameters of the model: shared ones once, no buffers."""
        frozen, frozen_bias = (self.description.get(name, ()) for name in ("frozen", "frozen_bias"))
        found = []
        for i, (a, b) in enumerate(pairwise(self.description["sizes"])):
            found.append(Parameter(a * b, trainable=i not in frozen, matrix=True, shape=(b, a)))
            if self.description.get("bias", True):
                trainable = i not in (*frozen, *frozen_bias)
                found.append(Parameter(b, trainable=trainable, matrix=False, shape=(b,)))
        return tuple(found)

    @property
    def trainable(self) -> int:
        """The number of trainable numbers in the model."""
        return sum(p.size for p in self.tensors if p.trainable)


@dataclass(frozen=True)
class Challenges:
    """All questions of one run."""

    lora: tuple[LoraChallenge, ...]
    lora_tensors: dict[str, Tensor]
    toys: tuple[ToyModel, ...]
    models: tuple[dict[str, int], ...]  # small DistilBERTs: width and seed
    question: GradientQuestion  # to each model at the start of its training

    def build_requests(self, tensors_file: str) -> dict[str, dict[str, Any]]:
        """Build the request to each family of probes."""
        lora = [{k: getattr(c, k) for k in ("key", "rank", "alpha", "bias", "dtype")} for c in self.lora]
        names = list(assignment.QV_LAYER_NAMES)
        return {
            "count": {"models": [toy.description for toy in self.toys]},
            "extract": {"models": list(self.models)},
            "replace": {"models": [{**model, "names": names} for model in self.models]},
            "lora": {"file": tensors_file, "challenges": lora},
        }


def choose_seed(given: int | None) -> int:
    """Return the seed of a grading: the given one, or a secret one that its result then names."""
    return secrets.randbelow(SEEDS) if given is None else given


def derive_training_seed(seed: int) -> int:
    """Return the seed of trainings, which the kernel is told: it leaves half a million seeds of challenges open."""
    return seed % TRAINING_SEEDS


def draw(seed: int) -> Challenges:
    """Draw the challenges that belong to a seed."""
    dice = np.random.default_rng([seed, 0xA4])
    lora = tuple(_lora(dice, number) for number in range(len(DTYPES) + ADVISORY))
    tensors = {f"{c.key}.{name}": tensor for c in lora for name, tensor in _tensors(dice, c).items()}
    models = ({"dim": 24, "seed": int(dice.integers(2**31))}, {"dim": 32, "seed": int(dice.integers(2**31))})
    toys = tuple(_toys(dice))
    return Challenges(lora=lora, lora_tensors=tensors, toys=toys, models=models, question=_question(dice))


def _lora(dice: np.random.Generator, number: int) -> LoraChallenge:
    graded = number < len(DTYPES)
    in_features = out_features = int(dice.choice(SQUARE_SIZES))
    if not graded:
        out_features = in_features + 8
    rank, alpha = (1, 7) if number == 0 else _rank_and_alpha(dice)
    dtype = DTYPES[number] if graded else "float32"
    return LoraChallenge(f"c{number}", rank, alpha, dtype, number not in UNBIASED, in_features, out_features, graded)


def _rank_and_alpha(dice: np.random.Generator) -> tuple[int, int]:
    """Draw a pair for which alpha / rank is far from everything else that students compute instead.

    alpha is not below the rank: `alpha // rank` would be zero, and its author would be told of missing gradients.
    """
    while True:
        rank, alpha = int(dice.integers(2, 13)), int(dice.integers(3, 41))
        right, wrong = alpha / rank, list_wrong_scales(rank, alpha).values()
        if alpha >= rank and all(abs(scale - right) > DISTINCT * right for scale in wrong):
            return rank, alpha


def list_wrong_scales(rank: int, alpha: float) -> dict[str, float]:
    """Return the scales that students use by mistake: the expression in their code -> value."""
    return {
        "alpha": alpha,
        "1": 1.0,
        "2": 2.0,
        "1 / rank": 1 / rank,
        "rank / alpha": rank / alpha,
        "rank": float(rank),
        "alpha * rank": alpha * rank,
        "alpha / sqrt(rank)": alpha / rank**0.5,
        "alpha // rank": float(alpha // rank),
        "(alpha / rank)²": (alpha / rank) ** 2,
        "-alpha / rank": -alpha / rank,
        "0": 0.0,
    }


def _tensors(dice: np.random.Generator, c: LoraChallenge) -> dict[str, Tensor]:
    def normal(*shape: int, deviation: float = 1.0) -> Tensor:
        return torch.from_numpy(dice.normal(0, deviation, shape)).float()

    return {
        "weight": normal(c.out_features, c.in_features, deviation=c.in_features**-0.5),
        "bias": normal(c.out_features),
        "x": normal(ROWS, c.in_features),
        "x3": normal(2, 3, c.in_features),
        "cotangent": normal(ROWS, c.out_features),
        "fill": normal(FILL_FACTOR * c.rank * (c.in_features + c.out_features)),
    }


def _question(dice: np.random.Generator) -> GradientQuestion:
    """Draw two short reviews of any words, the second of them padded, with a label each."""
    words, padding = dice.integers(*WORDS, (2, QUESTION_TOKENS - 2)), int(dice.integers(2, QUESTION_TOKENS // 2))
    rows = [[CLS, *map(int, row), SEP] for row in words]
    rows[1][-padding - 1 :] = [SEP, *[0] * padding]
    mask = [[int(token != 0) for token in row] for row in rows]
    tensors = [f"{path}.weight" for path in (*assignment.QV_LAYER_NAMES, *assignment.HEAD_MODULES)]
    return GradientQuestion(rows, mask, [int(label) for label in dice.permutation(2)], tensors)


def _toys(dice: np.random.Generator) -> list[ToyModel]:
    def sizes(layers: int) -> list[int]:
        return [int(n) for n in dice.integers(3, 12, layers + 1)]

    square = int(dice.integers(3, 12))
    return [
        ToyModel("a model with all parameters trainable", {"sizes": sizes(3)}),
        ToyModel("a model with one frozen layer", {"sizes": sizes(3), "frozen": [1]}),
        ToyModel("a model with everything frozen", {"sizes": sizes(2), "frozen": [0, 1]}),
        ToyModel("a model with a frozen bias", {"sizes": sizes(2), "frozen_bias": [0]}),
        ToyModel("a model without parameters", {"sizes": sizes(0)}),
        ToyModel("a model that uses one layer twice", {"sizes": [square, square, square], "shared": True}),
        ToyModel("a model with buffers", {"sizes": sizes(2), "buffers": 7}),
        ToyModel("a model without biases in half precision", {"sizes": sizes(2), "bias": False, "half": True}),
    ]
