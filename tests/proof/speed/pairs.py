"""`python -m tests.proof.speed.pairs OTHER`: how much of another commit's time this one takes, and of its memory.

`OTHER` is a checkout of that commit (`git worktree add --detach OTHER COMMIT`), with an environment in `.venv`. Each
grades its own reference solution with its own code, in turn: what the machine does meanwhile then falls on both. The
figures are medians; a command is measured as its user waits for it, with all that it loads.
"""

import json
import resource
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from grader import paths
from grader.cli.app import main
from grader.errors import GraderError
from grader.model import Precision, Profile
from tests.proof.speed.batches import write_class
from tests.proof.speed.outcome import measure_time

PYTHON: Final = Path(".venv/bin/python")
REFERENCE: Final = paths.REFERENCE.relative_to(paths.ROOT)


@dataclass(frozen=True)
class Sample:
    """One command: seconds of wall clock and of processors, and the largest memory of a grading (0: not told)."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def measure_command(tree: Path, arguments: Sequence[str], out: Path) -> Sample:
    """Run a command of a tree's grader. Raises GraderError where it fails or leaves no result."""
    command = [str(tree / PYTHON), "-m", "grader", *arguments, "--out", str(out)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall_s, ended = measure_time(lambda: subprocess.run(command, cwd=tree, capture_output=True, text=True))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    results = [json.loads(path.read_bytes()) for path in out.rglob("result.json")]
    if ended.returncode or not results:
        raise GraderError(f"{' '.join(command)} ended with {ended.returncode}: {ended.stderr.strip()[-500:]}")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Sample(wall_s, cpu_s, max(result["run"]["peak_memory_mib"] or 0 for result in results))


def measure_pairs(trees: Mapping[str, Path], arguments: Mapping[str, Sequence[str]], rounds: int) -> Iterator[str]:
    """Yield a line for each command, and at the end one for each figure with its ratio."""
    found: dict[str, list[Sample]] = {name: [] for name in trees}
    for _ in range(rounds):
        for name, tree in trees.items():
            with tempfile.TemporaryDirectory(prefix="a4-pairs-") as folder:
                found[name].append(sample := measure_command(tree, arguments[name], Path(folder) / "out"))
            yield f"{name}: {sample.wall_s:.1f} s, {sample.cpu_s:.1f} s of processors, {sample.peak_mib:.0f} MiB"
    for what in asdict(found["this"][0]):
        other, this = (statistics.median(getattr(sample, what) for sample in found[name]) for name in ("other", "this"))
        yield f"{what}: {other:.1f} before, {this:.1f} now, ratio {this / other if other else 0:.3f}"


def pairs(
    other: Annotated[Path, typer.Argument(help="a checkout of the commit to compare with", exists=True)],
    profile: Annotated[Profile, typer.Option(help="how much is trained")] = Profile.QUICK,
    precision: Annotated[Precision, typer.Option(help="of the trainings")] = Precision.AUTO,
    rounds: Annotated[int, typer.Option(help="of one command each", min=1)] = 3,
    size: Annotated[int, typer.Option(help="notebooks of a class; 0: one notebook by `grade`", min=0)] = 0,
    jobs: Annotated[int, typer.Option(help="workers of a class")] = 2,
) -> None:
    """Grade the reference, or a class of copies of it, with both trees in turn."""
    trees = {"other": other.resolve(), "this": paths.ROOT}
    options = ["--profile", profile.value, "--precision", precision.value]
    with tempfile.TemporaryDirectory(prefix="a4-pairs-class-") as name:
        arguments = {}
        for which, tree in trees.items():
            what = ["grade", str(tree / REFERENCE)]
            if size:
                source = write_class(Path(name) / which, size, tree / REFERENCE)
                what = ["batch", str(source), "--jobs", str(jobs), "--quiet"]
            arguments[which] = [*what, *options]
        for line in measure_pairs(trees, arguments, rounds):
            print(line, flush=True)


if __name__ == "__main__":
    main(lambda: typer.run(pairs))
