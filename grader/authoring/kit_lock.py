"""The lock of the students' kit: what of requirements.lock the kit needs, and what only students have.

No version is typed twice. Of requirements.lock come the packages that pyproject.toml's `dependencies` lead to, as the
metadata of this environment says, and those that student_template/notebook.lock names without a version.
"""

from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from grader.errors import GraderError
from grader.packages import normalise, read_lock, read_requirements

LOCK: Final = "requirements.lock"
NOTEBOOK_LOCK: Final = "student_template/notebook.lock"
HEAD: Final = """\
# What the assignment needs, in the versions that it is graded with, for Linux, macOS 14 or newer and Windows,
# Python 3.11 to 3.14. pip adds NVIDIA's libraries where its build of torch wants them.
"""


def derive_kit_lock(root: Path) -> str:
    """Return the text of the kit's lock. Raises GraderError where a package is not installed here, or not locked."""
    lock, own = read_lock(root / LOCK), read_lock(root / NOTEBOOK_LOCK)
    pinned = {name: line for name, line in own.items() if normalise(line) != name}
    if twice := sorted(pinned.keys() & lock.keys()):
        raise GraderError(f"{NOTEBOOK_LOCK} and {LOCK} both have a version of {twice[0]}; leave the latter's only.")
    wanted = {*collect(read_requirements(root), lock), *(own.keys() - pinned.keys())}
    if unknown := sorted(wanted - lock.keys()):
        raise GraderError(f"The kit needs {unknown[0]}, which {LOCK} lacks; add it there.")
    lines = (*(line for name, line in lock.items() if name in wanted), *pinned.values())
    return HEAD + "\n".join(lines) + "\n"


def collect(requirements: Iterable[Requirement], lock: Mapping[str, str]) -> set[str]:
    """Return the names of all packages that these lead to. Raises GraderError."""
    found: dict[str, set[str]] = {}  # with the extras that are asked for
    waiting = list(requirements)
    while waiting:
        needed = waiting.pop()
        name = normalise(needed.name)
        extras = {*needed.extras, ""} - found.get(name, set())
        if extras:
            found.setdefault(name, set()).update(extras)
            waiting += (other for other in _list_needs(needed, extras) if normalise(other.name) in lock)
    return set(found)


def _list_needs(package: Requirement, extras: Iterable[str]) -> Iterator[Requirement]:
    """Yield what a package asks for on any system: the lock says which line is for which."""
    try:
        texts = metadata.requires(package.name) or []
    except metadata.PackageNotFoundError:
        if package.marker is None:
            raise GraderError(f"{package.name} is not installed here; run make setup.") from None
        texts = []  # of another system, such as colorama
    for other in map(Requirement, texts):
        asked = str(other.marker)
        if "extra ==" not in asked or any(other.marker and other.marker.evaluate({"extra": e}) for e in extras if e):
            yield other
