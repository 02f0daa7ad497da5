"""Who watches an execution implements this; nothing else depends on it."""

from typing import Protocol

from grader.model import Method


class Listener(Protocol):
    """Receives what happens, as it happens. Texts come from the notebook: make them inert before showing them."""

    def stage(self, name: str) -> None:
        """A stage began, such as "starting the kernel"."""

    def on_cell_start(self, index: int, total: int, first_line: str) -> None:
        """Code cell `index` (from 0) of `total` began."""

    def on_training_step(self, method: Method, step: int, steps: int) -> None:
        """A training of `method` made its `step`-th of `steps` steps."""


class SilentListener:
    """Nobody watches."""

    def stage(self, name: str) -> None:
        """Ignore."""

    def on_cell_start(self, index: int, total: int, first_line: str) -> None:
        """Ignore."""

    def on_training_step(self, method: Method, step: int, steps: int) -> None:
        """Ignore."""
