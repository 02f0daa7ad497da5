"""A zygote that is killed is replaced, and whoever waits for one that is gone for good is told soon."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from grader.errors import GraderError
from grader.sandbox import Backend
from grader.sandbox.backends import zygote_client
from tests.harness.sandbox.conftest import ROOMY, SAVE, Driver, OpenSandbox


def test_a_killed_zygote_is_replaced(sandboxes: OpenSandbox) -> None:
    sandbox = sandboxes(Backend.WARM, ROOMY)
    assert Driver(sandbox)(SAVE).errors == [""]
    zygote = sandbox._zygote
    assert zygote is not None
    for _ in range(2):
        first = zygote._process.pid
        os.kill(first, signal.SIGKILL)
        while zygote._process.pid == first:  # a run that meets the dying one is tried again by `execute`
            time.sleep(0.05)
        outcome = Driver(sandbox)(SAVE)
        assert (outcome.errors, outcome.ending.evidence) == ([""], ("x.json",))


def test_one_that_is_gone_for_good_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygote_client, "REFUSED_S", 0.2)
    address = tmp_path / "zygote"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(address))
    began = time.monotonic()
    with pytest.raises(GraderError, match="keeps kernels warm has ended"):
        zygote_client.connect(address)
    assert time.monotonic() - began < zygote_client.IMPORT_S / 10
