"""Facts of this assignment, in one place: names and their aliases, layer names, parameter counts."""

from typing import Final

MODEL_NAMES: Final = ("distilbert-base-uncased", "distilbert/distilbert-base-uncased")

LAYERS: Final = 6
WIDTH: Final = 768

HEAD_MODULES: Final = ("pre_classifier", "classifier")
QV_LAYER_NAMES: Final = tuple(
    f"distilbert.transformer.layer.{i}.attention.{kind}_lin" for i in range(LAYERS) for kind in ("q", "v")
)

FULL_PARAMETERS: Final = 66_955_010
HEAD_PARAMETERS: Final = 592_130
LORA_PARAMETERS_PER_RANK: Final = len(QV_LAYER_NAMES) * 2 * WIDTH  # 18,432
DEFAULT_RANK: Final = 12
DEFAULT_ALPHA: Final = 24

MAX_TOKENS: Final = 512  # that DistilBERT has positions for
TRAIN_ROWS: Final = 2_000
EVAL_ROWS: Final = 500

# The name in the handout comes first, then names that earlier handouts and students use for the same thing.
COUNT_NAMES: Final = (
    "count_trainable_parameters",
    "num_trainable_parameters",
    "count_parameters",
    "count_trainable_params",
    "num_trainable_params",
)
EXTRACT_NAMES: Final = ("extract_qv_layers", "extract", "extract_layers", "extract_qv")
REPLACE_NAMES: Final = ("replace_layers", "replace")
LORA_NAMES: Final = ("LoRALayer", "LoRA", "LoraLayer", "LORALayer", "LoRALinear")

LOOKED_FOR: Final = {"count": COUNT_NAMES, "extract": EXTRACT_NAMES, "replace": REPLACE_NAMES, "lora": LORA_NAMES}


def count_lora_parameters(rank: int) -> int:
    """Count the trainable parameters of the model in step 3: the head plus twelve adapters of this rank."""
    return HEAD_PARAMETERS + LORA_PARAMETERS_PER_RANK * rank


def count_surplus_labels(observed: int, wanted: int) -> int:
    """Return how many labels too many (below zero: too few) explain the number of parameters; 0 if none do.

    Each label has a row of weights and a bias in the last layer.
    """
    labels, rest = divmod(observed - wanted, WIDTH + 1)
    return labels if rest == 0 and -2 < labels < 100 else 0
