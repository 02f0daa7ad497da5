"""`python -m grader grade` by somebody without rights, on machines that allow ever less. Real processes all the way.

Root runs these tests, because only root can become another user and take away what that user's machine allows.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from grader import paths
from grader.assets.cache import locate_cache
from grader.assets.hub import resolve_checkpoint
from grader.assets.metrics import prepare_metrics
from grader.assets.reviews import resolve_reviews
from grader.model import Profile, Result, Verdict
from grader.sandbox import Backend
from grader.sandbox.selection import REFUSAL
from tests.harness import needs
from tests.proof.security.cases import HostileCase, load_cases
from tests.proof.security.rounds import CORPUS

from .conftest import ORDINARY, run_command

HONEST: HostileCase = next(case for case in load_cases(CORPUS) if case.honest)

# In a user namespace in which no further ones can be made, and whose rights are gone before the command runs.
NO_NAMESPACES = (
    *("/usr/bin/unshare", "--user", f"--map-user={ORDINARY}", "--keep-caps", "/bin/sh", "-c"),
    'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --inh-caps=-all --ambient-caps=-all "$0" "$@"',
)
# Nothing is installed, on a Linux that was built without Landlock: its first system call answers ENOSYS.
NOTHING_ELSE = (
    *(sys.executable, "-c"),
    """
import os, struct, sys
from grader.sandbox.walls.kernel_entry import install_filter
load_number, deny, allow = (0x20, 0, 0, 0), (0x06, 0, 0, 0x50026), (0x06, 0, 0, 0x7FFF0000)
instructions = (load_number, (0x15, 0, 1, 444), deny, allow)
install_filter(b"".join(struct.pack("HBBI", *instruction) for instruction in instructions))
os.environ["PATH"] = "/nowhere"
os.execv(sys.argv[1], sys.argv[1:])
""",
)

pytestmark = [needs.root, needs.programs("unshare", "setpriv")]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of that user, with the notebook in it; what everybody only reads is prepared."""
    cache = locate_cache(paths.ROOT, os.environ)
    resolve_checkpoint(Profile.STRUCTURE, cache)
    prepare_metrics(cache)
    resolve_reviews(paths.ROOT, os.environ)
    with tempfile.TemporaryDirectory(prefix="u") as name:
        folder = Path(name)
        HONEST.write(folder, {}).chmod(0o644)
        os.chown(folder, ORDINARY, ORDINARY)
        yield folder


def grade(folder: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """Grade the notebook as that user, by way of the commands `before`."""
    ask = (sys.executable, "-m", "grader", "grade", str(folder / "notebook.ipynb"), "--out", str(folder / "results"))
    return run_command(*before, *ask, "--profile", "structure", as_user=True)


@pytest.mark.parametrize(
    ("before", "backends"),
    [((), (Backend.WARM,)), (NO_NAMESPACES, (Backend.CONTAINER, Backend.LANDLOCK))],
    ids=["as it is", "without user namespaces"],
)
def test_an_honest_notebook_gets_its_points(folder: Path, before: Sequence[str], backends: Sequence[Backend]) -> None:
    needs.require_backend(*backends)
    done = grade(folder, *before)
    assert done.returncode == 0, done.stdout + done.stderr
    result = Result.model_validate_json((folder / "results" / "notebook" / "result.json").read_bytes())
    assert result.sandbox in backends
    assert {check.id for check in result.checks if check.verdict is Verdict.PASSED} >= set(HONEST.earns)


def test_nothing_that_isolates_is_a_refusal(folder: Path) -> None:
    done = grade(folder, *NO_NAMESPACES, *NOTHING_ELSE)
    assert done.returncode == 2, done.stdout + done.stderr
    assert REFUSAL in done.stderr
    assert not list((folder / "results").rglob("result.json"))
