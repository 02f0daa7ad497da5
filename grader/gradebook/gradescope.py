"""Gradescope: the archive of an autograder, and its `results.json`.

In Gradescope's container the archive is unpacked to /autograder/source; `setup.sh` runs once when the image is built,
`run_autograder` for each submission. A fault of the grader writes no score and ends with an error: Gradescope then
calls the run failed, records no points, and the student may hand in again. What cannot be graded as handed in
scores 0, with the reason in sight. Of several notebooks the best counts, as for a class.

Gradescope kills a run at its timeout and then tells the student nothing. The grader therefore keeps below it: notebooks
are stopped early enough to be judged, and what takes longer still ends as a fault of the grader. In the image, files
that no student may read belong to root alone; kernels run as another user, whatever the sandbox hides besides.

Source: https://gradescope-autograders.readthedocs.io/en/latest/specs/
"""

import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from grader.assets.reviews import FILES
from grader.errors import GraderError
from grader.gradebook.canvas_feedback import add_file
from grader.grades.grade import Grade, Standing
from grader.intake.archive import locate_upload, read_hand_in
from grader.intake.file_kinds import HAND_IN
from grader.intake.uploads import Upload
from grader.judging.tampering import WaitsFor, get_waits_for
from grader.model import CheckResult, Profile, Result, ScoreStatus, Verdict, Visibility
from grader.paths import ROOT
from grader.reporting import words
from grader.reporting.sanitisation import sanitise_text
from grader.text import sanitise

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
chmod -R go-rwx {secret}
"""

SECRET_SEED: Final = "secret"  # a new one for each upload
RUN: Final = """\
#!/usr/bin/env bash
# Runs for each submission. Where the grader fails, results.json holds no score.
cd /autograder/source || exit 2
exec .venv/bin/python -m grader.gradebook.gradescope {profile} {seed} {hidden} {timeout_min}
"""
# Where they are there: students must not read hidden tests, nor the labels that accuracy is measured on.
SECRET: Final = ("tests/hidden", "data/imdb")
TIMEOUT_MIN: Final = 10  # Gradescope's, unless somebody chooses another
JUDGING_S: Final = 100.0  # for start and judging, of each notebook, beside what its cells may take
SHORTEST_S: Final = 60.0  # for the cells of one notebook
SPARE_S: Final = 15.0  # to write results.json before Gradescope ends the run
CONTAINER: Final = "4.0 CPU and 6.0 GB of memory"  # of Gradescope's list: a kernel may use 5 GiB


class HiddenChecks(StrEnum):
    """The checks that only staff hold, as students see them.

    AFTER_PUBLISHED: they and the student's total appear once grades are published; until then the total is hidden too.
    HIDDEN: never, and the total, from which their points could be told, stays hidden as long as the tests do.
    VISIBLE: at once, and so is the total; titles and rationales are written so that they do not give a test away.
    """

    AFTER_PUBLISHED = "after_published"
    HIDDEN = "hidden"
    VISIBLE = "visible"


HIDDEN_TOTAL: Final = {
    HiddenChecks.AFTER_PUBLISHED: "Graded. More checks, and the total, are shown once the grades are published.",
    HiddenChecks.HIDDEN: "Graded. Not all checks are shown, and so neither is the total.",
}


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
        "output": _summarise(result, hidden),
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
    found = format_result(grade.shown_result) if grade.shown_result else SHOWN
    if grade.standing is Standing.UNGRADED:
        explained = grade.result is not None and not _is_graded(grade.result)  # the result itself says why
        return {**SHOWN, "output": found["output"] if explained else NOT_YET}
    if not grade.adjustments:
        return {**found, "score": grade.points}
    changes = [f"{change.points:+g} points: {change.reason}" for change in grade.adjustments]
    told = "\n".join([str(found.get("output", "")), *changes]).strip()
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


def _summarise(result: Result, hidden: HiddenChecks) -> str:
    """Write what a student reads first. Where tests are hidden the total is too: nobody may tell one from the other."""
    cells = result.run.failed_cells[:20]
    failed = [sanitise_text(f"Cell {c.index + 1} ended with {c.error}: {c.message}", 300) for c in cells]
    total = f"{result.score.points:g} of {result.score.possible:g} points, in profile {result.profile}."
    shown = total if hidden is HiddenChecks.VISIBLE else HIDDEN_TOTAL[hidden]
    return "\n".join([shown, *failed])


def run(
    profile: str,
    seed: str,
    hidden: HiddenChecks,
    timeout_min: float = TIMEOUT_MIN,
    submission: Path = SUBMISSION,
    results_file: Path = RESULTS,
) -> int:
    """Grade what was handed in and write `results.json`. Return the exit code: 0, or 2 where it is ungraded."""
    end_s = time.monotonic() + 60 * timeout_min - SPARE_S
    given = [] if seed == SECRET_SEED else ["--seed", seed]
    with tempfile.TemporaryDirectory(prefix="a4-gradescope-") as folder:
        uploads, refusals = read_hand_in(submission, Path(folder) / "uploads")
        if uploads:
            attempts = _grade_all(uploads, ["--profile", profile, *given], end_s, Path(folder))
            answer, code = _choose(attempts, hidden)
        else:
            reasons = " ".join(refusal.reason for refusal in refusals)
            answer, code = format_refusal(reasons or f"Your submission holds no notebook; {HAND_IN}."), 0
    results_file.parent.mkdir(parents=True, exist_ok=True)
    results_file.write_text(json.dumps(answer, ensure_ascii=False, indent=1), encoding="utf-8")
    return code


@dataclass(frozen=True)
class Attempt:
    """One notebook of a submission: its result, or why there is none. Without both the grader is at fault."""

    name: str
    result: Result | None = None
    refusal: str = ""

    @property
    def rank(self) -> float:
        """The order of notebooks: by points, refused ones last."""
        return -1.0 if self.result is None else self.result.score.points or 0.0

    @property
    def is_open(self) -> bool:
        """True if nobody knows its points yet."""
        return not self.refusal and (self.result is None or not _is_graded(self.result))


def _grade_all(uploads: Sequence[Upload], options: list[str], end_s: float, folder: Path) -> list[Attempt]:
    """Grade each notebook, in a share of the time that is left."""
    attempts = []
    for number, upload in enumerate(uploads):
        notebook = folder / str(number) / upload.display_name
        notebook.parent.mkdir()
        shutil.copyfile(locate_upload(folder / "uploads", upload), notebook)
        share_s = (end_s - time.monotonic()) / (len(uploads) - number)
        attempts.append(_grade(notebook, options, share_s))
    return attempts


def _grade(notebook: Path, options: list[str], share_s: float) -> Attempt:
    """Grade in a separate process, by the command that everybody uses."""
    out, cells_s = notebook.parent / "out", f"{max(SHORTEST_S, share_s - JUDGING_S):.0f}"
    limits = ["--cell-limit", cells_s, "--run-limit", cells_s, "--out", str(out)]
    command = [sys.executable, "-m", "grader", "grade", str(notebook), *options, *limits]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, encoding="utf-8", errors="replace", timeout=share_s, check=False
        )
    except subprocess.TimeoutExpired:
        sys.stderr.write(f"Not done after {share_s:.0f} s. Choose a longer timeout and {CONTAINER} in Gradescope.\n")
        return Attempt(notebook.name)
    sys.stderr.write(done.stderr)
    found = list(out.glob("*/result.json"))
    if found and done.returncode in (0, 1):
        return Attempt(notebook.name, Result.model_validate_json(found[0].read_bytes()))
    refused = done.stderr.strip() or "Your notebook cannot be graded as handed in."
    return Attempt(notebook.name, refusal=refused if done.returncode == 1 else "")


def _choose(attempts: Sequence[Attempt], hidden: HiddenChecks) -> tuple[dict[str, Any], int]:
    """Answer with the best notebook; with one whose points are not known, if there is any."""
    best = max(attempts, key=lambda attempt: (attempt.is_open, attempt.rank))
    if best.refusal:
        return format_refusal(best.refusal), 0
    if best.result is None:
        return {**SHOWN, "output": UNGRADED}, 2
    answer = format_result(best.result, hidden)
    if len(attempts) > 1 and not best.is_open:
        note = f"{len(attempts)} notebooks were handed in together; the best one counts: '{sanitise(best.name)}'."
        answer["output"] = f"{note}\n{answer['output']}"
    return answer, 2 if best.is_open else 0


def build_autograder(
    target: Path,
    profile: Profile = Profile.QUICK,
    seed: int | None = None,
    hidden: HiddenChecks = HiddenChecks.AFTER_PUBLISHED,
    reviews: Path | None = None,
    root: Path = ROOT,
    timeout_min: int = TIMEOUT_MIN,
) -> Path:
    """Write the archive to upload under "Configure Autograder". Equal files make an equal archive.

    It holds the files that git tracks, but for tests of the grader and documentation. Raises GraderError.

    Args:
        reviews: a folder with train.csv, eval.csv and perhaps heldout.csv to grade with; without it, grading there
            uses the synthetic ones.
        timeout_min: the timeout that is chosen in Gradescope.
    """
    contents = {name: _read(root, name) for name in _list_tracked(root)}
    if reviews:
        given = [name for name in FILES if name != FILES[-1] or (reviews / name).is_file()]  # the last is optional
        contents |= {f"data/imdb/{name}": _read(reviews, name) for name in given}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        named = SECRET_SEED if seed is None else seed
        start = RUN.format(profile=profile, seed=named, hidden=hidden, timeout_min=timeout_min)
        add_file(archive, "run_autograder", start.encode(), PROGRAM)
        secret = " ".join(name for name in SECRET if any(path.startswith(f"{name}/") for path in contents))
        add_file(archive, "setup.sh", SETUP.format(secret=secret).encode(), PROGRAM)
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
    _, profile_, seed_, hidden_, timeout_ = sys.argv
    sys.exit(run(profile_, seed_, HiddenChecks(hidden_), float(timeout_)))
