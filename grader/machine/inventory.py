"""What this machine has for grading, and what would be used: the rows of `./autograder doctor`. Makes nothing."""

import importlib
import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Mapping
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
    "Install the library that is named (Debian, Ubuntu: `apt-file search NAME` tells the package), or add its folder "
    "to LD_LIBRARY_PATH; where a package itself is damaged, `make clean setup`."
)
DISK_MIB: Final = 4096  # the stand-in, scratch folders and evidence of one run with room to spare
MEMORY_MIB: Final = 6144  # kernel and grader together stay below this


class Status(StrEnum):
    """Whether something is as it should be."""

    OK = "ok"
    WARNING = "warning"  # grading works, in a lesser way that `hint` explains
    MISSING = "missing"  # grading does not work until `hint` is followed


@dataclass(frozen=True)
class Finding:
    """One row: what was looked at, how it is, what was found, and what to do if that is not enough."""

    what: str
    status: Status
    detail: str
    hint: str = ""


def take_inventory(root: Path, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """Look at everything that grading needs. `root` is the project's folder. Imports torch, so it takes seconds."""
    cache_dir = locate_cache(root, environ)
    found = [_python(), _packages()]
    found += [_checkpoint(cache_dir), _real_checkpoint(cache_dir), _metrics(cache_dir), _reviews(root, environ)]
    return (*found, _disk(cache_dir), _memory(), _processor(), _gpu())


def find_unloadable_packages() -> tuple[Finding, ...]:
    """The packages that are there and cannot be imported, a library of the system being missing; seldom any."""
    found = []
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            if _version(name) is not None:
                found.append(Finding(name, Status.MISSING, f"is installed and does not load: {error}", LIBRARY))
    return tuple(found)


def _python() -> Finding:
    good = sys.version_info >= PYTHON
    hint = "" if good else f"Install Python {'.'.join(map(str, PYTHON))} or newer."
    return Finding("python", Status.OK if good else Status.MISSING, platform.python_version(), hint)


def _packages() -> Finding:
    versions = {name: _version(name) for name in PACKAGES}
    if absent := [name for name, version in versions.items() if version is None]:
        return Finding("packages", Status.MISSING, f"not installed: {', '.join(absent)}", "Run `make setup`.")
    return Finding("packages", Status.OK, ", ".join(f"{name} {version}" for name, version in versions.items()))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _checkpoint(cache_dir: Path) -> Finding:
    what = "model (structure, quick)"
    if hub.has_standin_checkpoint(cache_dir):
        return Finding(what, Status.OK, standin.NAME)
    try:
        standin.find_source_folder()
    except GraderError as error:
        return Finding(what, Status.MISSING, "nothing to make the stand-in from", str(error))
    return Finding(what, Status.WARNING, f"{standin.NAME}, not made yet", "Run `make setup`, or wait at first use.")


def _real_checkpoint(cache_dir: Path) -> Finding:
    what = "model (full)"
    if hub.find_real_checkpoint(cache_dir) or hub.find_snapshot():
        return Finding(what, Status.OK, hub.REAL_NAME)
    hint = (
        f"Where the network allows it, {hub.REAL_NAME} is downloaded at first use; else profile full uses the stand-in."
    )
    return Finding(what, Status.WARNING, f"{hub.REAL_NAME} is not on this machine", hint)


def _metrics(cache_dir: Path) -> Finding:
    if metrics.has_metrics(cache_dir):
        return Finding("metrics", Status.OK, ", ".join(metrics.METRICS))
    return Finding("metrics", Status.WARNING, "not made yet", "Run `make setup`, or wait at first use.")


def _reviews(root: Path, environ: Mapping[str, str]) -> Finding:
    try:
        source, folder = reviews.locate(root, environ)
        if source is reviews.Source.SYNTHETIC:
            hint = "Set A4_DATA to a folder with train.csv, eval.csv and heldout.csv to grade on real reviews."
            return Finding("reviews", Status.WARNING, source.value, hint)
        data = reviews.resolve_reviews(root, environ)
    except GraderError as error:
        return Finding("reviews", Status.MISSING, "the data found cannot be used", str(error))
    hint = data.notes and f"{data.notes} Add a heldout.csv to keep them all."
    return Finding("reviews", Status.WARNING if hint else Status.OK, f"{data.name}: {folder}", hint)


def _disk(cache_dir: Path) -> Finding:
    there = next(folder for folder in (cache_dir, *cache_dir.parents) if folder.exists())
    free_mib = shutil.disk_usage(there).free // 2**20
    good = free_mib >= DISK_MIB
    hint = "" if good else f"Free {DISK_MIB / 1024:.0f} GiB, or set A4_CACHE to a folder on another disk."
    return Finding("disk", Status.OK if good else Status.WARNING, f"{free_mib / 1024:.0f} GiB free at {there}", hint)


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    detail = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB available"
    good = memory.available // 2**20 >= MEMORY_MIB
    hint = "" if good else f"Close other programs: grading one notebook takes up to {MEMORY_MIB / 1024:.0f} GiB."
    return Finding("memory", Status.OK if good else Status.WARNING, detail, hint)


def _processor() -> Finding:
    speed = "fast bfloat16" if has_fast_bfloat16() else "no fast bfloat16, training runs in float32"
    return Finding("processor", Status.OK, f"{count_cores()} cores, {speed}")


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("gpu", Status.OK, torch.cuda.get_device_name(0))
    hint = "Profile full takes hours on a CPU; structure and quick do not need a GPU."
    return Finding("gpu", Status.WARNING, "none", hint)
