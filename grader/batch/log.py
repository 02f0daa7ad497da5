"""A log per submission, written as things happen, and the same lines for a display."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from grader.model import Method
from grader.reporting.sanitisation import sanitise_line, sanitise_text
from grader.reporting.words import METHODS

NAME: Final = "log.txt"


class Log:
    """A listener that writes. The first folder gets the file, the others a line that says where it is."""

    def __init__(self, folders: Sequence[Path], tell: Callable[[str], None]) -> None:
        """`tell` hears every event; the file holds fewer of them."""
        self.folders, self.tell = folders, tell
        self.last = ""  # stage or cell

    def begin(self) -> None:
        """Prepare the folders. Raises OSError."""
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
            for rubbish in folder.glob(".*.partial"):  # of a worker that was killed
                rubbish.unlink(missing_ok=True)
        for folder in self.folders[1:]:
            (folder / NAME).write_text(f"Equal to {self.folders[0].name}: see the log there.\n", encoding="utf-8")

    def text(self, text: str) -> None:
        """Write lines with the time before the first. Raises OSError."""
        with (self.folders[0] / NAME).open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {sanitise_text(text)}\n")

    def stage(self, name: str) -> None:
        """Note that a stage began."""
        self._note(sanitise_line(name))

    def on_cell_start(self, index: int, total: int, first_line: str) -> None:
        """Note that a cell began."""
        self._note(f"cell {index + 1} of {total}: {sanitise_line(first_line)[:80]}")

    def on_training_step(self, method: Method, step: int, steps: int) -> None:
        """Note a step of a training."""
        line = f"{METHODS[method]}: step {step} of {steps}"
        if step in (1, steps) or step % max(1, steps // 8) == 0:  # eight lines or so of each training
            self.text(line)
        self.tell(line)

    def _note(self, line: str) -> None:
        self.last = line
        self.text(line)
        self.tell(line)
