"""Gradescope: the archive of an autograder, and its `results.json`.

In Gradescope's container the archive is unpacked to /autograder/source; `setup.sh` runs once when the image is built,
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
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from grader.assets.reviews import FILES
from grader.errors import GraderError, SubmissionError
from grader.gradebook.canvas_feedback import add_file
from grader.grades.grade import Grade, Standing
from grader.intake.compression import holds_notebook
from grader.intake.file_kinds import NOTEBOOK
from grader.intake.unpacking import is_junk
from grader.judging.tampering import WaitsFor, get_waits_for
from grader.model import CheckResult, Profile, Result, ScoreStatus, Verdict, Visibility
from grader.paths import ROOT
from grader.reporting import words
from grader.reporting.sanitisation import sanitise_text

PROGRAM: Final = 0o100755 << 16
# Grading does not need these.
LEFT_OUT: Final = ("tests/harness/", "tests/corpus/", "tests/proof/", "docs/", "bench/", "results/")
SUBMISSION: Final = Path("/autograder/submission")
RESULTS: Final = Path("/autograder/results/results.json")
TEXT_CHARS_MAX: Final = 4_000
SHOWN: Final = {"output_format": "text", "visibility": "visible", "stdout_visibility": "hidden"}
NOT_YET: Final = "Your grade is not complete yet: the course's staff will add to it."
UNGRADED: Final = (
    "Your notebook was not graded because the grader failed; this is no fault of yours. No points were recorded. "
    "Hand it in again later, or tell the course's staff."
)
WAITS: Final = (
    "Your notebook has no points yet: it reaches into the grader's own code, so a person reads it first. "
    "Handing it in again changes nothing; the course's staff will look at it."
)
LACKS: Final = (
    "Your notebook has no points yet: it uses a package that the machine which grades lacks. That is not your mistake; "
    "the course's staff will decide about it."
)
OUTPUTS: Final = {WaitsFor.NOBODY: UNGRADED, WaitsFor.PERSON: WAITS, WaitsFor.PACKAGE: LACKS}

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
# Runs for each submission. Where the grader fails, results.json holds no score.
cd /autograder/source || exit 2
exec .venv/bin/python -m grader.gradebook.gradescope {profile} {seed} {hidden}
"""


class HiddenChecks(StrEnum):
    """The checks that only staff hold, as students see them.

    AFTER_PUBLISHED: they and the student's total appear once grades are published; until then the total is hidden too.
    HIDDEN: never, and the total, from which their points could be told, stays hidden as long as the tests do.
    VISIBLE: at once, and so is the total; titles and rationales are written so that they do not give a test away.
    """

    AFTER_PUBLISHED = "after_published"
    HIDDEN = "hidden"
    VISIBLE = "visible"


def format_result(result: Result, hidden: HiddenChecks = HiddenChecks.AFTER_PUBLISHED) -> dict[str, Any]:
    """Write a result in the schema of `results.json`. An ungraded one has neither a score nor tests, and says why.

    Points are as the rubric has them: make what the profile judges (in `structure`, all but the accuracies) the
    assignment's total in Gradescope.
    """
    settings = {"profile": str(result.profile), "seed": result.seed, "calibration": result.calibration}
    extra = {"sha256": result.submission.sha256, **settings, "run": str(result.run.status)}
    shared = {**SHOWN, "extra_data": extra}
    if not _is_graded(result):
        return {**shared, "output": OUTPUTS[get_waits_for(result)]}
    return {
        **shared,
        "score": result.score.points,
        "execution_time": round(result.run.wall_s),
        "output": _summarise(result),
        "tests": [_format_check(check, hidden) for check in result.checks if check.verdict is not Verdict.NOT_JUDGED],
    }


def _is_graded(result: Result) -> bool:
    return result.score.status is not ScoreStatus.UNGRADED and result.score.points is not None


def format_grade(grade: Grade) -> dict[str, Any] | None:
    """Write a grade in the same schema, with what policy and people changed; None where there is nothing to record."""
    if grade.standing is Standing.REFUSED:
        return format_refusal(grade.note)
    if grade.standing in (Standing.MISSING, Standing.EXCUSED):
        return None
    found = format_result(grade.result) if grade.result else SHOWN
    if grade.standing is Standing.UNGRADED:
        explained = grade.result is not None and not _is_graded(grade.result)  # the result itself says why
        return {**SHOWN, "output": found["output"] if explained else NOT_YET}
    if not grade.adjustments:
        return {**found, "score": grade.points}
    changes = [f"{change.points:+g} points: {change.reason}" for change in grade.adjustments]
    told = "\n".join([f"{grade.points:g} of {grade.possible:g} points.", *changes])
    return {**found, "score": grade.points, "output": sanitise_text(told, TEXT_CHARS_MAX)}


def format_refusal(reason: str) -> dict[str, Any]:
    """Write what is recorded for a submission that cannot be graded. `reason` is a sentence for its author."""
    return {**SHOWN, "score": 0.0, "output": sanitise_text(reason, TEXT_CHARS_MAX)}


