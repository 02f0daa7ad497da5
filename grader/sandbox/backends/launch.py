"""`python -m grader.sandbox.backends.launch BACKEND POLICY`: the supervisor of one cold kernel, as a process.

Standard input is the line to the asker (link.py).
"""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Final

from grader.sandbox.backends.bubblewrap import Bubblewrap
from grader.sandbox.backends.container import Container
from grader.sandbox.backends.landlock import Landlock
from grader.sandbox.link import Link
from grader.sandbox.policy import Backend, SandboxPolicy
from grader.sandbox.supervisor import Launcher, supervise

LAUNCHERS: Final[Mapping[Backend, Callable[[], Launcher]]] = {
    Backend.BUBBLEWRAP: Bubblewrap,
    Backend.CONTAINER: Container,
    Backend.LANDLOCK: Landlock,
}


def make_launcher(backend: Backend) -> Launcher:
    """The backend's way to start a kernel."""
    return LAUNCHERS[backend]()


def main() -> None:
    """Supervise one kernel."""
    backend, policy = Backend(sys.argv[1]), SandboxPolicy.from_json(sys.argv[2])
    line = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    supervise(make_launcher(backend), policy, Link(line), leash=None)


if __name__ == "__main__":
    main()
