"""What a notebook gets of the machine: time, cores, a GPU."""

import os
from pathlib import Path

import pytest

from grader.assets.hub import Checkpoint
from grader.execution import isolation, setup
from grader.execution.driver import Limits
from grader.model import Profile

HALF_AN_HOUR_S, HOURS_S = 1800, 6 * 3600


@pytest.mark.parametrize(
    ("profile", "gpu", "asked_s", "cell_s"),
    [
        pytest.param(Profile.QUICK, False, None, HALF_AN_HOUR_S, id="quick"),
        pytest.param(Profile.FULL, True, None, HALF_AN_HOUR_S, id="as submitted, on a GPU"),
        pytest.param(Profile.FULL, False, None, HOURS_S, id="as submitted, on a CPU: hours are usual"),
        pytest.param(Profile.FULL, False, 60.0, 60, id="what a person asks for"),
    ],
)
def test_time(profile: Profile, gpu: bool, asked_s: float | None, cell_s: float) -> None:
    assert isolation.choose_limits(profile, gpu, asked_s).cell_s == cell_s


@pytest.mark.parametrize(("cores", "processes"), [(2, 264), (128, 768)], ids=["laptop", "server"])
def test_processes_suffice_for_the_threads_of_all_cores(
    cores: int, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    checkpoint = Checkpoint("x", tmp_path, tmp_path / "w", "0" * 64)
    found = isolation.build_policy(checkpoint, tmp_path, Limits())
    assert (found.threads, found.processes) == (cores, processes)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, "0", id="the first"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "3,4"}, "3", id="the first of those that one may use"),
        pytest.param({"CUDA_VISIBLE_DEVICES": ""}, "", id="none"),
    ],
)
def test_one_gpu(given: dict[str, str], expected: str) -> None:
    assert setup.select_one_gpu(given) == {"CUDA_VISIBLE_DEVICES": expected}
