"""`python -m tests.proof.security.witness [HOOK ...]`: a mistake of ours in every hook of the kernel, one at a time.

The one promise that must never break: a mistake of the grader costs nobody a point, and no student reads of it. So a
bug is planted in each function that the kernel has beside a notebook, and the reference solution is graded. Whatever
the bug does, no cell of it may fail, no check may fail, and the word that the bug raises may stand in no page.
"""

import ast
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final
from unittest.mock import patch

import typer

from grader import paths, pipeline
from grader.cli.app import main
from grader.execution import job
from grader.execution.job import Setup
from grader.intake.notebook import read_submission
from grader.model import FrozenModel, Profile, RunStatus, ScoreStatus, Verdict
from grader.reporting.files import write_reports

WORD: Final = "planted-by-the-proof"
TRAINING: Final = "kernel/training/"
COMPAT: Final = "kernel/compat/"
# File below grader/ -> functions in it that run while a notebook does.
HOOKS: Final[dict[str, tuple[str, ...]]] = {
    f"{TRAINING}recorder.py": (
        *("_make", "_train", "_begin", "_end", "_evaluate", "_note_evaluation", "_evaluate_on_few", "_guess_method"),
        *("Recorder.begin", "Recorder.ask_gradients", "Recorder.end", "Recorder.keys", "Progress.on_step_end"),
        *("fingerprint_record", "_select_figures", "_leave_checkpoint"),
    ),
    f"{TRAINING}observation.py": ("describe_form", "hash_head", "guess_method", "unwrap"),
    f"{TRAINING}budget.py": ("apply", "Rates.on_pre_optimizer_step", "ShorteningCollator.__call__", "take_rows"),
    f"{TRAINING}epochs.py": ("Epochs.on_epoch_begin", "Epochs.on_step_end", "Epochs.on_epoch_end"),
    f"{TRAINING}exports.py": ("Exports.write",),
    f"{TRAINING}dropout.py": ("bernoulli_",),
    f"{TRAINING}gradients.py": ("answer",),
    f"{TRAINING}loops.py": tuple(
        f"LoopWatcher.{name}" for name in ("before_step", "iterate", "run_forward", "end_cell")
    ),
    f"{TRAINING}work.py": tuple(
        f"Meter.{name}" for name in ("begin", "before_step", "after_step", "count_reviews", "note_loss", "end")
    ),
    f"{TRAINING}inputs.py": ("describe_batch",),
    f"{TRAINING}review_keys.py": ("compute_keys",),
    "kernel/integrity.py": ("Integrity.examine", "Integrity.admit"),
    "kernel/weights.py": ("find_wrapped", "export", "_reduce"),
    "kernel/namespace.py": ("Bindings.note", "Bindings.lookup"),
    "kernel/probes/functions.py": ("count", "extract", "replace"),
    "kernel/probes/lora.py": ("ask", "Subject.describe", "Subject.fill"),
    "kernel/probes/toys.py": ("build_distilbert",),
    f"{COMPAT}deprecated_api.py": ("_make_arguments", "_make_trainer"),
    f"{COMPAT}files.py": ("InputFiles.locate",),
    f"{COMPAT}offline_datasets.py": ("_load_dataset", "_get_column_as_list"),
    f"{COMPAT}hub_names.py": ("_load_pretrained", "_load_metric"),
    f"{COMPAT}resumption.py": ("_train",),
    f"{COMPAT}cells.py": ("comment_out",),
    f"{COMPAT}demands.py": ("DemandRemover.visit_If",),
    f"{COMPAT}missing_imports.py": ("ImportGuard.visit_Module",),
}  # fmt: skip
QUICK: Final = ("Recorder.begin", "describe_form", "Meter.after_step", "count", "_load_pretrained")


class Planted(FrozenModel):
    """What became of the reference with one bug."""

    hook: str
    status: RunStatus
    errors: int  # checks that are no zero
    broken: tuple[str, ...]  # promises


def list_hooks() -> list[tuple[str, str]]:
    """Return file and function of every hook."""
    return [(file, function) for file, functions in HOOKS.items() for function in functions]


def plant(source: str, function: str) -> str:
    """Return the source of a module with a function that raises as soon as it is called."""
    *owners, name = function.split(".")
    body = ast.parse(source).body
    for owner in owners:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == owner)
    found = next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == name)
    first = found.body[1] if len(found.body) > 1 and isinstance(found.body[0], ast.Expr) else found.body[0]
    lines = source.splitlines(keepends=True)
    lines.insert(first.lineno - 1, f"{' ' * first.col_offset}raise AttributeError({WORD!r})\n")
    return "".join(lines)


@contextmanager
def planted(file: str, function: str) -> Iterator[None]:
    """Have kernels get the grader's code with the bug in it."""
    write: Callable[[Path], None] = job._write_bundle

    def write_with_bug(folder: Path) -> None:
        write(folder)
        path = folder / "grader" / file
        path.write_text(plant(path.read_text(encoding="utf-8"), function), encoding="utf-8")

    with patch.object(job, "_write_bundle", write_with_bug):
        yield


def try_hook(file: str, function: str, used: Setup) -> Planted:
    """Grade the reference with a bug in this function."""
    with tempfile.TemporaryDirectory() as name, planted(file, function):
        folder = Path(name)
        graded = pipeline.grade(read_submission(paths.REFERENCE), used, folder)
        pages = [path.read_text(encoding="utf-8") for path in write_reports(graded.result, graded.details, folder)]
    run, checks = graded.result.run, graded.result.checks
    lost = [check.id for check in checks if check.verdict in (Verdict.FAILED, Verdict.BLOCKED)]
    errors = [check.id for check in checks if check.verdict is Verdict.ERROR]
    ungraded = graded.result.score.status is ScoreStatus.UNGRADED
    broken = (
        *(f"cell {cell.index + 1} fails: {cell.error}: {cell.message[:80]}" for cell in run.failed_cells),
        *((f"the run is {run.status}",) if run.status not in (RunStatus.OK, RunStatus.INFRA_ERROR) else ()),
        *(f"points are lost: {check}" for check in lost),
        *(("there are points though checks could not be judged",) if errors and not ungraded else ()),
        *(("the student reads of it",) if any(WORD in page for page in pages[:2]) else ()),
    )
    return Planted(hook=f"{file}: {function}", status=run.status, errors=len(errors), broken=broken)


def witness(hooks: Annotated[list[str] | None, typer.Argument(help="functions; by default all")] = None) -> None:
    """Plant a bug in every hook in turn. Exit code: 0 if no promise breaks, 2 if one does."""
    chosen = [hook for hook in list_hooks() if not hooks or hook[1] in hooks]
    broken = 0
    with pipeline.open_setup(Profile.STRUCTURE, pipeline.DEFAULT_SEED, trial=False) as used:
        for file, function in chosen:
            found = try_hook(file, function, used)
            broken += bool(found.broken)
            print(
                f"{found.hook}: {found.errors} errors; {'; '.join(found.broken) or 'kept'}", file=sys.stderr, flush=True
            )
    print(f"{len(chosen)} hooks, {broken} broken promises")
    raise typer.Exit(2 if broken else 0)


if __name__ == "__main__":
    main(lambda: typer.run(witness))
