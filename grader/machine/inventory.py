"""Looks at what this machine has for grading: the rows of `./autograder doctor`. Makes nothing."""

import importlib
import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from grader.assets import hub, metrics, reviews, standin
from grader.assets.cache import locate_cache
from grader.errors import GraderError
from grader.machine.cores import count_cores
from grader.machine.precision import has_fast_bfloat16

PYTHON: Final = (3, 11)
PACKAGES: Final = ("torch", "transformers", "datasets", "evaluate", "nbclient", "nbformat", "safetensors")
LIBRARY: Final = (
    "Install the library that the error names (Debian, Ubuntu: `apt-file search NAME` shows the package), or add its "
    "folder to LD_LIBRARY_PATH; if the Python package itself is damaged, run `make clean setup`."
)
MADE_LATER: Final = "Run `make setup`, or wait at first use."
DISK_MIB: Final = 4096  # the stand-in, scratch folders and evidence of one run with room to spare
MEMORY_MIB: Final = 6144  # kernel and grader together stay below this


class Status(StrEnum):
    """The state of something that grading needs."""

    OK = "ok"
    WARNING = "warning"  # grading works, in a lesser way that `hint` explains
    MISSING = "missing"  # grading does not work until `hint` is followed


@dataclass(frozen=True)
class Finding:
    """One row: the thing looked at, its state, what was found, and what to do if that is not enough."""

    what: str
    status: Status
    detail: str
    hint: str = ""


def take_inventory(root: Path, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """Look at everything that grading needs. `root` is the project's folder. Imports torch, so it takes seconds."""
    cache_dir = locate_cache(root, environ)
    assets = (*_look_at_models(cache_dir), _look_at_metrics(cache_dir), _look_at_reviews(root, environ))
    return (*_look_at_software(), *assets, *_look_at_hardware(cache_dir))


def find_unloadable_packages() -> tuple[Finding, ...]:
    """Return the packages that are installed and cannot be imported, because the system lacks a library."""
    found = []
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            if _find_version(name):
                found.append(Finding(name, Status.MISSING, f"is installed and does not load: {error}", LIBRARY))
    return tuple(found)


def _compare(what: str, suffices: bool, detail: str, hint: str, otherwise: Status = Status.WARNING) -> Finding:
    """Build a row whose hint counts only where the thing does not suffice."""
    return Finding(what, Status.OK, detail) if suffices else Finding(what, otherwise, detail, hint)


def _look_at_software() -> Iterator[Finding]:
    python = f"Install Python {'.'.join(map(str, PYTHON))} or newer."
    yield _compare("python", sys.version_info >= PYTHON, platform.python_version(), python, Status.MISSING)
    versions = {name: _find_version(name) for name in PACKAGES}
    absent = ", ".join(name for name, version in versions.items() if not version)
    detail = ", ".join(f"{name} {version}" for name, version in versions.items())
    detail = f"not installed: {absent}" if absent else detail
    yield _compare("packages", not absent, detail, "Run `make setup`.", Status.MISSING)


def _find_version(package: str) -> str:
    """Return the installed version; nothing if there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _look_at_models(cache_dir: Path) -> Iterator[Finding]:
    standin_there = hub.has_standin_checkpoint(cache_dir)
    name = standin.choose_standin().name
    detail = name if standin_there else f"{name} is not made yet"
    try:
        standin.find_source_folder()
        yield _compare("model (structure, quick)", standin_there, detail, MADE_LATER)
    except GraderError as error:
        yield _compare("model (structure, quick)", standin_there, detail, str(error), Status.MISSING)
    there = bool(hub.find_real_checkpoint(cache_dir) or hub.find_snapshot())
    hint = f"Profile full downloads {hub.REAL_NAME} at first use, or uses the stand-in where there is no network."
    yield _compare("model (full)", there, hub.REAL_NAME if there else f"this machine has no {hub.REAL_NAME}", hint)


def _look_at_metrics(cache_dir: Path) -> Finding:
    there = metrics.has_metrics(cache_dir)
    return _compare("metrics", there, ", ".join(metrics.METRICS) if there else "not made yet", MADE_LATER)


def _look_at_reviews(root: Path, environ: Mapping[str, str]) -> Finding:
    try:
        source, folder = reviews.locate(root, environ)
        if source is reviews.Source.SYNTHETIC:
            hint = "Set A4_DATA to a folder with train.csv, eval.csv and heldout.csv to grade on real reviews."
            return Finding("reviews", Status.WARNING, source.value, hint)
        data = reviews.resolve_reviews(root, environ)
    except GraderError as error:
        return Finding("reviews", Status.MISSING, "the data found cannot be used", str(error))
    hint = f"{data.notes} Add a heldout.csv to keep them all."
    return _compare("reviews", not data.notes, f"{data.name}: {folder}", hint)


def _look_at_hardware(cache_dir: Path) -> Iterator[Finding]:
    import psutil
    import torch

    there = next(folder for folder in (cache_dir, *cache_dir.parents) if folder.exists())
    free_mib = shutil.disk_usage(there).free // 2**20
    hint = f"Free {DISK_MIB / 1024:.0f} GiB, or set A4_CACHE to a folder on another disk."
    yield _compare("disk", free_mib >= DISK_MIB, f"{free_mib / 1024:.0f} GiB free at {there}", hint)
    memory = psutil.virtual_memory()
    detail = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB available"
    hint = f"Close other programs: grading one notebook takes up to {MEMORY_MIB / 1024:.0f} GiB."
    yield _compare("memory", memory.available // 2**20 >= MEMORY_MIB, detail, hint)
    speed = "fast bfloat16" if has_fast_bfloat16() else "no fast bfloat16, training runs in float32"
    yield Finding("processor", Status.OK, f"{count_cores()} cores, {speed}")
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    hint = "Profile full takes hours on a CPU; structure and quick do not need a GPU."
    yield _compare("gpu", torch.cuda.is_available(), gpu, hint)
