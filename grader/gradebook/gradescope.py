"""Gradescope: the archive of an autograder, and its `results.json`.

In their container the archive is unpacked to /autograder/source; `setup.sh` runs once when the image is built,
`run_autograder` for each submission. A fault of the grader writes no score and ends with an error: Gradescope then
calls the run failed, records no points, and the student may hand in again. What cannot be graded as handed in
scores 0, with the reason in sight.

Source: https://gradescope-autograders.readthedocs.io/en/latest/specs/
"""

import io
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from grader.assets.reviews import FILES
from grader.errors import GraderError, SubmissionError
from grader.gradebook.canvas_feedback import add_file
from grader.grades.grade import Grade, Standing
from grader.intake.archive import NOTEBOOK
from grader.judging.tampering import waits_for_a_person
from grader.model import CheckResult, Profile, Result, ScoreStatus, Verdict, Visibility
from grader.paths import ROOT
from grader.reporting.sanitisation import sanitise_text

PROGRAM: Final = 0o100755 << 16
LEFT_OUT: Final = (
    "tests/harness/",
    "tests/corpus/",
    "tests/proof/",
    "docs/",
    "bench/",
    "results/",
)  # grading does not need them
SUBMISSION: Final = Path("/autograder/submission")
RESULTS: Final = Path("/autograder/results/results.json")
TEXT_CHARS_MAX: Final = 4_000
SHOWN: Final = {"output_format": "text", "visibility": "visible", "stdout_visibility": "hidden"}

SETUP: Final = """\
#!/usr/bin/env bash
# Runs once, when Gradescope builds the image.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends make git bubblewrap
apt-get install -y --no-install-recommends python3.11 python3.11-venv \\
  || apt-get install -y --no-install-recommends python3 python3-venv
cd /autograder/source
make setup
"""

RUN: Final = """\
#!/usr/bin/env bash
# Runs for each submission. No results.json with a score is left where the grader is at fault.
cd /autograder/source || exit 2
exec .venv/bin/python -m grader.gradebook.gradescope {profile} {seed} {hidden}
"""


class HiddenChecks(StrEnum):
    """What students see of the checks whose source they do not hold.

    AFTER_PUBLISHED: they and the student's total appear once grades are published; until then the total is hidden too.
    HIDDEN: never, and the total, from which their points could be told, stays hidden as long as the tests do.
    VISIBLE: at once, and so is the total; titles and rationales are written so that they do not give a test away.
    """

    AFTER_PUBLISHED = "after_published"
    HIDDEN = "hidden"
    VISIBLE = "visible"


def format_result(result: Result, hidden: HiddenChecks = HiddenChecks.AFTER_PUBLISHED) -> dict[str, Any]:
    """A result in the schema of `results.json`. An ungraded one has neither a score nor tests, and says why.

    Points are as the rubric has them: make what the profile judges (in `structure`, all but the accuracies) the
    assignment's total in Gradescope.
    """
    if result.score.status is ScoreStatus.UNGRADED or result.score.points is None:
        waits = waits_for_a_person(result.checks)
        return {**SHOWN, "output": WAITS if waits else UNGRADED, "extra_data": _extra(result)}
    return {
        **SHOWN,
        "score": result.score.points,
        "execution_time": round(result.run.wall_s),
        "output": _summary(result),
        "extra_data": _extra(result),
        "tests": [_test(check, hidden) for check in result.checks if check.verdict is not Verdict.NOT_JUDGED],
    }


def format_grade(grade: Grade) -> dict[str, Any] | None:
    """A grade in the same schema, with what policy and people changed. None where there is nothing to record."""
    if grade.standing is Standing.REFUSED:
        return format_refusal(grade.note)
    if grade.standing in (Standing.MISSING, Standing.EXCUSED):
        return None
    found = format_result(grade.result) if grade.result else format_refusal(UNGRADED)
    if grade.standing is Standing.UNGRADED:
        known = "score" not in found  # the result itself says why
        return {**SHOWN, "output": found["output"] if known else NOT_YET}
    changes = [f"{change.points:+g} points: {change.reason}" for change in grade.adjustments]
    told = "\n".join([f"{grade.points:g} of {grade.possible:g} points.", *changes])
    return {
        **found,
        "score": grade.points,
        "output": sanitise_text(told, TEXT_CHARS_MAX) if changes else found["output"],
    }


NOT_YET: Final = "Your grade is not complete yet: the course's staff will add to it."
UNGRADED: Final = (
    "Your notebook was not graded, and this is no fault of yours: the grader failed. No points were recorded. "
    "Hand it in again later, or tell the course's staff."
)
WAITS: Final = (
    "Your notebook has no points yet: it reaches into the grader's own code, so a person reads it first. "
    "Handing it in again changes nothing; the course's staff will look at it."
)


def format_refusal(reason: str) -> dict[str, Any]:
    """What is recorded for a submission that cannot be graded as handed in. `reason` is a sentence for its author."""
    return {
        "score": 0.0,
        "output": sanitise_text(reason, TEXT_CHARS_MAX),
        **SHOWN,
    }


def _test(check: CheckResult, hidden: HiddenChecks) -> dict[str, Any]:
    text = "\n".join(part for part in (check.rationale, check.hint) if part)
    return {
        "name": check.title,
        "score": check.points or 0.0,
        "max_score": check.possible,
        "status": "passed" if check.verdict is Verdict.PASSED else "failed",
        "output": sanitise_text(text, TEXT_CHARS_MAX),
        "output_format": "text",
        "tags": [check.id],
        "visibility": str(hidden) if check.visibility is Visibility.HIDDEN else "visible",
    }


