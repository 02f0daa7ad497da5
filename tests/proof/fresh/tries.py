"""The table of tries: a command under conditions in a fresh root, and what it has to come to."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from tests.proof.fresh.conditions import Conditions
from tests.proof.fresh.roots import USER, Done

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


class Ending(StrEnum):
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
    ending: Ending = Ending.POINTS
    conditions: Conditions = field(default_factory=Conditions)
    folder: str = PROJECT
    words: str = ""
    essential: bool = False

    def faults(self, done: Done) -> Iterator[str]:
        """What is wrong with how it ended; nothing where it is right."""
        found = ALL.findall(done.text)
        whole = bool(found) and found[-1][0] == found[-1][1] and found[-1][0] != "0"
        if "Traceback" in done.text:
            yield "a traceback"
        if done.code == 0 and not whole and self.ending is not Ending.PASSED:
            yield f"exit code 0 with {' of '.join(found[-1]) if found else 'no'} points"
        elif done.code == 0 and self.ending is Ending.SENTENCE:
            yield "no sentence"
        elif done.code != 0 and self.ending in (Ending.POINTS, Ending.PASSED):
            yield f"exit code {done.code}"
        elif done.code not in (0, 2):
            yield f"exit code {done.code} in place of 2"
        if done.code != 0 and self.words and not re.search(self.words, done.text):
            yield f"nothing about {self.words!r}"


def in_backend(backend: str) -> str:
    """A command that grades in this sandbox and no other."""
    return f".venv/bin/python -m tests.proof.fresh.grade_in {backend} {NOTEBOOK}"


BACKENDS: Final = ("warm", "landlock", "none")
MASKED: Final = Conditions(umask="077")
ORDINARY: Final = Conditions(user=USER)
DOCKER: Final = Conditions(rights="docker")

# What the README says to a newcomer, each in a root and a folder where nothing has been done before.
FIRST: Final = (
    Try("the README's command, root", essential=True),
    Try("the README's command, ordinary user", folder=OWN, conditions=ORDINARY),
    Try("the README's command, umask 077", folder=CLOSED, conditions=MASKED),
)
# Afterwards, in the folder of the first.
LATER: Final = (
    Try("check, no fc-list", CHECK, essential=True),
    *(Try(f"{b}, root", in_backend(b), essential=b == "landlock") for b in BACKENDS),
    *(Try(f"{b}, ordinary user", in_backend(b), conditions=ORDINARY, folder=OWN) for b in BACKENDS),
    Try("a container's rights", conditions=DOCKER, essential=True),
    Try("a container's rights, ordinary user", folder=OWN, conditions=Conditions(user=USER, rights="docker")),
    Try("a container's rights, closed folder", folder=CLOSED, conditions=DOCKER, ending=Ending.SENTENCE, words="chmod"),
    Try("no rights at all", conditions=Conditions(rights="none"), ending=Ending.EITHER, words="become another user"),
    Try("umask 077", conditions=MASKED, essential=True),
    Try("umask 027", conditions=Conditions(umask="027")),
    Try("no network", conditions=Conditions(network=False), essential=True),
    Try(
        "a path with spaces and letters",
        folder=SPACED,
        conditions=Conditions(before=f'mkdir -p "{SPACED}"; mount --bind {PROJECT} "{SPACED}"'),
    ),
    Try(
        "address space of 4 GiB",
        conditions=Conditions(limits="ulimit -v 4194304"),
        ending=Ending.SENTENCE,
        words="4,096 MiB.*ulimit -v",
        essential=True,
    ),
    Try("address space of 12 GiB", conditions=Conditions(limits="ulimit -v 12582912")),
    Try("data of 6 GiB", conditions=Conditions(limits="ulimit -d 6291456")),
    # In blocks of 512 bytes, as POSIX has it.
    Try("files of 1 GiB", conditions=Conditions(limits="ulimit -f 2097152")),
    Try(
        "files of 100 MiB",
        conditions=Conditions(limits="ulimit -f 204800"),
        ending=Ending.SENTENCE,
        words="100 MiB.*ulimit -f",
    ),
    Try("512 open files", conditions=Conditions(limits="ulimit -n 512")),
    Try("10 minutes of processor", conditions=Conditions(limits="ulimit -t 600")),
    Try(
        "one minute of processor",
        conditions=Conditions(limits="ulimit -t 60"),
        ending=Ending.SENTENCE,
        words="60 s.*ulimit -t",
    ),
    Try(
        "the cache elsewhere, by a link",
        conditions=Conditions(
            before="mkdir -p /srv/cache && ln -sfn /srv/cache /srv/link", environ={"A4_CACHE": "/srv/link"}
        ),
        essential=True,
    ),
    Try(
        "a temporary folder of 76 characters",
        conditions=Conditions(before=f"mkdir -p -m 1777 {LONG}", environ={"TMPDIR": LONG}),
        essential=True,
    ),
    Try(
        "settings of another Python and pip",
        conditions=Conditions(
            environ={
                "PYTHONPATH": "/usr/lib/python3/dist-packages",
                "PYTHONHOME": "/nowhere",
                "PYTHONSAFEPATH": "1",
                "PYTHONOPTIMIZE": "2",
                "PIP_USER": "1",
            }
        ),
        essential=True,
    ),
    Try(
        "a Python that needs LD_LIBRARY_PATH",
        conditions=Conditions(
            before=f"mkdir -p {LIBRARIES}; for library in /usr/lib/*/libffi.so.?; do cp $library {LIBRARIES}; "
            "mount --bind /dev/null $library; done",
            environ={"LD_LIBRARY_PATH": LIBRARIES},
        ),
    ),
    Try(
        "a full disk for the cache",
        conditions=Conditions(
            before=f"mkdir -p /srv/small && mount -t tmpfs -o mode=755,size={FREE_MIB}m tmpfs /srv/small",
            environ={"A4_CACHE": "/srv/small"},
        ),
        ending=Ending.SENTENCE,
        words="free disk space",
    ),
    Try(
        "a full disk for the results",
        conditions=Conditions(before=f"mkdir -p results && mount -t tmpfs -o size={FREE_MIB}m tmpfs results"),
        ending=Ending.SENTENCE,
        words="free disk space",
    ),
    Try(
        "results on a disk that is only read",
        conditions=Conditions(before="mkdir -p results && mount -t tmpfs -o ro tmpfs results"),
        ending=Ending.SENTENCE,
        words="mounted read-only",
    ),
    Try(
        "an installation of somebody else's, only read",
        f"mkdir -p ~/r && {GRADE} OUT=$HOME/r",
        conditions=Conditions(user=USER),
        essential=True,
    ),
    Try(
        "after everything was killed",
        f"python3 -m tests.proof.fresh.kill_all 15 {GRADE}; ls -d /tmp/a4-* && {GRADE} "
        "&& ! ls -d /tmp/a4-* /tmp/pymp-*",
        conditions=ORDINARY,
        folder=OWN,
    ),
    Try("doctor", "make doctor", Ending.PASSED, essential=True),
    Try(
        "the cache's folder is a link",
        conditions=Conditions(before="mv data/cache /srv/moved; ln -s /srv/moved data/cache"),
    ),
    Try("an environment that was removed", f"rm -rf .venv && {CHECK}"),
)
BUBBLEWRAP: Final = (
    Try("bubblewrap, root", in_backend("bubblewrap")),
    Try("bubblewrap, ordinary user", in_backend("bubblewrap"), conditions=ORDINARY, folder=OWN),
)
TESTS: Final = (
    Try("make test, root", "make test", Ending.PASSED),
    Try("make test, ordinary user", "make test", Ending.PASSED, conditions=ORDINARY, folder=OWN),
)
