"""Choices that follow from a seed, and a note of each: the page counts them."""

import random
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, overload

T = TypeVar("T")


class Dice:
    """Random choices of one program."""

    def __init__(self, seed: str) -> None:
        """The same seed makes the same choices."""
        self.random = random.Random(seed)
        self.choices: dict[str, str] = {}

    @overload
    def choose(self, dimension: str, options: Mapping[str, T]) -> T: ...

    @overload
    def choose(self, dimension: str, options: Sequence[str]) -> str: ...

    def choose(self, dimension: str, options: Mapping[str, Any] | Sequence[str]) -> Any:
        """One of the options, by equal chances; noted under the dimension."""
        name = self.random.choice(list(options))
        self.choices[dimension] = name
        return options[name] if isinstance(options, Mapping) else name

    def vary(self, options: Sequence[str]) -> str:
        """One of the options, too small a matter to be noted."""
        return self.random.choice(options)

    def happens(self, chance: float) -> bool:
        """True with this chance."""
        return self.random.random() < chance
