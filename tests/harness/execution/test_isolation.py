"""What `doctor` says of sandboxes."""

import pytest

from grader import isolation
from grader.assets.inventory import Status
from grader.sandbox import Backend, Claim, SelfTest

GOOD, BAD = Claim("the network is denied", True), Claim("a file cannot be read", False, "it was read")
WORKS, BROKEN = (GOOD, Claim("processes are limited", True)), (GOOD, BAD)


@pytest.mark.parametrize(
    ("claims", "used"),
    [
        pytest.param({Backend.WARM: WORKS, Backend.LANDLOCK: WORKS}, Backend.WARM, id="the best works"),
        pytest.param({Backend.WARM: BROKEN, Backend.LANDLOCK: WORKS}, Backend.LANDLOCK, id="the next works"),
        pytest.param({Backend.WARM: BROKEN, Backend.LANDLOCK: BROKEN}, None, id="none works"),
    ],
)
def test_doctor_shows_what_would_be_used_and_every_claim(
    monkeypatch: pytest.MonkeyPatch, claims: dict[Backend, tuple[Claim, ...]], used: Backend | None
) -> None:
    monkeypatch.setattr(isolation, "self_tests", lambda: tuple(SelfTest(*pair) for pair in claims.items()))
    first, *rows = isolation.findings()
    assert first.status is (Status.OK if used else Status.MISSING)
    assert (f"{used} is used" in first.detail) is (used is not None)
    assert ("bubblewrap" in first.hint) is (used is None)
    for row, found in zip(rows, claims.values(), strict=True):
        assert row.status is (Status.OK if found is WORKS else Status.WARNING)
        assert all(claim.name in row.detail for claim in found if claim.holds is (found is WORKS))
        assert ("it was read" in row.detail) is (found is BROKEN)
