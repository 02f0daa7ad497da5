"""`python -m tests.proof.demo.kills`: a batch in which processes are killed at random, and which is done all the same.

Each time one process dies by SIGKILL: the controller, a worker, its nanny, a zygote, a broker, a kernel, whatever is
drawn. A batch that has ended too early is started again with the same command. No result may be lost or differ from
what the corpus says, neither meanwhile nor at the end. A class that is done before the last kill is graded anew.
"""

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import psutil
import typer

from grader import paths
from grader.cli.app import main
from tests.proof.demo import corpus_class
from tests.proof.validity.corpus import CorpusCase

PAUSE_S: Final = 2.0  # between two starts: what a controller has left behind ends by itself
STARTS_PER_KILL: Final = 3  # more than that is a batch that cannot start


@dataclass
class Attack:
    """Kills in the batches of one class, and what they have broken."""

    cases: tuple[CorpusCase, ...]
    kills: int
    longest_s: float
    dice: random.Random
    done: int = 0
    starts: int = 0
    kept: int = 0  # results of the class at the last look
    broken: list[str] = field(default_factory=list)

    def grade(self, source: Path, out: Path, jobs: int) -> None:
        """Grade the class from nothing to the end, however often that takes."""
        command = [sys.executable, "-m", "grader", "batch", str(source), "--profile", "structure", "--quiet"]
        command += ["--jobs", str(jobs), "--out", str(out)]
        results, code, self.kept = out / source.name, 1, 0
        while code and self.starts < STARTS_PER_KILL * self.kills:
            self.starts += 1
            with (out.parent / "log").open("ab") as file:
                batch = psutil.Popen(command, cwd=paths.ROOT, stdout=file, stderr=subprocess.STDOUT)
            for killed in self._kill(batch):
                self._compare(results, killed)
            code = batch.wait()
            time.sleep(PAUSE_S)
        self.broken += corpus_class.find_changed(self.cases, results)

    def _kill(self, batch: psutil.Popen) -> Iterator[str]:
        """Kill one process after the other while the batch runs."""
        while self.done < self.kills:
            try:
                batch.wait(self.dice.random() * self.longest_s)
            except psutil.TimeoutExpired:
                victim = self.dice.choice([batch, *batch.children(recursive=True)])
            else:
                return
            try:
                name = " ".join(victim.cmdline()[-2:])[-70:]
                victim.kill()
            except psutil.NoSuchProcess:  # it has ended meanwhile
                continue
            self.done += 1
            yield name

    def _compare(self, results: Path, killed: str) -> None:
        found = list(corpus_class.find_changed(self.cases, results, partly=True))
        count = corpus_class.count_results(results)
        print(f"{self.done:4}  {count:3} results  {killed!r}  {'; '.join(found)}", flush=True)
        self.broken += [*found, *(["a result is gone"] if count < self.kept else [])]
        self.kept = count


def kills(
    size: Annotated[int, typer.Option(help="notebooks")] = 30,
    number: Annotated[int, typer.Option("--kills", help="processes to kill")] = 100,
    longest_s: Annotated[float, typer.Option(help="the longest time between two kills, seconds")] = 20.0,
    seed: Annotated[int, typer.Option(help="of what is killed, and when")] = 1,
    jobs: Annotated[int, typer.Option(help="workers")] = 2,
) -> None:
    """Grade a class while its processes are killed. Exit code: 0 if nothing is lost and nothing changed, 2 if not."""
    attack = Attack(corpus_class.choose(size), number, longest_s, random.Random(seed))
    classes = 0
    with tempfile.TemporaryDirectory(prefix="a4-kills-") as name:
        corpus_class.write(attack.cases, Path(name) / "class")
        while attack.done < number and not attack.broken:
            classes += 1
            attack.grade(Path(name) / "class", Path(name) / str(classes), jobs)
    print(f"{attack.done} kills, {attack.starts} starts, {classes} classes of {len(attack.cases)} notebooks")
    print("\n".join(attack.broken) or "Nothing was lost, and no verdict changed.")
    raise typer.Exit(2 if attack.broken else 0)


if __name__ == "__main__":
    main(lambda: typer.run(kills))
