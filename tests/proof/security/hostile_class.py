"""`python -m tests.proof.security.hostile_class`: all hostile notebooks and five honest ones, graded as one class.

Alone, each hostile notebook is tried by `make hostile`. Here they share workers with each other and with the reference,
and nobody looks after them: the batch has to end by itself, with the honest ones at full marks.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from grader import paths
from grader.cli.app import main
from grader.model import Result, RunStatus, ScoreStatus, Verdict
from tests.proof.security.canaries import Canaries, place_canaries
from tests.proof.security.cases import HostileCase, HostileUpload, load_cases, load_uploads
from tests.proof.security.rounds import CORPUS

HONEST: Final = 5
CELL_S: Final = 45  # the reference's slowest cell takes ten seconds on a slow machine
RUN_S: Final = 150
Trials = Mapping[str, HostileCase | HostileUpload]


def write_class(folder: Path, canaries: Canaries) -> Trials:
    """Write the files; return what is hostile among them, by the key of the student."""
    trials: dict[str, HostileCase | HostileUpload] = {}
    listed: list[HostileCase | HostileUpload] = [*load_cases(CORPUS), *load_uploads(CORPUS)]
    for number, one in enumerate(listed):
        key = f"h{number:03}"
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            made = one.write(Path(name), canaries.places) if isinstance(one, HostileCase) else one.write(Path(name))
            made.rename(folder / f"{key}.ipynb")
        trials[key] = one
    for number in range(HONEST):
        (folder / f"honest{number}.ipynb").write_bytes(paths.REFERENCE.read_bytes())
    return trials


def judge_class(trials: Trials, submissions: Path) -> Iterator[str]:
    """Name what is not as it should be."""
    for number in range(HONEST):
        result = read(submissions, f"honest{number}")
        if (
            result is None
            or result.score.status is not ScoreStatus.GRADED
            or result.score.points != result.score.possible
        ):
            yield f"an honest notebook has {result.score if result else 'no result'}"
    for key, one in trials.items():
        result = read(submissions, key)
        if result is None and isinstance(one, HostileCase):  # files that are no notebooks are refused, without a result
            yield f"{one.id}: no result"
        elif result is None:
            continue
        else:
            yield from (f"{one.id}: {what}" for what in judge_one(one, result))


def judge_one(one: HostileCase | HostileUpload, result: Result) -> Iterator[str]:
    """Name what one of them should not have: points without work, or the grader's fault."""
    passed = {check.id for check in result.checks if check.verdict is Verdict.PASSED}
    if unearned := passed - set(one.earns if isinstance(one, HostileCase) else ()):
        yield f"unearned {', '.join(sorted(unearned))}"
    if result.run.status is RunStatus.INFRA_ERROR:
        yield "it is said to be the grader's fault"


def read(submissions: Path, key: str) -> Result | None:
    """Return the result of a student, if there is one."""
    path = submissions / key / "result.json"
    return Result.model_validate_json(path.read_bytes()) if path.is_file() else None


def grade_class(
    jobs: Annotated[int, typer.Option(help="workers")] = 2,
    out: Annotated[Path | None, typer.Option(help="a folder that keeps the results")] = None,
) -> None:
    """Grade the class. Exit code: 0 if all is as it should be, 2 if not."""
    with tempfile.TemporaryDirectory(prefix="hc") as name, place_canaries(Path(name) / "canaries") as canaries:
        source = Path(name) / "class"
        source.mkdir()
        trials, kept = write_class(source, canaries), out or Path(name) / "out"
        command = [sys.executable, "-m", "grader", "batch", str(source), "--profile", "structure", "--out", str(kept)]
        command += ["--jobs", str(jobs), "--cell-limit", str(CELL_S), "--run-limit", str(RUN_S), "--quiet"]
        began = time.monotonic()
        ended = subprocess.run(command, cwd=paths.ROOT)
        seconds = time.monotonic() - began
        wrong = [*judge_class(trials, kept / source.name / "submissions"), *canaries.find_in(kept)]
    files = f"{len(trials)} hostile files and {HONEST} honest ones"
    print(f"{files} in {seconds / 60:.1f} min; exit code {ended.returncode}.")
    print("\n".join(wrong) or "The honest ones have full marks, the hostile ones no point without work.")
    raise typer.Exit(2 if wrong else 0)


if __name__ == "__main__":
    main(lambda: typer.run(grade_class))
