"""The machine and the code that figures belong to, and the load of the machine."""

import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import psutil

from grader.batch.digests import SUITE, VERSIONS, digest_files
from grader.closure import Tree, closure
from grader.execution.isolation import has_gpu
from grader.machine.cores import count_cores
from grader.paths import ROOT

ANSWER_S: Final = 30


def collect_facts() -> dict[str, Any]:
    """Plain data."""
    import torch

    return {
        "processor": _processor(), "cores": count_cores(), "gpu": read_gpu_name() or "none",
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(), "torch": torch.__version__,
    }  # fmt: skip


@cache
def digest_code() -> str:
    """Digest of everything that a figure may depend on: grader, suite, reference, and what measures them."""
    tree = Tree(ROOT)
    return digest_files(tree, closure(tree, ["tests.proof.speed.parts", *SUITE, "reference/solution.ipynb", VERSIONS]))


def read_load_average() -> float:
    """Processes that wanted to run in the last minute; 0 where the system does not tell."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else 0.0


def read_gpu_name() -> str:
    """Of the first GPU, or nothing. The driver's program is asked, since CUDA is initialised in kernels only."""
    program = shutil.which("nvidia-smi") if has_gpu() else None
    if program is None:
        return ""
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=False)
    return asked.stdout.partition("\n")[0].strip()


def _processor() -> str:
    """Its name, with family and model: clouds call generations that differ by a factor of two by the same name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    known = [f"{key.removeprefix('cpu ')} {said[key]}" for key in ("cpu family", "model") if key in said]
    return " ".join([said.get("model name", platform.machine()), *known])
