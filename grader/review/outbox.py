"""Writes gradebook, feedback and dashboard again, beside the page, and tells how far it is."""

import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from grader.errors import GraderError, explain_refusal


@dataclass(frozen=True)
class OutboxState:
    """The state of the last writing. `problem`: why it did not end well."""

    is_running: bool = False
    ended_at: datetime | None = None
    problem: str = ""


class Outbox:
    """Writes in a thread of its own, one at a time: it takes seconds for a large class."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, OutboxState()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to write, unless that is going on."""
        with self._lock:
            if self.state.is_running:
                return
            self.state = OutboxState(is_running=True)
        threading.Thread(target=self._write, daemon=True).start()

    def _write(self) -> None:
        problem = "This is a fault of the grader; the terminal has the details."
        try:
            from grader.batch.session import renew_outputs  # takes seconds, and only this needs it

            renew_outputs(self.folder, {})
            problem = ""
        except GraderError as error:
            problem = str(error)
        except OSError as error:
            problem = str(explain_refusal("write the outputs", error, ""))
        finally:
            with self._lock:
                self.state = replace(self.state, is_running=False, ended_at=datetime.now(UTC), problem=problem)
