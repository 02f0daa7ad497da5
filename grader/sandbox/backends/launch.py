"""`python -m grader.sandbox.backends.launch BACKEND POLICY`: the supervisor of one cold kernel, as a process.

Standard input is the link to the grader (link.py).
"""

import os
import socket
import sys
from collections.abc import Mapping
from typing import Final

from grader.sandbox.backends import bubblewrap, container, landlock
from grader.sandbox.link import Link
from grader.sandbox.policy import Backend, SandboxPolicy
from grader.sandbox.supervisor import Launcher, supervise

LAUNCHERS: Final[Mapping[Backend, Launcher]] = {
    Backend.BUBBLEWRAP: bubblewrap.start_kernel,
    Backend.CONTAINER: container.start_kernel,
    Backend.LANDLOCK: landlock.start_kernel,
}


def main() -> None:
    """Supervise one kernel."""
    backend, policy = Backend(sys.argv[1]), SandboxPolicy.from_json(sys.argv[2])
    end = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    supervise(LAUNCHERS[backend], policy, Link(end), leash=None)


if __name__ == "__main__":
    main()
