"""No file that can influence a result may change without a digest; each file of the grader is changed once."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from grader.batch.digests import EXECUTION, SUITE, digest_execution, digest_files, digest_judging, list_parts
from grader.closure import Tree, closure, is_below, read_references
from grader.paths import ROOT

# Whole rooms or single files, each with the reason why what a result says does not follow from it.
WITHOUT_INFLUENCE = {
    "grader/__main__.py": "a door to the command line",
    "grader/assets/__main__.py": "makes, ahead of time, what grading makes otherwise",
    "grader/authoring": "template, kit and thresholds; these are files that count themselves",
    "grader/batch/delivery.py": "what is sent to Canvas is read from results",
    "grader/batch/digests.py": "this is what counts; where it counts otherwise, digests change by themselves",
    "grader/batch/display.py": "progress, for people",
    "grader/batch/executor.py": "which worker does it",
    "grader/batch/history.py": "what was said, when",
    "grader/batch/log.py": "progress, for people",
    "grader/batch/outdated.py": "what staff are told of digests",
    "grader/batch/outputs.py": "is made again from results with every hand-out",
    "grader/batch/request.py": "what was asked for; it is part of the key of evidence",
    "grader/batch/scheduling.py": "what is left to do, and in which order",
    "grader/batch/session.py": "what was asked for, handed on",
    "grader/batch/slurm_jobs.py": "where workers are",
    "grader/batch/store.py": "where results are",
    "grader/batch/work.py": "when to execute and judge, not how",
    "grader/cli": "options, and sentences about results",
    "grader/closure.py": "this is what counts; where it counts otherwise, digests change by themselves",
    "grader/gradebook": "formats of other programs, made from grades",
    "grader/grades/overrides.py": "grades are settled anew with every hand-out",
    "grader/grades/policy.py": "grades are settled anew with every hand-out",
    "grader/grades/settlement.py": "grades are settled anew with every hand-out",
    "grader/grades/sheets.py": "grades are settled anew with every hand-out",
    "grader/grades/times.py": "grades are settled anew with every hand-out",
    "grader/intake/archive.py": "finds notebooks; their bytes are part of the key of evidence",
    "grader/intake/canvas_names.py": "whose notebook it is",
    "grader/intake/gradebook_export.py": "who is in the class",
    "grader/intake/roster.py": "who is in the class",
    "grader/intake/unpacking.py": "finds notebooks; their bytes are part of the key of evidence",
    "grader/reporting/cohort": "pages for a whole class, made again with every hand-out",
    "grader/reporting/progress.py": "progress, for people",
    "grader/reporting/templates/dashboard.css": "pages for a whole class, made again with every hand-out",
    "grader/reporting/templates/dashboard.html": "pages for a whole class, made again with every hand-out",
    "grader/reporting/templates/dashboard.js": "pages for a whole class, made again with every hand-out",
    "grader/reporting/templates/dashboard_similar.html": "pages for a whole class, made again with every hand-out",
    "grader/reporting/terminal.py": "what a terminal shows of a result",
    "grader/similarity": "a hint for people, beside results",
    "grader/student.py": "the check in a student's own notebook",
}
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


def test_the_counts() -> None:
    """Nothing is counted twice or left over."""
    executing = {name for name, changes in CHANGES.items() if EXECUTION in changes}
    judging = {name for name, changes in CHANGES.items() if changes - {EXECUTION}}
    neither = set(FILES) - executing - judging
    print(
        f"{len(FILES)} files: {len(executing)} execute, {len(judging)} judge, {len(executing & judging)} both,", end=" "
    )
    print(f"{len(neither)} without influence")
    assert len(executing | judging) + len(neither) == len(FILES)
    assert executing <= judging  # nothing is executed anew and judged as before
    assert len(executing) > 100
    assert len(judging - executing) > 30


PARTS = [
    pytest.param("tests/hidden/test_lora.py", {"suite"}, id="suite"),
    pytest.param("data/rubric.toml", {"rubric"}, id="rubric"),
    pytest.param("data/calibration.json", {"calibration"}, id="thresholds"),
    pytest.param("grader/oracle/accuracy.py", {"judge"}, id="oracle"),
    pytest.param("grader/judging/result.py", {"judge"}, id="result"),
    pytest.param("grader/reporting/templates/feedback.html", {"reports"}, id="a page"),
    pytest.param("grader/kernel/training/budget.py", {EXECUTION, "judge"}, id="kernel"),
    pytest.param("grader/assets/reviews.py", {EXECUTION, "judge", "reports"}, id="data"),
    pytest.param("grader/assets/metrics.py", {EXECUTION, "judge"}, id="metrics"),
    pytest.param("grader/assets/metric_module.py", {EXECUTION, "judge"}, id="a metric"),
    pytest.param("grader/sandbox/zygote.py", {EXECUTION, "judge"}, id="sandbox"),
    pytest.param("grader/batch/worker_tools.py", {EXECUTION, "judge"}, id="worker"),
    pytest.param("requirements.lock", {EXECUTION, "versions"}, id="versions"),
]


@pytest.mark.parametrize(("name", "parts"), PARTS)
def test_which_digest_a_file_changes(name: str, parts: set[str]) -> None:
    assert CHANGES[name] == parts


def list_loaded() -> Iterator[str]:
    """Modules of ours that a worker's equipment really imports."""
    code = "import sys, grader.batch.worker_tools; print(*(n for n in sys.modules if n.split('.')[0] == 'grader'))"
    asked = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    yield from asked.stdout.split()


def test_what_a_worker_really_loads_is_in_the_closure() -> None:
    found = set(closure(TREE, ["grader.batch.worker_tools"]))
    files = [name.replace(".", "/") for name in list_loaded()]
    assert len(files) > 60
    assert [name for name in files if not {f"{name}.py", f"{name}/__init__.py"} & found] == []


def test_every_file_is_read_and_parsed_once_in_a_process() -> None:
    read_references.cache_clear()
    digests = [(digest_execution(ROOT), digest_judging(ROOT)) for _ in range(2)]
    seen = read_references.cache_info()
    assert digests[0] == digests[1]
    assert {EXECUTION: digests[0][0], **digests[0][1]} == BEFORE
    assert seen.misses <= len({TREE.read(name) for part in list_parts(TREE).values() for name in part})
