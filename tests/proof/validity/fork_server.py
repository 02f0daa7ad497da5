"""Runs a notebook once, and branches off a process wherever a case departs from it.

A case shares with the reference everything before its first change. So the reference is executed cell by cell in
one warm process, and before each cell a copy of the process (`fork`) goes on with the cells of each case that
departs there. That is exact, because a branch has run just what the patched notebook would have run, and quick, because
imports, data, and the trainings before the change are there already.

Run as a script with the path of a task file, in an environment that the host has prepared; it says one line
(`grown ID`) for each finished branch. Needs POSIX. Imports the witness from the job's bundle, nothing else of ours.
"""

import gc
import json
import os
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

MAX_MESSAGE = 500
MAX_TRACEBACK = 20_000


class ForkServer:
    """Branches that are growing, at most so many at a time."""

    def __init__(self, task: dict[str, Any], out: TextIO) -> None:
        """`out`: where finished branches are announced."""
        self.task, self.out = task, out
        self.growing: dict[int, str] = {}

    def branch(self, shell: Any, case: dict[str, Any], outcomes: list[Any]) -> None:
        """Start one branch; returns at once unless too many are growing."""
        while len(self.growing) >= self.task["jobs"]:
            self.wait()
        sys.stdout.flush()
        gc.freeze()  # a branch that collects garbage would walk, and copy, all that it has inherited
        pid = os.fork()
        if pid == 0:
            _run_branch(self.task, shell, case, outcomes)
        self.growing[pid] = case["id"]

    def wait(self) -> None:
        """Wait for one branch to end."""
        pid, _ = os.wait()
        self.out.write(f"grown {self.growing.pop(pid)}\n")
        self.out.flush()


def _run_branch(task: dict[str, Any], shell: Any, case: dict[str, Any], outcomes: list[Any]) -> None:
    """In the branch: the rest of the cells, the probes, and the end of the process."""
    signal.alarm(task["limit_s"])
    code = 1
    try:
        folder = Path(task["folder"], case["id"])
        redirect_evidence(Path(task["folder"], "evidence"), folder / "evidence")
        (folder / "work").mkdir()
        os.chdir(folder / "work")
        from grader.kernel.compat import devices, restarts

        restarts.claim()
        if case["gpu"]:
            devices.redirect_gpu()
        finish(task, shell, case["cells"], outcomes, folder)
        code = 0
    except BaseException:
        traceback.print_exc()  # to the file that the host reads when the nursery fails
        raise
    finally:
        sys.stderr.flush()
        os._exit(code)


def redirect_evidence(source: Path, target: Path) -> None:
    """Let evidence from here on go to another folder, which begins with what there is so far."""
    from grader.kernel import session

    target.mkdir(parents=True)
    for path in source.glob("*"):
        os.link(path, target / path.name)  # never written to again: evidence is replaced whole
    current = session.get_session()
    plan = replace(current.plan, evidence=str(target))
    current.recorder.plan = plan
    session.open_session(replace(current, plan=plan))


def finish(task: dict[str, Any], shell: Any, sources: list[str], outcomes: list[Any], folder: Path) -> None:
    """Run the rest of the cells and all probes, and write down how the cells ended."""
    outcomes.extend(run(shell, source) for source in sources[len(outcomes) :])
    run_out_of_order(shell, sources, outcomes)
    answered = {family: run(shell, code)["error"] is None for family, code in task["probes"]}
    folder.joinpath("ended.json").write_text(json.dumps({"cells": outcomes, "answered": answered}), encoding="utf-8")


def run_out_of_order(shell: Any, sources: list[str], outcomes: list[Any]) -> None:
    """Run once more the cells that came too early, under the same conditions as `driver` does."""
    from grader.kernel import session
    from grader.kernel.training import observation
    from grader.protocol.out_of_order import find_out_of_order

    records = session.get_session().recorder.records
    methods = {number: observation.guess_method(record.entry) for number, record in enumerate(records)}
    ended = [(n, p) for p, outcome in enumerate(outcomes) for n in outcome["began"] if records[n].finished]
    if len({methods[number] for number, _ in ended}) == 3:
        return
    errors = [f"{outcome['error']}: {outcome['message']}" for outcome in outcomes]
    for position in find_out_of_order(
        sources, errors, [(position, str(methods[number])) for number, position in ended]
    ):
        outcomes[position] = run(shell, sources[position]) | {"first_error": errors[position]}


def run(shell: Any, source: str) -> dict[str, Any]:
    """Run one cell as a kernel does; an error is an observation."""
    before = list_trainings()
    result = shell.run_cell(source, store_history=False)
    error = result.error_before_exec or result.error_in_exec
    name, message = (None, "") if error is None else (type(error).__name__, str(error)[:MAX_MESSAGE])
    shown = describe_error(shell, error) if error else ""
    shell.execution_count += 1  # tracebacks name a cell by it
    after = list_trainings()
    began = [*range(len(before), len(after))]
    return {"error": name, "message": message, "trained": sum(after) > sum(before), "began": began, "traceback": shown}


def describe_error(shell: Any, error: BaseException) -> str:
    """The traceback as a kernel sends it: it names cells and lines."""
    show = shell.SyntaxTB if isinstance(error, SyntaxError) else shell.InteractiveTB
    return "\n".join(show.structured_traceback(type(error), error, error.__traceback__, tb_offset=1))[:MAX_TRACEBACK]


def list_trainings() -> list[bool]:
    """Whether each training so far has ended; none before the witness is there."""
    session = sys.modules.get("grader.kernel.session")
    return [record.finished for record in session.get_session().recorder.records] if session else []


def make_shell() -> Any:
    """Return the shell that a kernel runs cells with, without a kernel around it."""
    from IPython.core.history import HistoryManager
    from IPython.core.interactiveshell import InteractiveShell

    HistoryManager.enabled = False  # type: ignore[assignment]
    sys.path.insert(0, "")  # as in a kernel: modules that a notebook writes lie in its folder
    shell: Any = InteractiveShell.instance()  # Any: methods of this one shell are replaced
    shell.showtraceback = lambda *args, **kwargs: None
    shell.enable_gui = lambda gui=None: None  # `%matplotlib inline`
    return shell


def main(path: str) -> None:
    """Run a task: `{"cells", "bootstrap", "probes", "folder", "jobs", "limit_s", "cases"}`."""
    task = json.loads(Path(path).read_text(encoding="utf-8"))
    out = os.fdopen(os.dup(1), "w")
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    shell = make_shell()
    started = run(shell, task["bootstrap"])
    if started["error"]:
        sys.exit(f"bootstrap: {started['error']}: {started['message']}")
    shoot = ForkServer(task, out)
    outcomes: list[Any] = []
    for index, source in enumerate([*task["cells"], None]):
        for case in task["cases"]:
            if case["departs"] == index:
                shoot.branch(shell, case, outcomes)
        if source is not None:
            outcomes.append(run(shell, source))
    while shoot.growing:
        shoot.wait()


if __name__ == "__main__":
    main(sys.argv[1])
