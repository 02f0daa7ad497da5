"""Run a command as an ordinary user: `python as_user.py UID COMMAND …`, called by root.

The interpreter and the checkout may lie below folders that only root can enter; in a mount namespace of its own they
are opened for the command alone.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from grader.paths import ROOT
from grader.sandbox.policy import SandboxPolicy
from grader.sandbox.walls import namespaces

if __name__ == "__main__":
    user = namespaces.Identity(int(sys.argv[1]), int(sys.argv[1]), dropped=True)
    namespaces.enter_supervisor()
    namespaces.reveal_only([*namespaces.list_shown_folders(SandboxPolicy()), str(ROOT)], user)
    namespaces.become(user)
    os.environ["HOME"] = "/tmp"
    os.execv(sys.argv[2], sys.argv[2:])
