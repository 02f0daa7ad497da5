"""Run a command as an ordinary user: `python as_user.py UID COMMAND …`, called by root.

The interpreter and the checkout may lie below folders that only root can enter; in a mount namespace of its own they
are opened for the command alone.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from grader.sandbox.policy import SandboxPolicy
from grader.sandbox.walls import namespaces
from grader.sandbox.walls.namespaces import Identity


def main() -> None:
    uid = int(sys.argv[1])
    identity = Identity(uid, uid, dropped=True)
    project = Path(__file__).parents[3]
    namespaces.enter_supervisor()
    namespaces.reveal_only([*namespaces.list_shown_folders(SandboxPolicy()), str(project)], identity)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.environ["HOME"] = "/tmp"
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
