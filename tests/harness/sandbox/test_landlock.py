"""Backend `landlock`, whose kernels run as the grader's own user: what Landlock leaves open, closed by the filter."""

import errno
import json
import os
import sys
from typing import Any

import pytest

from grader.sandbox.backends import landlock

from .conftest import HERE, run_command

# From version 6 on it covers signals and abstract sockets; the self-test refuses older ones.
pytestmark = pytest.mark.skipif(landlock.get_version() < 6, reason="needs Linux 6.12 with Landlock")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """The findings of own_user.py as an ordinary user: root has another user for its kernels, who owns nothing."""
    done = run_command(sys.executable, str(HERE / "own_user.py"), as_user=os.geteuid() == 0)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def test_nothing_of_the_user_is_changed(found: dict[str, Any]) -> None:
    assert found["after"] == found["before"]
    assert (found["after"]["ended"], found["after"]["datagrams"]) == (None, [])


@pytest.mark.parametrize(
    ("answer", "attacks"),
    [
        pytest.param("None", ("chmod", "chmod of the folder", "chmod by handle", "fchmodat2", "chown"), id="modes"),
        pytest.param("None", ("utime", "setxattr", "setxattrat", "removexattr"), id="times and attributes"),
        pytest.param("None", ("affinity", "scheduler"), id="scheduling"),
        pytest.param(errno.EACCES, ("read", "truncate", "unlink"), id="contents"),
        pytest.param(errno.EPERM, ("kill", "prlimit", "prlimit, reading", "setpriority", "inotify"), id="processes"),
        pytest.param(errno.EAFNOSUPPORT, ("datagram", "raw", "pair", "raw pair"), id="datagrams"),
    ],
)
def test_what_an_attack_is_told(found: dict[str, Any], answer: int | str, attacks: tuple[str, ...]) -> None:
    """A change of a file looks like a success: see seccomp.PRETENDED."""
    told = {attack: found["seen"][attack] for attack in attacks}
    expected = answer if isinstance(answer, str) else os.strerror(answer)
    assert {attack: text for attack, text in told.items() if expected not in text} == {}


def test_ordinary_things_work(found: dict[str, Any]) -> None:
    assert found["ordinary"] == {
        "archives": "None",
        "copies": "text",
        "asyncio": "12",
        "processes": "said",
        "packets": "2",
        "nice": "0",
        "setpriority": "None",
        "affinity": "1",
        "temporary": "('0o40700', '0o100600')",
        "limits": "((50, 60), (0, 0))",
    }