def _format_check(check: CheckResult, hidden: HiddenChecks) -> dict[str, Any]:
    place = f"{words.describe_place(check.place)}: {check.place.source}" if check.place else ""
    text = "\n".join(part for part in (check.rationale, place, check.hint) if part)
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


def _summarise(result: Result) -> str:
    cells = result.run.failed_cells[:20]
    failed = [sanitise_text(f"Cell {c.index + 1} ended with {c.error}: {c.message}", 300) for c in cells]
    points = f"{result.score.points:g} of {result.score.possible:g} points, in profile {result.profile}."
    return "\n".join([points, *failed])


def find_notebook(folder: Path) -> Path:
    """Return the one notebook that was handed in. Raises SubmissionError."""
    paths = [path for path in folder.rglob("*") if not is_junk(path.parts) and not path.is_symlink()]
    named = [path for path in paths if NOTEBOOK.search(path.name)]
    found = named or [path for path in paths if path.is_file() and holds_notebook(path)]
    if len(found) != 1:
        what = f"{len(found)} notebooks" if found else "no notebook"
        raise SubmissionError(f"Your submission holds {what}; hand in one .ipynb file.")
    return found[0]


def run(
    profile: str, seed: str, hidden: HiddenChecks, submission: Path = SUBMISSION, results_file: Path = RESULTS
) -> int:
    """Grade what was handed in and write `results.json`. Return the exit code: 0, or 2 where it is ungraded."""
    try:
        answer, code = _grade(find_notebook(submission), profile, seed, hidden)
    except SubmissionError as error:
        answer, code = format_refusal(str(error)), 0
    results_file.parent.mkdir(parents=True, exist_ok=True)
    results_file.write_text(json.dumps(answer, ensure_ascii=False, indent=1), encoding="utf-8")
    return code


def _grade(notebook: Path, profile: str, seed: str, hidden: HiddenChecks) -> tuple[dict[str, Any], int]:
    """Grade in a separate process, by the command that everybody uses."""
    with tempfile.TemporaryDirectory(prefix="a4-gradescope-") as out:
        options = ["--profile", profile, "--seed", seed, "--out", out]
        command = [sys.executable, "-m", "grader", "grade", str(notebook), *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", errors="replace", check=False)
        found = list(Path(out).glob("*/result.json"))
        sys.stderr.write(done.stderr)
        if found and done.returncode in (0, 1):
            result = Result.model_validate_json(found[0].read_bytes())
            return format_result(result, hidden), 0 if _is_graded(result) else 2
        if done.returncode == 1:
            return format_refusal(done.stderr.strip() or "Your notebook cannot be graded as handed in."), 0
    return {**SHOWN, "output": UNGRADED}, 2


def build_autograder(
    target: Path,
    profile: Profile = Profile.QUICK,
    seed: int = 0,
    hidden: HiddenChecks = HiddenChecks.AFTER_PUBLISHED,
    reviews: Path | None = None,
    root: Path = ROOT,
) -> Path:
    """Write the archive to upload under "Configure Autograder". Equal files make an equal archive.

    It holds the files that git tracks, but for tests of the grader and documentation. Raises GraderError.

    Args:
        reviews: a folder with train.csv, eval.csv and perhaps heldout.csv to grade with; without it, grading there
            uses the synthetic ones.
    """
    contents = {name: _read(root, name) for name in _list_tracked(root)}
    if reviews:
        given = [name for name in FILES if name != FILES[-1] or (reviews / name).is_file()]  # the last is optional
        contents |= {f"data/imdb/{name}": _read(reviews, name) for name in given}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        add_file(archive, "run_autograder", RUN.format(profile=profile, seed=seed, hidden=hidden).encode(), PROGRAM)
        add_file(archive, "setup.sh", SETUP.encode(), PROGRAM)
        for name, content in contents.items():
            add_file(archive, name, content)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(packed.getvalue())
    except OSError as error:
        raise GraderError(f"Cannot write {target} ({error.strerror}); choose another file with --out.") from error
    return target


def _list_tracked(root: Path) -> list[str]:
    if shutil.which("git") is None:
        raise GraderError("git lists the project's files and is not installed; install it.")
    try:
        asked = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        cause = getattr(error, "stderr", b"").decode(errors="replace").strip().partition("\n")[0] or error
        raise GraderError(f"{root} is no git checkout, so its files are not known ({cause}); use a clone.") from error
    names = (name.decode("utf-8", "surrogateescape") for name in asked.stdout.split(b"\0") if name)
    return sorted(name for name in names if not name.startswith(LEFT_OUT) and (root / name).is_file())


def _read(root: Path, name: str) -> bytes:
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise GraderError(f"'{name}' is not inside {root}; replace the link by a file.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise GraderError(f"Cannot read {path} ({error.strerror}); restore it.") from error


if __name__ == "__main__":
    _, profile_, seed_, hidden_ = sys.argv
    sys.exit(run(profile_, seed_, HiddenChecks(hidden_)))
