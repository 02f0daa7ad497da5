"""`python -m tests.proof.speed.pairs OTHER`: how much of another commit's time this one takes, and of its memory.

`OTHER` is a checkout of that commit (`git worktree add --detach OTHER COMMIT`), with an environment in `.venv`. Each
grades its own reference solution with its own code, in turn: what the machine does meanwhile then falls on both. The
figures are medians; a command is measured as its user waits for it, with all that it loads. They are kept beside those
of `make bench`, whose page shows them.
"""

import json
import resource
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
from tests.proof.speed.outcome import FIGURES, BoundLine, Part, compute_medians, measure_time, save

PYTHON: Final = Path(".venv/bin/python")
BOUNDS: Final = {Profile.QUICK: 0.25, Profile.STRUCTURE: 0.65, Profile.FULL: 1}
BATCH_BOUND: Final = 0.6
LOADING: Final = "kernel start"
REFERENCE: Final = paths.REFERENCE.relative_to(paths.ROOT)


@dataclass(frozen=True)
class Sample:
    """One command: seconds of wall clock and of processors, and the largest memory of a grading (0: not told).

    warm_s: from the first cell to the verdicts, as results tell it. A kernel's start waits for what is loaded once.
    """

    wall_s: float
    warm_s: float
    cpu_s: float
    peak_mib: float


@dataclass(frozen=True)
class Comparison:
    """One figure of both trees."""

    before: float
    now: float

    @property
    def ratio(self) -> float:
        """Now, of before; 0 where nothing is told of before."""
        return self.now / self.before if self.before else 0


@dataclass(frozen=True)
class Work:
    """What both trees do. `size`: notebooks of a class; 0 for one notebook by `grade`."""

    profile: Profile
    precision: Precision
    size: int

    @property
    def title(self) -> str:
        """For people."""
        precise = "" if self.precision is Precision.AUTO else f" in {self.precision.value}"
        return f"{f'batch of {self.size} in ' if self.size else ''}{self.profile.value}{precise}"

    @property
    def bound(self) -> float:
        """What the project aims at, beside the first version that trained within minutes."""
        return BATCH_BOUND if self.size else BOUNDS[self.profile]


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
    warm_s = sum(s for result in results for stage, s in result["timings"].items() if stage != LOADING)
    return Sample(wall_s, warm_s, cpu_s, max(result["run"]["peak_memory_mib"] or 0 for result in results))


def measure_pairs(
    trees: Mapping[str, Path], arguments: Mapping[str, Sequence[str]], rounds: int
) -> Iterator[tuple[str, Sample]]:
    """Yield the name of a tree and a sample of it, in turn."""
    for _ in range(rounds):
        for name, tree in trees.items():
            with tempfile.TemporaryDirectory(prefix="a4-pairs-") as folder:
                yield name, measure_command(tree, arguments[name], Path(folder) / "out")


def compare(samples: Sequence[tuple[str, Sample]]) -> dict[str, Comparison]:
    """The medians of both trees, by figure."""
    before, now = (
        compute_medians([asdict(sample) for which, sample in samples if which == name]) for name in ("other", "this")
    )
    return {figure: Comparison(before[figure], now[figure]) for figure in before}


def build_part(work: Work, commit: str, found: Mapping[str, Comparison], rounds: int) -> Part:
    """What the page on performance says of a comparison."""
    beside = f"{work.title}: share of what commit {commit} takes, in"
    lines = [BoundLine(f"{beside} seconds", found["wall_s"].ratio, work.bound)]
    if not work.size:
        lines.append(BoundLine(f"{beside} seconds with everything loaded", found["warm_s"].ratio, work.bound))
    if work.profile is Profile.QUICK:
        lines.append(BoundLine(f"{beside} memory", found["peak_mib"].ratio, 1))
    figures = {"rounds": rounds, "commit": commit, **{name: asdict(one) for name, one in found.items()}}
    return Part(f"pairs-{work.title}", figures, tuple(lines))


def read_commit(tree: Path) -> str:
    """The commit that is checked out. Raises GraderError."""
    asked = subprocess.run(["git", "-C", str(tree), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    if asked.returncode:
        raise GraderError(f"{tree} is no checkout of a commit: {asked.stderr.strip()}")
    return asked.stdout.strip()


def pairs(
    other: Annotated[Path, typer.Argument(help="a checkout of the commit to compare with", exists=True)],
    profile: Annotated[Profile, typer.Option(help="how much is trained")] = Profile.QUICK,
    precision: Annotated[Precision, typer.Option(help="of the trainings")] = Precision.AUTO,
    rounds: Annotated[int, typer.Option(help="of one command each", min=1)] = 3,
    size: Annotated[int, typer.Option(help="notebooks of a class; 0: one notebook by `grade`", min=0)] = 0,
    jobs: Annotated[int, typer.Option(help="workers of a class")] = 2,
) -> None:
    """Grade the reference, or a class of copies of it, with both trees in turn."""
    trees, work = {"other": other.resolve(), "this": paths.ROOT}, Work(profile, precision, size)
    commit, samples = read_commit(other), []
    options = ["--profile", profile.value, "--precision", precision.value]
    with tempfile.TemporaryDirectory(prefix="a4-pairs-class-") as name:
        arguments = {}
        for which, tree in trees.items():
            what = ["grade", str(tree / REFERENCE)]
            if size:
                source = write_class(Path(name) / which, size, tree / REFERENCE)
                what = ["batch", str(source), "--jobs", str(jobs), "--quiet"]
            arguments[which] = [*what, *options]
        for which, sample in measure_pairs(trees, arguments, rounds):
            samples.append((which, sample))
            print(f"{which}: {sample}", flush=True)
    for figure, one in (found := compare(samples)).items():
        print(f"{figure}: {one.before:.1f} before, {one.now:.1f} now, ratio {one.ratio:.3f}")
    save(build_part(work, commit, found, rounds), FIGURES)


if __name__ == "__main__":
    main(lambda: typer.run(pairs))
