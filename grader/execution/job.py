"""The folder that a kernel works in: the students' data, a plan, and the code that witnesses. Nothing secret.

```
JOB/                working directory of the notebook
    train.csv eval.csv
    .grading/       plan.json, challenges.safetensors, bundle/grader/{kernel,student.py}
    .grading/evidence/  what the kernel writes
    .home/          HOME and caches of this run
```
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from grader import assignment, profiles
from grader.assets.hub import Checkpoint
from grader.assets.offline import offline_variables
from grader.assets.reviews import ReviewData
from grader.intake.notebook import Submission
from grader.kernel.plan import Plan
from grader.model import Profile
from grader.oracle.challenges import Challenges

PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "SYSTEMROOT", "TEMP", "TMP", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
STUDENT_MODULE = '''"""In a notebook that is being graded, the student's own checks have nothing to do."""


def check(step: str | None = None) -> None:
    """Say so."""
    print("This notebook is being graded: the same checks run afterwards.")
'''


@dataclass(frozen=True)
class Setup:
    """What an execution uses besides the submission."""

    profile: Profile
    seed: int
    checkpoint: Checkpoint
    reviews: ReviewData
    metrics: Path  # cache of the evaluate library
    bfloat16: bool
    threads: int | None = None


@dataclass(frozen=True)
class Job:
    """A prepared folder and how to use it."""

    folder: Path
    evidence: Path
    environ: dict[str, str]
    bootstrap: str  # code to run before the first cell
    probes: tuple[tuple[str, str], ...]  # (family, code) to run after the last


def prepare(folder: Path, submission: Submission, setup: Setup, challenges: Challenges) -> Job:
    """Fill `folder`. Raises OSError when the disk is full."""
    grading = folder / ".grading"
    evidence = grading / "evidence"
    evidence.mkdir(parents=True)
    (folder / ".home").mkdir()
    inputs = {name: _copied(path, folder / name) for name, path in _inputs(setup.reviews).items()}
    _bundle(grading / "bundle")
    plan = _plan(submission, setup, evidence, inputs)
    plan.save(grading / "plan.json")
    save_file(challenges.lora_tensors, grading / "challenges.safetensors")
    requests = challenges.requests(str(grading / "challenges.safetensors"))
    return Job(
        folder=folder,
        evidence=evidence,
        environ=_environ(folder / ".home", setup),
        bootstrap=_bootstrap(grading),
        probes=tuple((family, _probe(family, request)) for family, request in requests.items()),
    )


def _inputs(reviews: ReviewData) -> dict[str, Path]:
    return {"train.csv": reviews.train, "eval.csv": reviews.eval}


def _copied(source: Path, target: Path) -> str:
    shutil.copyfile(source, target)
    return str(target)


def _bundle(folder: Path) -> None:
    """A package `grader` that holds the witness alone, so that nothing else can be imported or read from it."""
    package = folder / "grader"
    kernel = Path(sys.modules["grader.kernel.plan"].__file__ or "").parent
    shutil.copytree(kernel, package / "kernel", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "__init__.py").write_text(
        '"""The part of the grader that runs beside the notebook."""\n', encoding="utf-8"
    )
    (package / "student.py").write_text(STUDENT_MODULE, encoding="utf-8")


def _plan(submission: Submission, setup: Setup, evidence: Path, inputs: dict[str, str]) -> Plan:
    source = "\n".join(cell.source for cell in submission.notebook.cells if cell.cell_type == "code")
    return Plan(
        seed=setup.seed,
        evidence=str(evidence),
        inputs=inputs,
        base_weights=str(setup.checkpoint.weights),
        names=dict(assignment.LOOKED_FOR),
        budget=profiles.budget(setup.profile, setup.bfloat16),
        threads=setup.threads,
        cuda_as_cpu="cuda" in source,
    )


def _environ(home: Path, setup: Setup) -> dict[str, str]:
    """The kernel's whole environment. Built from nothing: A4_DATA, for one, leads to the hidden labels."""
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {
        **passed,
        **offline_variables(setup.checkpoint.hub_cache, setup.metrics, home / "huggingface"),
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "MPLCONFIGDIR": str(home / "matplotlib"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "WANDB_MODE": "disabled",
        "PYTHONUTF8": "1",
    }


def _bootstrap(grading: Path) -> str:
    return (
        "import sys\n"
        f"sys.path.insert(0, {str(grading / 'bundle')!r})\n"
        "from grader.kernel import bootstrap as _grading\n"
        f"_grading.start({str(grading / 'plan.json')!r})\n"
        "del sys, _grading"
    )


def _probe(family: str, request: dict[str, object]) -> str:
    return f"import grader.kernel.probes as _probes; _probes.run({family!r}, {request!r})"
