"""What a test needs that a machine may lack. Such a test is skipped with one line that says how to get it."""

import os
import shutil
from typing import Final

import pytest

from grader.sandbox import Backend, run_self_test

PACKAGES: Final = {  # program -> what to install on Debian and Ubuntu
    "chromedriver": "chromium-driver",
    "chromium": "chromium",
    "git": "git",
    "make": "make",
    "munged": "munge",
    "sbatch": "slurm-client",
    "scancel": "slurm-client",
    "sinfo": "slurm-client",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}


def programs(*names: str) -> pytest.MarkDecorator:
    """A mark for tests that call these programs."""
    missing = _missing(*names)
    return pytest.mark.skipif(bool(missing), reason=missing or "nothing is missing")


def require_programs(*names: str) -> None:
    """Skip the running test unless these programs are there; for fixtures."""
    if missing := _missing(*names):
        pytest.skip(missing)


def _missing(*names: str) -> str:
    missing = [name for name in names if shutil.which(name) is None]
    packages = " ".join(dict.fromkeys(PACKAGES[name] for name in missing))
    return f"needs {' and '.join(missing)}: apt install {packages}" if missing else ""


root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root: run the tests as root")
ordinary_user = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="needs an ordinary user: run the tests without root"
)


def require_backend(*backends: Backend) -> None:
    """Skip the running test unless one of these sandboxes works here."""
    tried = [run_self_test(backend) for backend in backends]
    if not any(test.passed for test in tried):
        pytest.skip("; ".join(f"needs sandbox {test}" for test in tried))
