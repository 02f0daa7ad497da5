"""Translates a model's names of tensors and layers to those of the pretrained network, and back.

A class of the student's own may hold that network, or its encoder, under an attribute of another name. Evidence always
uses the pretrained names, so that its readers need not know.
"""

from dataclasses import dataclass
from typing import Final, Self

from torch import nn

ENCODER: Final = "distilbert."
HEAD_LINEARS: Final = ("pre_classifier", "classifier")
EMBEDDINGS: Final = f"{ENCODER}embeddings.word_embeddings.weight"
SCORES: Final = f"{HEAD_LINEARS[-1]}.weight"


@dataclass(frozen=True)
class Naming:
    """Both directions between a model's names and the pretrained ones, for tensors and for layers."""

    encoder: str = ENCODER  # what the names of the encoder's parts begin with in this model

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """Find where the model holds its encoder; of several places the one that has the head beside it."""
        state = nn.Module.state_dict(model)  # a model may keep something else under this name
        inner = EMBEDDINGS.removeprefix(ENCODER)
        found = [cls(name.removesuffix(inner)) for name in state if name.endswith(f".{inner}")]
        if not found or cls() in found:
            return cls()
        return next((naming for naming in found if naming.own(SCORES) in state), found[0])

    def to_plain(self, name: str) -> str:
        """Return the pretrained name. What the pretrained network does not have keeps its own."""
        if name.startswith(self.encoder):
            return ENCODER + name.removeprefix(self.encoder)
        return name.removeprefix(self._around)

    def own(self, name: str) -> str:
        """Return the model's name of what is called `name` in the pretrained network."""
        return self.encoder + name.removeprefix(ENCODER) if name.startswith(ENCODER) else self._around + name

    @property
    def _around(self) -> str:
        """The prefix of what holds the encoder, and so the head."""
        return "".join(self.encoder.removesuffix(".").rpartition(".")[:2])
