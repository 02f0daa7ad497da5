"""The folder that a kernel works in: the students' data, a plan, and the code that witnesses. Nothing secret.

```
JOB/                copied to be the notebook's working directory
    train.csv eval.csv
    .grading/       plan.json, challenges.safetensors, bundle/grader/{kernel,protocol,student.py}
```
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from safetensors.torch import save_file

from grader import assignment
from grader.assets import tensors
from grader.assets.hub import Checkpoint
from grader.assets.reviews import ReviewData
from grader.challenges import Challenges
from grader.execution import profiles
from grader.execution.gpu_names import names_gpu
from grader.execution.gpu_pool import GpuPool
from grader.execution.variables import build_variables
from grader.intake.notebook import Submission
from grader.model import Profile
from grader.paths import ROOT
from grader.protocol.plan import Plan
from grader.sandbox import Sandbox

GRADING = ".grading"
BUNDLED = ("grader/kernel", "grader/protocol")  # of ours, all that is in the kernel's reach
STUDENT_MODULE = '''"""In a notebook that is being graded, the student's own checks have nothing to do."""


def check(step: str | None = None) -> None:
    """Say so."""
    print("This notebook is being graded: the same checks run afterwards.")
'''


BOOTSTRAP = f"""\
import os, sys
sys.path.insert(0, os.path.abspath("{GRADING}/bundle"))
from grader.kernel import bootstrap as _grading
_grading.start("{GRADING}/plan.json")
del os, sys, _grading"""


@dataclass(frozen=True)
class Setup:
    """What an execution uses besides the submission."""

    profile: Profile
    seed: int
    checkpoint: Checkpoint
    reviews: ReviewData
    metrics: Path  # cache of the evaluate library
    bfloat16: bool
    sandbox: Sandbox
    threads: int | None = None
    tf32: bool = False
    gpu_pool: GpuPool | None = None  # None: whatever GPUs there are, shared with nobody
    environ: Mapping[str, str] = field(default_factory=dict)  # variables of the kernel besides: which GPU it has
    witness: bool = True  # False: no code of ours in the kernel, to try a sandbox; nothing is proved by such a run


@dataclass(frozen=True)
class Job:
    """A prepared folder and how to use it."""

    folder: Path
    environ: dict[str, str]
    bootstrap: str  # code to run before the first cell
    probes: tuple[tuple[str, str], ...]  # (family, code) to run after the last


def prepare(folder: Path, scratch: PurePath, submission: Submission, setup: Setup, challenges: Challenges) -> Job:
    """Fill `folder`; `scratch` is where libraries keep their caches, as the kernel sees it. Raises OSError."""
    grading = folder / GRADING
    grading.mkdir(parents=True)
    inputs = {name: _copy_input(path, folder / name) for name, path in _inputs(setup.reviews).items()}
    _bundle(grading / "bundle")
    _plan(submission, setup, inputs).save(grading / "plan.json")
    tensors.write(lambda: save_file(challenges.lora_tensors, grading / "challenges.safetensors"))
    requests = challenges.build_requests(f"{GRADING}/challenges.safetensors")
    return Job(
        folder=folder,
        environ={**build_variables(setup.checkpoint.hub_cache, setup.metrics, scratch), **setup.environ},
        bootstrap=BOOTSTRAP if setup.witness else "pass",
        probes=tuple((family, _probe(family, request)) for family, request in requests.items())
        if setup.witness
        else (),
    )


def _inputs(reviews: ReviewData) -> dict[str, Path]:
    return {"train.csv": reviews.train, "eval.csv": reviews.eval}


def _copy_input(source: Path, target: Path) -> str:
    shutil.copyfile(source, target)
    return target.name


def _bundle(folder: Path) -> None:
    """A package `grader` that holds the witness alone, so that nothing else can be imported or read from it."""
    package = folder / "grader"
    for name in BUNDLED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").write_text(
        '"""The part of the grader that runs beside the notebook."""\n', encoding="utf-8"
    )
    (package / "student.py").write_text(STUDENT_MODULE, encoding="utf-8")


def _plan(submission: Submission, setup: Setup, inputs: dict[str, str]) -> Plan:
    return Plan(
        seed=setup.seed,
        inputs=inputs,
        base_weights=str(setup.checkpoint.weights),
        names=dict(assignment.LOOKED_FOR),
        budget=profiles.get_budget(setup.profile, setup.bfloat16),
        threads=setup.threads,
        tf32=setup.tf32,
        gpu_named=names_gpu(cell.source for cell in submission.notebook.cells if cell.cell_type == "code"),
    )


def _probe(family: str, request: dict[str, object]) -> str:
    return f"import grader.kernel.probes as _probes; _probes.run({family!r}, {request!r})"
