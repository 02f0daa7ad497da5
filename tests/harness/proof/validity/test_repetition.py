"""Verdicts on right LoRA layers do not depend on the draw, and on wrong ones neither."""

import pytest

from tests.proof.validity.corpus_run import load
from tests.proof.validity.repetition import repeat

pytestmark = pytest.mark.usefixtures("one_thread")

SEEDS = range(10_000, 10_020)
WRONG = {
    "scale_square_root": "step3.lora_forward",
    "scale_floor": "step3.lora_forward",
    "update_subtracted": "step3.lora_forward",
    "relu_between": "step3.lora_forward",
    "almost_zero": "step3.lora_fresh",
    "weight_untransposed": "step3.lora_fresh",
    "bias_dropped": "step3.lora_fresh",
    "detached": "step3.lora_gradients",
    "W_unfrozen_in_the_class": "step3.lora_frozen",
    "rank_hard_coded": "step3.lora_registered",
}


@pytest.mark.parametrize(
    "name", ["reference", "lora_parameters", "lora_merged_weight", "lora_divided_last", "lora_einsum"]
)
def test_right_layer_passes_for_every_seed(name: str) -> None:
    base, corpus = load()
    case = next(s for s in corpus if s.id == name)
    assert repeat(base, case, SEEDS).failures == ()


@pytest.mark.parametrize(("name", "check"), WRONG.items())
def test_wrong_layer_fails_for_every_seed(name: str, check: str) -> None:
    base, corpus = load()
    case = next(s for s in corpus if s.id == name)
    failures = repeat(base, case, SEEDS).failures
    assert {f.split(": ")[0] for f in failures if f.split(": ")[1] == check} == {f"seed {seed}" for seed in SEEDS}
