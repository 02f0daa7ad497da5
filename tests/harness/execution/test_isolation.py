"""What kernels are given, and what `doctor` says of sandboxes."""

import sys
from pathlib import Path

import pytest

from grader.assets.hub import Checkpoint
from grader.errors import GraderError
from grader.execution import isolation
from grader.execution.driver import Limits
from grader.machine.inventory import Status
from grader.sandbox import Backend, SandboxClaim, SelfTest

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


@pytest.mark.parametrize("groups", [pytest.param(True, id="control groups"), pytest.param(False, id="watchdog")])
def test_doctor_says_how_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, groups: bool) -> None:
    monkeypatch.setattr(isolation, "run_self_tests", tuple)
    monkeypatch.setattr(isolation.cgroups, "can_be_made", lambda: groups)
    _, memory = isolation.list_findings()
    assert memory.status is (Status.OK if groups else Status.WARNING)
    assert ("watchdog" in memory.detail) is not groups


@pytest.mark.skipif(sys.platform == "win32", reason="rights are another matter there")
@pytest.mark.parametrize(
    ("closed", "mode"),
    [
        pytest.param("shown", 0o700, id="the folder"),
        pytest.param("shown/deeper", 0o750, id="a folder in it"),
        pytest.param("shown/deeper/weights", 0o600, id="a file"),
    ],
)
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


@pytest.mark.parametrize(
    ("wanted", "device", "expected"),
    [
        pytest.param(True, "nvidia0", True, id="wanted and there"),
        pytest.param(True, "nvidiactl", False, id="a driver without a GPU"),
        pytest.param(False, "nvidia0", False, id="not wanted"),
    ],
)
def test_gpus_are_handed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool, device: str, expected: bool
) -> None:
    (tmp_path / device).touch()
    monkeypatch.setattr(isolation, "DEVICES", tmp_path)
    checkpoint = Checkpoint("none", tmp_path / "model.safetensors", tmp_path, "0")
    assert isolation.build_policy(checkpoint, tmp_path, Limits(), gpus=wanted).gpus is expected
