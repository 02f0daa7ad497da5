"""Programs that are right by construction: choices for five pieces, put together and rewritten."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from tests.proof.generated.counting import write_count
from tests.proof.generated.dice import Dice
from tests.proof.generated.extraction import write_extract
from tests.proof.generated.freezing import write_freezing
from tests.proof.generated.programs import Program
from tests.proof.generated.rewriting import rewrite
from tests.proof.generated.structures import write_layer
from tests.proof.generated.wrapping import write_wrapping

LOAD: Final = (
    "def load_model():\n    return AutoModelForSequenceClassification.from_pretrained(MODEL_NAME, num_labels=2)"
)
EXTRACTED: Final = "lora_model = load_model()\nqv_layers = extract_qv_layers(lora_model)"


def generate(seed: int) -> Program:
    """The right program that belongs to a seed."""
    dice = Dice(f"program {seed}")
    layer, freezing = write_layer(dice), write_freezing(dice)
    cells = {
        "load-model": f"{LOAD}\n\n\n{write_count(dice)}\n\n\nfull_model = load_model()",
        "freeze-encoder": freezing.cell,
        "extract-qv-layers": f"{write_extract(dice)}\n\n\n{EXTRACTED}",
        "lora-layer": layer.source,
        "wrap-layers": write_wrapping(dice, layer, freezing),
    }
    return Program(f"g{seed}", {name: rewrite(dice, source) for name, source in cells.items()}, dice.choices)


def count_choices(programs: Iterable[Program]) -> Mapping[str, Mapping[str, int]]:
    """How often each choice was made, by dimension."""
    found: dict[str, Counter[str]] = {}
    for program in programs:
        for dimension, choice in program.choices.items():
            found.setdefault(dimension, Counter())[choice] += 1
    return found
