"""No file that can influence a result may change without a digest; each file of the grader is changed once."""

import subprocess
import sys

import pytest

from grader.batch.digests import EXECUTION, SUITE, digest_execution, digest_files, digest_judging, list_parts
from grader.closure import Tree, closure, is_below, read_references
from grader.paths import ROOT

# The reason why what a result says does not follow from these rooms or single files of the grader.
REASONS = {
    "a door to the command line": "__main__.py",
    "makes, ahead of time, what grading makes otherwise": "assets/__main__.py",
    "template, kit and thresholds; these are files that count themselves": "authoring",
    "this is what counts; where it counts otherwise, digests change by themselves": "batch/digests.py closure.py",
    "progress, for people": "batch/display.py batch/log.py reporting/progress.py",
    "which worker does it": "batch/executor.py",
    "what was said, when": "batch/history.py batch/attempts.py batch/joining.py",
    "is made again from results with every hand-out": "batch/outputs.py batch/teacher_export.py",
    "what was asked for; it is part of the key of evidence": "batch/request.py",
    "refuses to judge; reviews are part of the key of a result": "batch/class_reviews.py",
    "what is left to do, and in which order": "batch/scheduling.py",
    "tells people what changed": "batch/regrading.py",
    "what was asked for, handed on": "batch/session.py",
    "where workers are": "batch/slurm_jobs.py",
    "where results are": "batch/store.py",
    "when to execute and judge, not how": "batch/work.py",
    "options, and sentences about results": "cli",
    "formats of other programs, made from grades": "gradebook",
    "grades are settled anew with every hand-out": "batch/decisions.py grades/decisions.py grades/overrides.py "
    "grades/earlier_files.py grades/groups.py grades/policy.py grades/settlement.py grades/sheets.py grades/times.py",
    "finds notebooks; their bytes are part of the key of evidence": "intake/archive.py",
    "whose notebook it is": "intake/canvas_names.py intake/other_platforms.py",
    "who is in the class": "intake/gradebook_export.py intake/roster.py",
    "pages for a whole class, made again with every hand-out": "reporting/cohort reporting/templates/dashboard.css "
    "reporting/templates/dashboard.html reporting/templates/dashboard.js reporting/templates/dashboard_similar.html "
    "reporting/templates/dashboard_review.html reporting/templates/dashboard_review.js",
    "shows results, and changes none": "review",
    "what a terminal shows of a result": "reporting/terminal.py",
    "a hint for people, beside results": "similarity",
    "the check in a student's own notebook": "student reporting/in_notebook.py packages.py",
}
WITHOUT_INFLUENCE = [f"grader/{name}" for names in REASONS.values() for name in names.split()]
BESIDE = ("data/rubric.toml", "data/calibration.json", "requirements.lock")
TREE = Tree(ROOT)
FILES = sorted(name for name in TREE.names if is_below(name, ("grader", *SUITE))) + list(BESIDE)


def digest_all(tree: Tree) -> dict[str, str]:
    return {name: digest_files(tree, files) for name, files in list_parts(tree).items()}


BEFORE = digest_all(TREE)


def find_changes(name: str) -> frozenset[str]:
    """Digests that another content of a file changes."""
    after = digest_all(TREE.replace(name, TREE.read(name) + b"\n"))
    return frozenset(part for part, digest in BEFORE.items() if after[part] != digest)


CHANGES = {name: find_changes(name) for name in FILES}


def test_every_file_changes_a_digest_or_has_a_reason_not_to() -> None:
    gap = {name for name, changes in CHANGES.items() if not changes and not is_below(name, WITHOUT_INFLUENCE)}
    assert gap == set()


@pytest.mark.parametrize("place", WITHOUT_INFLUENCE)
def test_no_reason_is_given_for_what_has_influence(place: str) -> None:
    there = [name for name in FILES if is_below(name, [place])]
    assert there, "restore it, or take the reason away"
    assert [name for name in there if CHANGES[name]] == []


def test_nothing_is_executed_anew_and_judged_as_before() -> None:
    executing = {name for name, changes in CHANGES.items() if EXECUTION in changes}
    judging = {name for name, changes in CHANGES.items() if changes - {EXECUTION}}
    assert executing <= judging
    assert len(executing) > 100
    assert len(judging - executing) > 30


KERNEL = "kernel/training/budget.py assets/metrics.py assets/metric_module.py sandbox/zygote.py batch/worker_tools.py"
PARTS = {
    "tests/hidden/test_lora.py": {"suite"},
    "data/rubric.toml": {"rubric"},
    "data/calibration.json": {"calibration"},
    "grader/oracle/accuracy.py": {"judge"},
    "grader/judging/result.py": {"judge"},
    "grader/reporting/templates/feedback.html": {"reports"},
    "grader/assets/reviews.py": {EXECUTION, "judge", "reports"},
    "requirements.lock": {EXECUTION, "versions"},
    **{f"grader/{name}": {EXECUTION, "judge"} for name in KERNEL.split()},
}


@pytest.mark.parametrize(("name", "parts"), PARTS.items(), ids=PARTS)
def test_which_digest_a_file_changes(name: str, parts: set[str]) -> None:
    assert CHANGES[name] == parts


def test_what_a_worker_really_loads_is_in_the_closure() -> None:
    code = "import sys, grader.batch.worker_tools; print(*(n for n in sys.modules if n.split('.')[0] == 'grader'))"
    asked = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    found = set(closure(TREE, ["grader.batch.worker_tools"]))
    files = [name.replace(".", "/") for name in asked.stdout.split()]
    assert len(files) > 60
    assert [name for name in files if not {f"{name}.py", f"{name}/__init__.py"} & found] == []


def test_every_file_is_read_and_parsed_once_in_a_process() -> None:
    read_references.cache_clear()
    digests = [(digest_execution(ROOT), digest_judging(ROOT)) for _ in range(2)]
    seen = read_references.cache_info()
    assert digests[0] == digests[1]
    assert {EXECUTION: digests[0][0], **digests[0][1]} == BEFORE
    assert seen.misses <= len({TREE.read(name) for part in list_parts(TREE).values() for name in part})
