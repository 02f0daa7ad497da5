"""For students: the public checks, on a notebook file or from inside the notebook.

```python
from grader.student import check
check()           # everything defined so far
check("step3")    # one step
```

Inside a notebook, the functions and classes defined so far get the same probes as in grading, and the trainings since
this module was imported are examined. Nothing leaves the machine and nothing is changed: the module only notes what a
model looks like when its training starts.
"""

import functools
import os
import time
from pathlib import Path
from typing import Any

import nbformat
from IPython import get_ipython
from nbformat.v4 import new_code_cell, new_notebook

from grader import assignment, challenges, pipeline
from grader.assets.cache import locate_cache
from grader.assets.hub import prepare_standin_checkpoint
from grader.errors import GraderError, SubmissionError
from grader.execution.job import Setup
from grader.execution.progress import Listener
from grader.execution.record import ProbeOutcome, RunRecord
from grader.execution.run import build_conditions, execute
from grader.execution.setup import UNSANDBOXED
from grader.intake.notebook import read_submission
from grader.judging import runner
from grader.judging.result import GradingResult
from grader.kernel import probes
from grader.kernel.namespace import Bindings
from grader.kernel.training import observation
from grader.kernel.writing import write_json, write_tensors
from grader.model import Profile, Result, RunStatus, RunSummary, SubmissionRef
from grader.paths import ROOT
from grader.protocol.checkpoint import load_base_tensors
from grader.protocol.records import Training
from grader.sandbox.folders import open_temporary_folder
from grader.text import sanitise

OWN_MACHINE = "own machine"
NOTEBOOK_STEPS = ("step1", "step2", "step3")


def run_public_suite(notebook: Path, step: str | None = None, listener: Listener | None = None) -> GradingResult:
    """Run the public suite on a notebook file in profile `structure`. Raises SubmissionError and GraderError."""
    submission = read_submission(notebook.expanduser())
    require_known(step)
    with (
        open_temporary_folder("a4-check-") as folder,
        pipeline.open_setup(Profile.STRUCTURE, pipeline.DEFAULT_SEED, UNSANDBOXED, listener=listener) as used,
    ):
        evidence = folder / "evidence"
        execute(submission, used, evidence, listener)
        graded = pipeline.judge(evidence, used, pipeline.list_suite_folders(public_only=True), step)
    return GradingResult(graded.result.model_copy(update={"sandbox": OWN_MACHINE}), graded.details)


def require_known(step: str | None) -> None:
    """Raise SubmissionError, before minutes are spent, if there is no such public check or step."""
    known = runner.list_checks(pipeline.list_suite_folders(public_only=True))
    steps = tuple(dict.fromkeys(name.split(".")[0] for name in known))
    if step is not None and step not in (*known, *steps):
        raise SubmissionError(f"There is no public check or step {sanitise(step)!r}. The steps are {', '.join(steps)}.")


def check(step: str | None = None) -> None:
    """Run the public checks on the notebook that calls this, and show the verdicts. `step`: step1, step2 or step3."""
    from grader.reporting.terminal import make_console, render_checks

    shell = get_ipython()
    if shell is None:
        print("check() works inside a notebook. On a file, use: make check NOTEBOOK=my.ipynb")
    elif step is not None and str(step).split(".")[0] not in NOTEBOOK_STEPS:
        print(f"There is no {step!r}. The steps are {', '.join(NOTEBOOK_STEPS)}.")
    else:
        try:
            require_known(step)
            make_console().print(render_checks(judge_live(dict(shell.user_ns), step)))
        except (SubmissionError, GraderError) as error:
            print(error)


def judge_live(namespace: dict[str, Any], step: str | None = None) -> Result:
    """Run the public checks on the definitions in `namespace`."""
    bindings = Bindings(assignment.LOOKED_FOR)
    bindings.note(namespace)
    with (
        open_temporary_folder("a4-live-") as folder,
        pipeline.open_setup(Profile.STRUCTURE, int(time.time()) % 2**31, UNSANDBOXED, trial=False) as used,
    ):
        _ask(bindings, namespace, used, folder)
        graded = pipeline.judge(folder, used, pipeline.list_suite_folders(public_only=True), step)
    kept = tuple(c for c in graded.result.checks if c.id.split(".")[0] in NOTEBOOK_STEPS)
    return graded.result.model_copy(update={"sandbox": OWN_MACHINE, "checks": kept})


def _ask(bindings: Bindings, namespace: dict[str, Any], used: Setup, folder: Path) -> None:
    """Write the evidence that an execution leaves, from live objects."""
    drawn = challenges.draw(used.seed)
    tensors_file = folder / "challenges.safetensors"
    write_tensors(str(folder), tensors_file.name, drawn.lora_tensors)
    requests = drawn.build_requests(str(tensors_file))
    for family, request in requests.items():
        answers, tensors = probes.observe(family, request, bindings, namespace)
        write_json(str(folder), f"probe-{family}.json", answers)
        if tensors:
            write_tensors(str(folder), f"probe-{family}.safetensors", tensors)
    tensors_file.unlink()
    write_json(str(folder), "trainings.json", WATCHED)
    _write_record(folder, used, dict.fromkeys(requests, ProbeOutcome.ANSWERED))


def _write_record(folder: Path, used: Setup, outcomes: dict[str, ProbeOutcome]) -> None:
    record = RunRecord(
        submission=SubmissionRef(name="this notebook", sha256=""),
        conditions=build_conditions(used),
        summary=RunSummary(status=RunStatus.OK, wall_s=0, peak_memory_mib=0),
        reason="",
        cells=(),
        training_cells=dict(enumerate(WATCHED_IN)),
        probes=outcomes,
        timings={},
    )
    (folder / "run.json").write_text(record.model_dump_json(), encoding="utf-8")
    nbformat.write(_own_source(), folder / "submitted.ipynb")


def _own_source() -> Any:
    """Return the cells run so far as a notebook: some mistakes show in the source only. Cell 0 is `In [1]`."""
    shell = get_ipython()
    sources = shell.user_ns.get("In", []) if shell else []
    return new_notebook(cells=[new_code_cell(source) for source in sources[1:]])


WATCHED: list[Training] = []
WATCHED_IN: list[int] = []  # the cell in which each of them began; the first one is 0


def watch_trainings() -> None:
    """Note, from now on, what every model looks like when its training starts. The training stays as it is."""
    from transformers import Trainer

    original = Trainer.train
    if getattr(original, "watched", False):
        return

    @functools.wraps(original)
    def train(self: Any, *args: Any, **kwargs: Any) -> Any:
        record = _begin(self.model)
        output = original(self, *args, **kwargs)
        record.finished = True
        return output

    train.watched = True  # type: ignore[attr-defined]
    Trainer.train = train  # type: ignore[method-assign]


def _begin(model: Any) -> Training:
    checkpoint = prepare_standin_checkpoint(locate_cache(ROOT, os.environ))
    seen = observation.describe_entry(observation.unwrap(model), load_base_tensors(str(checkpoint.weights)))
    WATCHED.append(Training(len(WATCHED), via="Trainer", finished=False, entry=seen))
    shell = get_ipython()
    WATCHED_IN.append(shell.execution_count - 1 if shell else 0)
    return WATCHED[-1]


if get_ipython() is not None:
    watch_trainings()
