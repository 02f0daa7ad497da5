"""The least time of a training: its arithmetic over the rate at which this machine multiplies matrices."""

import timeit
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from random import Random
from statistics import fmean
from typing import Any, Final

import torch

from grader.model import Method
from grader.protocol.plan import Budget
from grader.protocol.precision import use_onednn

SHAPE: Final = (2048, 768, 3072)  # rows (16 reviews of 128 tokens), inputs, outputs: the largest product of a layer
REPEATS: Final = 20
LAYERS: Final = 6
LINEAR: Final = 4 * 768 * 768 + 2 * 768 * 3072  # weights of one layer's products
ATTENTION: Final = 2 * 768  # multiplications per token and token attended to, in one layer: scores and mixture
LORA: Final = 2 * 12 * (768 + 768)  # adapter weights of one layer: q and v at rank 12


def measure_rate_gflops(dtype: torch.dtype, products: AbstractContextManager[None] | None = None) -> float:
    """The best rate of a product of that size and type, in 10⁹ floating-point operations per second."""
    rows, inputs, outputs = SHAPE
    left, right = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    with products or nullcontext():
        best = min(timeit.repeat(lambda: torch.nn.functional.linear(left, right), number=1, repeat=REPEATS))
    return 2 * rows * inputs * outputs / best / 1e9


def measure_rates() -> dict[str, float]:
    """GFLOP/s in the ways that trainings are done here."""
    plain, with_onednn = (measure_rate_gflops(torch.float32, products) for products in (None, use_onednn()))
    bfloat16 = measure_rate_gflops(torch.bfloat16)
    return {"float32": round(plain), "float32, oneDNN": round(with_onednn), "bfloat16": round(bfloat16)}


def compute_forward_gflop(rows: int, tokens: float, lora: bool = False) -> float:
    """Arithmetic of one pass: two operations per weight and token, and attention. The head is nothing beside it."""
    weights = LINEAR + (LORA if lora else 0)
    return 2 * LAYERS * rows * tokens * (weights + ATTENTION * tokens) / 1e9


def compute_step_gflop(method: Method, rows: int, tokens: float) -> float:
    """Arithmetic of one optimiser step.

    Backwards, all parameters cost twice the forward pass. LoRA needs the gradients of activations, not those of frozen
    weights: once. Below a head that alone is trained, nothing goes back.
    """
    passes = {Method.FULL: 3, Method.LORA: 2, Method.HEAD: 1}[method]
    return passes * compute_forward_gflop(rows, tokens, lora=method is Method.LORA)


def compute_trainings_gflop(budget: Budget, evaluations: int, tokens: float) -> float:
    """Arithmetic of the three trainings under a budget, with `evaluations` of the shown reviews in each.

    tokens: of a padded batch, on average.
    """
    steps = sum(compute_step_gflop(method, budget.batch_size, tokens) for method in Method)
    return budget.max_steps * steps + len(Method) * evaluations * compute_forward_gflop(budget.eval_rows, tokens)


def estimate_padded_tokens(texts: Sequence[str], tokenizer: Any, budget: Budget) -> float:
    """Mean length of batches drawn at random: that of the longest review in each, cut as the budget says."""
    drawn = Random(0)
    batches = [drawn.sample(list(texts), budget.batch_size) for _ in range(budget.max_steps)]
    cut = (tokenizer(batch, truncation=True, max_length=budget.max_tokens)["input_ids"] for batch in batches)
    return fmean(max(map(len, rows)) for rows in cut)
