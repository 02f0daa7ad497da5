"""The interface of whatever watches an execution."""

from typing import Protocol

from grader.model import Method


class Listener(Protocol):
    """Receives events as they happen. Texts come from the notebook: make them inert before showing them."""

    def stage(self, name: str) -> None:
        """Note that a stage began, such as "starting the kernel"."""

    def on_cell_start(self, index: int, total: int, first_line: str) -> None:
        """Note that code cell `index` (from 0) of `total` began."""

    def on_training_step(self, method: Method, step: int, steps: int) -> None:
        """Note that a training of `method` made its `step`-th of `steps` steps."""


class SilentListener:
    """A listener that ignores everything."""

    def stage(self, name: str) -> None:
        """Ignore."""

    def on_cell_start(self, index: int, total: int, first_line: str) -> None:
        """Ignore."""

    def on_training_step(self, method: Method, step: int, steps: int) -> None:
        """Ignore."""
