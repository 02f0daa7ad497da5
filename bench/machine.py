"""Which machine figures belong to, with which code, and how busy it was."""

import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import psutil

from grader.batch.digests import files_digest
from grader.cores import usable_cores
from grader.isolation import has_gpu
from grader.project import ROOT

CODE: Final = ("grader", "bench", "tests/public", "tests/hidden", "reference")
ANSWER_S: Final = 30


def facts() -> dict[str, Any]:
    """Plain data."""
    import torch

    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": gpu_name() or "none",
    }


@cache
def code() -> str:
    """Digest of everything that a figure may depend on: grader, suite, reference and the benchmark itself."""
    return files_digest(ROOT, CODE)


def load_average() -> float:
    """Processes that wanted to run in the last minute; 0 where the system does not tell."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else 0.0


def gpu_name() -> str:
    """Of the first GPU, or nothing. The driver's program is asked, since CUDA is initialised in kernels only."""
    program = shutil.which("nvidia-smi") if has_gpu() else None
    if program is None:
        return ""
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=False)
    return asked.stdout.partition("\n")[0].strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
