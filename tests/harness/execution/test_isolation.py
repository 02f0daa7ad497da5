"""A notebook's share of the machine (time, cores, files, a GPU), and the rows of `doctor` on sandboxes."""

import os
import sys
from pathlib import Path

import pytest

from grader.assets.hub import Checkpoint
from grader.errors import GraderError
from grader.execution import isolation, setup
from grader.execution.driver import Limits
from grader.machine.inventory import Status
from grader.model import Profile
from grader.sandbox import Backend, SandboxClaim, SandboxPolicy, SelfTest

GOOD, BAD = SandboxClaim("the network is denied", True), SandboxClaim("a file cannot be read", False, "it was read")
WORKS, BROKEN = (GOOD, SandboxClaim("processes are limited", True)), (GOOD, BAD)


@pytest.mark.parametrize(
    ("claims", "used"),
    [
        pytest.param({Backend.WARM: WORKS, Backend.LANDLOCK: WORKS}, Backend.WARM, id="the best works"),
        pytest.param({Backend.WARM: BROKEN, Backend.LANDLOCK: WORKS}, Backend.LANDLOCK, id="the next works"),
        pytest.param({Backend.WARM: BROKEN, Backend.LANDLOCK: BROKEN}, None, id="none works"),
    ],
)
def test_doctor_shows_what_would_be_used_and_every_claim(
    monkeypatch: pytest.MonkeyPatch, claims: dict[Backend, tuple[SandboxClaim, ...]], used: Backend | None
) -> None:
    monkeypatch.setattr(isolation, "run_self_tests", lambda: tuple(SelfTest(*pair) for pair in claims.items()))
    first, _, *rows = isolation.list_findings()
    assert first.status is (Status.OK if used else Status.MISSING)
    assert (f"{used} is used" in first.detail) is (used is not None)
    assert bool(first.hint) is (used is None)
    for row, found in zip(rows, claims.values(), strict=True):
        assert row.status is (Status.OK if found is WORKS else Status.WARNING)
        assert all(claim.name in row.detail for claim in found if claim.holds is (found is WORKS))
        assert ("it was read" in row.detail) is (found is BROKEN)


@pytest.mark.parametrize("groups", [True, False], ids=["control groups", "watchdog"])
def test_doctor_says_how_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, groups: bool) -> None:
    monkeypatch.setattr(isolation, "run_self_tests", tuple)
    monkeypatch.setattr(isolation.cgroups, "can_make_groups", lambda: groups)
    _, memory = isolation.list_findings()
    assert memory.status is (Status.OK if groups else Status.WARNING)
    assert ("watchdog" in memory.detail) is not groups


CLOSED = {"shown": 0o700, "shown/deeper": 0o750, "shown/deeper/weights": 0o600}


@pytest.mark.skipif(sys.platform == "win32", reason="rights are another matter there")
@pytest.mark.parametrize(("closed", "mode"), CLOSED.items(), ids=["the folder", "a folder in it", "a file"])
def test_what_kernels_cannot_read_is_named(tmp_path: Path, closed: str, mode: int) -> None:
    shown = tmp_path / "shown"
    (shown / "deeper").mkdir(parents=True)
    (shown / "deeper" / "weights").touch()
    for path in (shown, *shown.rglob("*")):
        path.chmod(0o755)
    isolation.require_readable([shown])
    (tmp_path / closed).chmod(mode)
    with pytest.raises(GraderError, match="chmod") as raised:
        isolation.require_readable([shown])
    assert str(tmp_path / closed) in str(raised.value)


def build_policy(folder: Path, gpus: bool = False) -> SandboxPolicy:
    checkpoint = Checkpoint("none", folder / "model.safetensors", folder, "0")
    return isolation.build_policy(checkpoint, folder, Limits(), gpus=gpus)


@pytest.mark.parametrize(
    ("wanted", "device", "expected"),
    [(True, "nvidia0", True), (True, "nvidiactl", False), (False, "nvidia0", False)],
    ids=["wanted and there", "a driver without a GPU", "not wanted"],
)
def test_gpus_are_handed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool, device: str, expected: bool
) -> None:
    (tmp_path / device).touch()
    monkeypatch.setattr(isolation, "DEVICES", tmp_path)
    assert build_policy(tmp_path, gpus=wanted).gpus is expected


HALF_AN_HOUR_S, HOURS_S = 1800, 6 * 3600


@pytest.mark.parametrize(
    ("profile", "gpu", "asked_s", "cell_s"),
    [
        pytest.param(Profile.STRUCTURE, False, None, 180, id="structure, which trains next to nothing"),
        pytest.param(Profile.STRUCTURE, False, 900.0, 900, id="structure, with the time that a person gives"),
        pytest.param(Profile.QUICK, False, None, HALF_AN_HOUR_S, id="quick"),
        pytest.param(Profile.FULL, True, None, HALF_AN_HOUR_S, id="as submitted, on a GPU"),
        pytest.param(Profile.FULL, False, None, HOURS_S, id="as submitted, on a CPU: hours are usual"),
        pytest.param(Profile.FULL, False, 60.0, 60, id="what a person asks for"),
    ],
)
def test_time(profile: Profile, gpu: bool, asked_s: float | None, cell_s: float) -> None:
    limits = isolation.choose_limits(profile, gpu, asked_s)
    assert limits.cell_s == cell_s <= limits.notebook_s


@pytest.mark.parametrize(("cores", "processes"), [(2, 264), (128, 768)], ids=["laptop", "server"])
def test_processes_suffice_for_the_threads_of_all_cores(
    cores: int, processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    found = build_policy(tmp_path)
    assert (found.threads, found.processes) == (cores, processes)


ONE_GPU = [(None, "0"), ("3,4", "3"), ("", "")]


@pytest.mark.parametrize(("given", "expected"), ONE_GPU, ids=["the first", "the first of those given", "none"])
def test_one_gpu(given: str | None, expected: str) -> None:
    environ = {} if given is None else {"CUDA_VISIBLE_DEVICES": given}
    assert setup.select_one_gpu(environ) == {"CUDA_VISIBLE_DEVICES": expected}
