"""Fills the folder that a kernel works in: the students' data, a plan, the grader's code there. Nothing secret.

```
JOB/                copied to be the notebook's working directory
    train.csv eval.csv
    .grading/       plan.json, challenges.safetensors, bundle/grader/{kernel,protocol,student.py},
                    channel: the key of its events, which the kernel removes before the first cell
```
"""

import re
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from safetensors.torch import save_file

from grader import assignment
from grader.assets import tensors
from grader.assets.hub import Checkpoint
from grader.assets.reviews import ReviewData
from grader.challenges import Challenges, derive_training_seed
from grader.execution import profiles
from grader.execution.gpu_pool import GpuPool
from grader.execution.variables import build_variables
from grader.intake.notebook import Submission
from grader.model import Profile
from grader.paths import ROOT
from grader.protocol.events import KEY_FILE
from grader.protocol.plan import Plan
from grader.sandbox import Sandbox

GRADING = ".grading"
BUNDLED = ("grader/kernel", "grader/protocol")  # all of the grader's code that a kernel can import or read
# But not in `json.dumps`, and not the `accelerator` of accelerate, which finds the CPU; or a GPU by its number.
GPU_NAME = re.compile(
    r"(?<![A-Za-z])(?:cuda|mps|xpu)(?![A-Za-z])|\btorch(?:\.| import )accelerator\b"
    r"|\bdevice_map[\"']?\s*[=:]\s*(?:\d|\{[^}\n]*:\s*\d)"
)
UPLOAD = re.compile(r"^[^#\n]*\bupload(?:_file)?\(", re.MULTILINE)
PACKAGE_DOCSTRING = '"""The part of the grader that runs beside the notebook."""\n'
STUDENT_MODULE = '''"""In a notebook that is being graded, the student's own checks have nothing to do."""


def check(*_, **__):
    """Say so."""
    print("This notebook is being graded: the same checks run afterwards.")


check_file = check
'''
BOOTSTRAP = f"""\
import os, sys
sys.path.insert(0, os.path.abspath("{GRADING}/bundle"))
from grader.kernel import bootstrap as _grading
_grading.start("{GRADING}/plan.json")
del os, sys, _grading"""
PROBE = "import grader.kernel.probes as _probes; _probes.run({!r}, {!r})"


@dataclass(frozen=True)
class Setup:
    """Everything that an execution uses besides the submission."""

    profile: Profile
    seed: int
    checkpoint: Checkpoint
    reviews: ReviewData
    metrics: Path  # cache of the evaluate library
    bfloat16: bool
    sandbox: Sandbox
    threads: int | None = None
    tf32: bool = False
    gpu_pool: GpuPool | None = None  # None: all GPUs that there are, not shared
    environ: Mapping[str, str] = field(default_factory=dict)  # more variables of the kernel: which GPU it has
    witness: bool = True  # False: none of the grader's code in the kernel, to try a sandbox; such a run proves nothing


@dataclass(frozen=True)
class Job:
    """A prepared folder and how to use it."""

    folder: Path
    environ: dict[str, str]
    bootstrap: str  # code to run before the first cell
    probes: tuple[tuple[str, str], ...]  # (family, code) to run after the last
    key: str = ""  # of the kernel's events


def prepare(folder: Path, scratch: PurePath, submission: Submission, setup: Setup, challenges: Challenges) -> Job:
    """Fill `folder`; `scratch` is where libraries keep their caches, as the kernel sees it. Raises OSError."""
    grading = folder / GRADING
    grading.mkdir(parents=True)
    inputs = {"train.csv": setup.reviews.train, "eval.csv": setup.reviews.eval}
    for name, source in inputs.items():
        shutil.copyfile(source, folder / name)
    _write_bundle(grading / "bundle")
    _build_plan(submission, setup, inputs, challenges).save(grading / "plan.json")
    tensors.write(lambda: save_file(challenges.lora_tensors, grading / "challenges.safetensors"))
    key = secrets.token_hex(16)
    (grading / KEY_FILE).write_text(key, encoding="utf-8")
    requests = challenges.build_requests(f"{GRADING}/challenges.safetensors") if setup.witness else {}
    return Job(
        folder=folder,
        environ={**build_variables(setup.checkpoint.hub_cache, setup.metrics, scratch), **setup.environ},
        bootstrap=BOOTSTRAP if setup.witness else "pass",
        probes=tuple((family, PROBE.format(family, request)) for family, request in requests.items()),
        key=key,
    )


def _write_bundle(folder: Path) -> None:
    """Make a package `grader` of the bundled code alone, so that nothing else can be imported or read from it."""
    for name in BUNDLED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "grader" / "__init__.py").write_text(PACKAGE_DOCSTRING, encoding="utf-8")
    (folder / "grader" / "student.py").write_text(STUDENT_MODULE, encoding="utf-8")


def _build_plan(submission: Submission, setup: Setup, inputs: Iterable[str], challenges: Challenges) -> Plan:
    sources = [cell.source for cell in submission.notebook.cells if cell.cell_type == "code"]
    return Plan(
        seed=derive_training_seed(setup.seed),
        inputs={name: name for name in inputs},
        base_weights=str(setup.checkpoint.weights),
        names=dict(assignment.LOOKED_FOR),
        budget=profiles.get_budget(setup.profile, setup.bfloat16),
        question=challenges.question,
        threads=setup.threads,
        tf32=setup.tf32,
        gpu_named=names_gpu(sources),
        uploads=sum(len(UPLOAD.findall(source)) for source in sources),
    )


def names_gpu(sources: Iterable[str]) -> bool:
    """Return True if one of these cells names a kind of GPU, and so takes one for granted."""
    return any(GPU_NAME.search(source) for source in sources)
