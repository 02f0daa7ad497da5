"""`python3 -m tests.proof.fresh.kill_all SECONDS COMMAND …`: start it, and kill it with all that it started, at once.

As a machine does that runs out of power: nobody gets to clear away. Everything in this namespace but this process and
its ancestors is taken to belong to the command.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def list_ancestors() -> set[int]:
    """This process and those above it."""
    found, here = set(), os.getpid()
    while here > 0:
        found.add(here)
        here = int(Path(f"/proc/{here}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
    return found


def main(seconds: float, command: list[str]) -> None:
    spared = list_ancestors()
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    for process in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        if process not in spared:
            try:
                os.kill(process, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
    started.wait()


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
