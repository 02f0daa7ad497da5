"""The table of tries: a command under conditions in a fresh root, and what it has to come to."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tests.proof.fresh.conditions import CommandConditions
from tests.proof.fresh.roots import USER, CommandResult

PROJECT: Final = "/srv/grader"  # everybody can enter it
CLOSED: Final = "/root/grader"
SPACED: Final = "/srv/Rättning av övning 4"
OWN: Final = f"/home/{USER}/grader"
NOTEBOOK: Final = "reference/solution.ipynb"
GRADE: Final = f"make grade SUBMISSION={NOTEBOOK} PROFILE=structure"
CHECK: Final = f"make check NOTEBOOK={NOTEBOOK}"
ALL: Final = re.compile(r"(\d+) of (\d+) points")
LONG: Final = "/tmp/" + "x" * 71  # 76 characters
LIBRARIES: Final = "/opt/libraries"
FREE_MIB: Final = 40  # too little for the stand-in, and for a notebook's evidence


class ExpectedEnding(StrEnum):
    """How a try may end."""

    POINTS = "all points"
    SENTENCE = "a sentence, exit code 2"
    EITHER = "all points, or a sentence"
    PASSED = "exit code 0"


@dataclass(frozen=True)
class Try:
    """One row. `words`: what the sentence has to name. `essential`: part of the shorter run."""

    name: str
    command: str = GRADE
    ending: ExpectedEnding = ExpectedEnding.POINTS
    conditions: CommandConditions = field(default_factory=CommandConditions)
    folder: str = PROJECT
    words: str = ""
    essential: bool = False

    def find_faults(self, done: CommandResult) -> Iterator[str]:
        """What is wrong with how it ended; nothing where it is right."""
        found = ALL.findall(done.text)
        whole = bool(found) and found[-1][0] == found[-1][1] and found[-1][0] != "0"
        if "Traceback" in done.text:
            yield "a traceback"
        if done.code == 0 and not whole and self.ending is not ExpectedEnding.PASSED:
            yield f"exit code 0 with {' of '.join(found[-1]) if found else 'no'} points"
        elif done.code == 0 and self.ending is ExpectedEnding.SENTENCE:
            yield "no sentence"
        elif done.code != 0 and self.ending in (ExpectedEnding.POINTS, ExpectedEnding.PASSED):
            yield f"exit code {done.code}"
        elif done.code not in (0, 2):
            yield f"exit code {done.code} in place of 2"
        if done.code != 0 and self.words and not re.search(self.words, done.text):
            yield f"nothing about {self.words!r}"


def build_backend_command(backend: str) -> str:
    """A command that grades in this sandbox and no other."""
    return f".venv/bin/python -m tests.proof.fresh.grade_in {backend} {NOTEBOOK}"


BACKENDS: Final = ("warm", "landlock", "none")
MASKED: Final = CommandConditions(umask="077")
ORDINARY: Final = CommandConditions(user=USER)
DOCKER: Final = CommandConditions(rights="docker")

# What the README says to a newcomer, each in a root and a folder where nothing has been done before.
FIRST: Final = (
    Try("the README's command, root", essential=True),
    Try("the README's command, ordinary user", folder=OWN, conditions=ORDINARY),
    Try("the README's command, umask 077", folder=CLOSED, conditions=MASKED),
)
# Afterwards, in the folder of the first.
LATER: Final = (
    Try("check, no fc-list", CHECK, essential=True),
    *(Try(f"{b}, root", build_backend_command(b), essential=b == "landlock") for b in BACKENDS),
    *(Try(f"{b}, ordinary user", build_backend_command(b), conditions=ORDINARY, folder=OWN) for b in BACKENDS),
    Try("a container's rights", conditions=DOCKER, essential=True),
    Try("a container's rights, ordinary user", folder=OWN, conditions=CommandConditions(user=USER, rights="docker")),
    Try(
        "a container's rights, closed folder",
        folder=CLOSED,
        conditions=DOCKER,
        ending=ExpectedEnding.SENTENCE,
        words="chmod",
    ),
    Try(
        "no rights at all",
        conditions=CommandConditions(rights="none"),
        ending=ExpectedEnding.EITHER,
        words="become another user",
    ),
    Try("umask 077", conditions=MASKED),
    Try("umask 027", conditions=CommandConditions(umask="027")),
    Try("no network", conditions=CommandConditions(network=False), essential=True),
    Try(
        "a path with spaces and letters",
        folder=SPACED,
        conditions=CommandConditions(before=f'mkdir -p "{SPACED}"; mount --bind {PROJECT} "{SPACED}"'),
    ),
    Try(
        "address space of 4 GiB",
        conditions=CommandConditions(limits="ulimit -v 4194304"),
        ending=ExpectedEnding.SENTENCE,
        words="4,096 MiB.*ulimit -v",
        essential=True,
    ),
    Try("address space of 12 GiB", conditions=CommandConditions(limits="ulimit -v 12582912")),
    Try("data of 6 GiB", conditions=CommandConditions(limits="ulimit -d 6291456")),
    # In blocks of 512 bytes, as POSIX has it.
    Try("files of 1 GiB", conditions=CommandConditions(limits="ulimit -f 2097152")),
    Try(
        "files of 100 MiB",
        conditions=CommandConditions(limits="ulimit -f 204800"),
        ending=ExpectedEnding.SENTENCE,
        words="100 MiB.*ulimit -f",
    ),
    Try("512 open files", conditions=CommandConditions(limits="ulimit -n 512")),
    Try("10 minutes of processor", conditions=CommandConditions(limits="ulimit -t 600")),
    Try(
        "one minute of processor",
        conditions=CommandConditions(limits="ulimit -t 60"),
        ending=ExpectedEnding.SENTENCE,
        words="60 s.*ulimit -t",
    ),
    Try(
        "the cache elsewhere, by a link",
        conditions=CommandConditions(
            before="mkdir -p /srv/cache && ln -sfn /srv/cache /srv/link", environ={"A4_CACHE": "/srv/link"}
        ),
    ),
    Try(
        "a temporary folder of 76 characters",
        conditions=CommandConditions(before=f"mkdir -p -m 1777 {LONG}", environ={"TMPDIR": LONG}),
    ),
    Try(
        "settings of another Python and pip",
        conditions=CommandConditions(
            environ={
                "PYTHONPATH": "/usr/lib/python3/dist-packages",
                "PYTHONHOME": "/nowhere",
                "PYTHONSAFEPATH": "1",
                "PYTHONOPTIMIZE": "2",
                "PIP_USER": "1",
            }
        ),
    ),
    Try(
        "a Python that needs LD_LIBRARY_PATH",
        conditions=CommandConditions(
            before=f"mkdir -p {LIBRARIES}; for library in /usr/lib/*/libffi.so.?; do cp $library {LIBRARIES}; "
            "mount --bind /dev/null $library; done",
            environ={"LD_LIBRARY_PATH": LIBRARIES},
        ),
    ),
    Try(
        "a full disk for the cache",
        conditions=CommandConditions(
            before=f"mkdir -p /srv/small && mount -t tmpfs -o mode=755,size={FREE_MIB}m tmpfs /srv/small",
            environ={"A4_CACHE": "/srv/small"},
        ),
        ending=ExpectedEnding.SENTENCE,
        words="free disk space",
    ),
    Try(
        "a full disk for the results",
        conditions=CommandConditions(before=f"mkdir -p results && mount -t tmpfs -o size={FREE_MIB}m tmpfs results"),
        ending=ExpectedEnding.SENTENCE,
        words="free disk space",
    ),
    Try(
        "results on a disk that is only read",
        conditions=CommandConditions(before="mkdir -p results && mount -t tmpfs -o ro tmpfs results"),
        ending=ExpectedEnding.SENTENCE,
        words="mounted read-only",
    ),
    Try(
        "an installation of somebody else's, only read",
        f"mkdir -p ~/r && {GRADE} OUT=$HOME/r",
        conditions=CommandConditions(user=USER),
        essential=True,
    ),
    Try(
        "after everything was killed",
        f"python3 -m tests.proof.fresh.kill_all 15 {GRADE}; ls -d /tmp/a4-* && {GRADE} "
        "&& ! ls -d /tmp/a4-* /tmp/pymp-*",
        conditions=ORDINARY,
        folder=OWN,
    ),
    Try("doctor", "make doctor", ExpectedEnding.PASSED, essential=True),
    Try("the launcher, from another folder", f"cd / && {PROJECT}/autograder doctor", ExpectedEnding.PASSED),
    Try(
        "the cache's folder is a link",
        conditions=CommandConditions(before="mv data/cache /srv/moved; ln -s /srv/moved data/cache"),
    ),
    Try("an environment that was removed", f"rm -rf .venv && {CHECK}"),
)
BUBBLEWRAP: Final = (
    Try("bubblewrap, root", build_backend_command("bubblewrap")),
    Try("bubblewrap, ordinary user", build_backend_command("bubblewrap"), conditions=ORDINARY, folder=OWN),
)
TESTS: Final = (
    Try("make test, root", "make test", ExpectedEnding.PASSED),
    Try("make test, ordinary user", "make test", ExpectedEnding.PASSED, conditions=ORDINARY, folder=OWN),
)
