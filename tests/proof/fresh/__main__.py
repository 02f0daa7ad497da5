"""`python3 -m tests.proof.fresh`: see the package. Exit code 0: every try is right; 1: one is not; 77: cannot try."""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.proof.fresh import gradescope
from tests.proof.fresh.roots import RELEASES, STORE, UID, CommandResult, FreshRootError, Root
from tests.proof.fresh.tries import BUBBLEWRAP, CLOSED, FIRST, LATER, OWN, PROJECT, TESTS, Try

CANNOT = 77  # as in Automake's test suites
LAST_LINES = 25
NEWER = ("the README's command, root", "check, no fc-list", "warm, root", "landlock, root", "none, root")


def choose(release: str, options: argparse.Namespace) -> tuple[tuple[Try, ...], tuple[Try, ...]]:
    """The first tries of a release, which set up, and the later ones."""
    first = [one for one in FIRST if one.essential or not (options.essential or options.tests)]
    later = [one for one in (*LATER, *BUBBLEWRAP) if one.essential or not options.essential]
    if release != next(iter(RELEASES)):  # what differs there is Python
        first, later = ([one for one in part if one.name in NEWER] for part in (first, later))
    if options.tests:
        first, later = list(FIRST[:2]), list(TESTS)
    if options.only:
        later = [one for one in later if any(words in one.name for words in options.only.split(","))]
        first = [one for one in first if one is FIRST[0] or any(one.folder == other.folder for other in later)]
    if options.again:
        first = []
    return tuple(first), tuple(later)


def prepare(root: Root, tries: Sequence[Try]) -> None:
    """Copy the project to where the tries want it; the ordinary user owns that user's copy."""
    for folder in dict.fromkeys(one.folder for one in tries if one.folder in (PROJECT, CLOSED, OWN)):
        root.copy_project(folder)
    for path in (root.path(OWN), *root.path(OWN).rglob("*")) if root.path(OWN).exists() else ():
        os.chown(path, UID, UID)


def run(root: Root, one: Try) -> tuple[CommandResult, list[str]]:
    """One try, and what is wrong with it."""
    conditions = one.conditions
    done = root.run(conditions.wrap(one.folder, one.command), conditions.build_variables(), network=conditions.network)
    return done, list(one.find_faults(done))


def install(root: Root, *packages: str) -> None:
    """Install Debian packages in the root. Raises CannotTry."""
    environ = {"DEBIAN_FRONTEND": "noninteractive"}
    done = root.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages], environ)
    if done.code:
        raise FreshRootError(f"{', '.join(packages)} could not be installed: {done.text[-300:]}")


def run_all(release: str, options: argparse.Namespace, log: Path) -> Iterator[bool]:
    """Every try of a release, with a line each; whether it was right."""
    root = Root(STORE / f"run-{release}", release) if options.again else Root.make(release, f"run-{release}")
    first, later = choose(release, options)
    prepare(root, (*first, *later))
    for one in (*first, *later):
        if one in BUBBLEWRAP:
            install(root, "bubblewrap")
        done, faults = run(root, one)
        verdict = "; ".join(faults) or f"{one.ending} (exit code {done.code})"
        print(f"{'MISS' if faults else 'ok':4}  {release:9} {one.name:48} {done.seconds:5.0f} s  {verdict}", flush=True)
        log.joinpath(f"{release}-{one.name}.txt".replace("/", "-")).write_text(done.text, encoding="utf-8")
        if faults:
            print("\n".join(f"      | {line}" for line in done.text.strip().splitlines()[-LAST_LINES:]), flush=True)
        yield not faults
    if not options.keep:
        root.remove()


def run_gradescope(release: str, options: argparse.Namespace, log: Path) -> Iterator[bool]:
    """Every submission to Gradescope, with a line each; whether it was right."""
    root = Root(STORE / gradescope.NAME, release) if options.again else Root.make(release, gradescope.NAME)
    if not options.again:
        print(f"ok    {release:9} Gradescope: setup.sh {gradescope.set_up(root):5.0f} s", flush=True)
    for submission in gradescope.SUBMISSIONS:
        if not any(words in submission.name for words in options.only.split(",")):
            continue
        faults, cost, text = gradescope.grade(root, submission)
        log.joinpath(f"gradescope-{submission.name}.txt").write_text(text, encoding="utf-8")
        said = "; ".join((*faults, cost))
        print(f"{'MISS' if faults else 'ok':4}  {release:9} Gradescope: {submission.name:28} {said}", flush=True)
        yield not faults
    if not options.keep:
        root.remove()


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.proof.fresh", description=__doc__)
    parser.add_argument("releases", nargs="*", default=list(RELEASES), help=f"of {', '.join(RELEASES)}")
    parser.add_argument("--essential", action="store_true", help="the shorter run")
    parser.add_argument("--tests", action="store_true", help="run `make test` there instead")
    parser.add_argument("--gradescope", action="store_true", help="run Gradescope's autograder there instead")
    parser.add_argument("--only", default="", help="tries whose name holds one of these, separated by commas")
    parser.add_argument("--again", action="store_true", help="in the roots that --keep has left")
    parser.add_argument("--keep", action="store_true", help="leave the roots in data/cache/fresh")
    options = parser.parse_args()
    log, began = STORE / "log", time.monotonic()
    try:
        log.mkdir(parents=True, exist_ok=True)
        way = run_gradescope if options.gradescope else run_all
        right = [one for release in options.releases for one in way(release, options, log)]
    except FreshRootError as error:
        print(f"Fresh machines cannot be made here: {error}.", file=sys.stderr)
        return CANNOT
    print(f"{sum(right)} of {len(right)} tries are right; {time.monotonic() - began:.0f} s; outputs in {log}")
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
