"""The disposable process between controller and kernel: what it costs to have one."""

import subprocess
import sys
from pathlib import Path

from grader import grading

PROGRAM = """
import sys
from pathlib import Path

with Path(sys.argv[1]).open("a") as file:
    file.write(__name__ + " ")

from grader.execution import broker
from grader.execution.progress import Silent

if __name__ == "__main__":
    order = broker.Order({}, {}, "", "", {}, "", (), {}, "")  # with which no broker can do anything
    try:
        broker.run(order, Silent(), 1.0)
    except broker.BrokerLost as lost:
        print(lost)
"""


def test_a_broker_imports_nothing_of_the_program_that_started_it(tmp_path: Path) -> None:
    """multiprocessing would: seconds for each notebook where that program has imported torch."""
    program, imported = tmp_path / "program.py", tmp_path / "imported"
    program.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, str(program), str(imported)]
    environ = {"PYTHONPATH": str(grading.ROOT), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ, cwd=grading.ROOT)
    assert done.stdout == "it died\n"
    assert imported.read_text(encoding="utf-8") == "__main__ "