def _summary(result: Result) -> str:
    failed = [
        sanitise_text(f"Cell {c.index + 1} ended with {c.error}: {c.message}", 300) for c in result.run.failed_cells
    ]
    points = f"{result.score.points:g} of {result.score.possible:g} points, in profile {result.profile}."
    return "\n".join([points, *failed[:20]])


def _extra(result: Result) -> dict[str, Any]:
    return {
        "sha256": result.submission.sha256,
        "profile": str(result.profile),
        "seed": result.seed,
        "calibration": result.calibration,
        "run": str(result.run.status),
    }


def find_notebook(folder: Path) -> Path:
    """The one notebook that was handed in. Raises SubmissionError."""
    found = sorted(path for path in folder.rglob("*") if NOTEBOOK.search(path.name) and not path.is_symlink())
    found = [path for path in found if ".ipynb_checkpoints" not in path.parts and not path.name.startswith("._")]
    if len(found) != 1:
        what = "no notebook" if not found else f"{len(found)} notebooks"
        raise SubmissionError(f"Your submission holds {what}; hand in one .ipynb file.")
    return found[0]


def run(
    profile: str, seed: str, hidden: HiddenChecks, submission: Path = SUBMISSION, results_file: Path = RESULTS
) -> int:
    """Grade what was handed in and write `results.json`. Returns the exit code: 0, or 2 where it is ungraded."""
    try:
        answer, code = _grade(find_notebook(submission), profile, seed, hidden)
    except SubmissionError as error:
        answer, code = format_refusal(str(error)), 0
    results_file.parent.mkdir(parents=True, exist_ok=True)
    results_file.write_text(json.dumps(answer, ensure_ascii=False, indent=1), encoding="utf-8")
    return code


def _grade(notebook: Path, profile: str, seed: str, hidden: HiddenChecks) -> tuple[dict[str, Any], int]:
    """Grade in a process of its own, by the command that everybody uses."""
    with tempfile.TemporaryDirectory(prefix="a4-gradescope-") as out:
        options = ["--profile", profile, "--seed", seed, "--out", out]
        command = [sys.executable, "-m", "grader", "grade", str(notebook), *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", errors="replace", check=False)
        found = list(Path(out).glob("*/result.json"))
        sys.stderr.write(done.stderr)
        if found and done.returncode in (0, 1):
            answer = format_result(Result.model_validate_json(found[0].read_bytes()), hidden)
            return answer, 0 if "score" in answer else 2
        if done.returncode == 1:
            return format_refusal(done.stderr.strip() or "Your notebook cannot be graded as handed in."), 0
    return {"output": UNGRADED, **SHOWN}, 2


def build_autograder(
    target: Path,
    profile: Profile = Profile.QUICK,
    seed: int = 0,
    hidden: HiddenChecks = HiddenChecks.AFTER_PUBLISHED,
    files: Sequence[str] | None = None,
    reviews: Path | None = None,
    root: Path = ROOT,
) -> Path:
    """Write the archive to upload under "Configure Autograder". Equal files make an equal archive.

    `files` are paths below `root`, `/` between their parts; without them what git tracks goes in, but for tests of
    the grader and documentation. `reviews`: a folder with train.csv, eval.csv and perhaps heldout.csv to grade with;
    without it, grading there uses the synthetic ones. Raises GraderError.
    """
    names = sorted(set(files)) if files is not None else _list_tracked(root)
    real = {f"data/imdb/{name}": _read(reviews, name) for name in _review_files(reviews)} if reviews else {}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        run_text = RUN.format(profile=profile, seed=seed, hidden=hidden)
        for name, text in (("run_autograder", run_text), ("setup.sh", SETUP)):
            add_file(archive, name, text.encode(), PROGRAM)
        for name in names:
            add_file(archive, name, _read(root, name))
        for name, content in real.items():
            add_file(archive, name, content)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(packed.getvalue())
    except OSError as error:
        raise GraderError(f"Cannot write {target} ({error.strerror}); choose another file with --out.") from error
    return target


def _review_files(folder: Path) -> list[str]:
    """What a folder of reviews has to hold, and what it may. Raises GraderError when it is read."""
    return [name for name in FILES if name != FILES[-1] or (folder / name).is_file()]


def _list_tracked(root: Path) -> list[str]:
    if shutil.which("git") is None:
        raise GraderError("git knows the project's files and is not installed; install it, or name the files.")
    try:
        asked = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"").decode(errors="replace").strip().partition("\n")[0] or error
        raise GraderError(f"{root} is no git checkout, so its files are not known ({said}); name them.") from error
    names = (name.decode("utf-8", "surrogateescape") for name in asked.stdout.split(b"\0") if name)
    return sorted(name for name in names if not name.startswith(LEFT_OUT) and (root / name).is_file())


def _read(root: Path, name: str) -> bytes:
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise GraderError(f"'{name}' is not inside {root}; name files of the project.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise GraderError(f"Cannot read {path} ({error.strerror}); restore it.") from error


def main(arguments: Iterable[str]) -> int:
    """What `run_autograder` calls: profile, seed, and what students see of hidden checks."""
    profile, seed, hidden = arguments
    return run(profile, seed, HiddenChecks(hidden))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
