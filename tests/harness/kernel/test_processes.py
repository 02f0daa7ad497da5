"""Processes that notebooks start: forked by default, as they expect, and still theirs to choose."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems never forked by default")

TRY = """
import multiprocessing, multiprocess
from grader.kernel.compat import processes
{before}
processes.fork()
{after}
print(multiprocessing.get_start_method(), multiprocess.get_start_method())
"""


@pytest.mark.parametrize(
    ("before", "after", "methods"),
    [
        pytest.param("", "", "fork fork", id="by default"),
        pytest.param("multiprocessing.get_context()", "", "fork fork", id="when it was asked for before"),
        pytest.param("", "multiprocessing.set_start_method('spawn')", "spawn fork", id="a notebook chooses"),
        pytest.param("multiprocess.set_start_method('spawn')", "", "fork spawn", id="somebody has chosen"),
    ],
)
def test_the_start_method(before: str, after: str, methods: str) -> None:
    source = TRY.format(before=before, after=after)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.stdout.split() == methods.split(), done.stderr
