"""The state that the kernel keeps between the cells: the plan, the recorder, the bindings. One per process."""

from dataclasses import dataclass

from grader.kernel.integrity import Integrity
from grader.kernel.namespace import Bindings
from grader.kernel.training.recorder import Recorder
from grader.protocol.plan import Plan


@dataclass(frozen=True)
class Session:
    """The state of one notebook's run."""

    plan: Plan
    recorder: Recorder
    bindings: Bindings
    integrity: Integrity


_open: list[Session] = []


def open_session(session: Session) -> Session:
    """Make `session` the one of this process."""
    _open[:] = [session]
    return session


def get_session() -> Session:
    """Return the session of this process; LookupError if the bootstrap has not run."""
    if not _open:
        raise LookupError("the grading session has not been started in this process")
    return _open[0]
