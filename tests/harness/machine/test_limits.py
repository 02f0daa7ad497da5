"""Limits that a shell, a batch system or a container passes on: raised where possible, otherwise refused by figure."""

import json
import subprocess
import sys

import pytest

from grader.machine.limits import NEEDS, Limit, Need, read_limits, require_limits
from grader.paths import ROOT

if sys.platform == "win32":
    pytest.skip("Windows has no such limits", allow_module_level=True)

TRY = """
import json, resource, sys
from grader.errors import GraderError
from grader.machine.limits import require_limits
kind, soft, hard = getattr(resource, sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(kind, (soft, hard))
try:
    require_limits()
except GraderError as error:
    print(json.dumps(str(error)))
else:
    print(json.dumps(resource.getrlimit(kind)))
"""
each_need = pytest.mark.parametrize("need", [pytest.param(need, id=need.name) for need in NEEDS])


def under(name: str, soft: int, hard: int) -> object:
    """Start a process with this limit; return its sentence, or the limits that it then has."""
    command = [sys.executable, "-c", TRY, name, str(soft), str(hard)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@each_need
def test_a_hard_limit_that_is_too_low_is_named_with_its_figures(need: Need) -> None:
    least = need.least - need.unit
    told = under(need.name, least, least)
    assert isinstance(told, str)
    assert all(part in told for part in (need.what, f"{least // need.unit:,}", need.format(need.least), need.command))


@each_need
def test_a_soft_limit_is_raised(need: Need) -> None:
    assert under(need.name, need.least // 2, need.least) == [need.least, need.least]


def test_this_machine_suffices() -> None:
    require_limits()
    assert all(limit.suffices for limit in read_limits())


def test_no_limit_suffices() -> None:
    assert Limit(NEEDS[0], None).suffices
    assert "unlimited" in str(Limit(NEEDS[0], None))
