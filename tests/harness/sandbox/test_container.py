"""The container backend against a command-line program that only notes how it was called."""

import json
import sys
from pathlib import Path

import pytest

from grader.sandbox.backends import container
from grader.sandbox.policy import SandboxPolicy
from grader.sandbox.supervisor import Confinement
from grader.sandbox.walls.namespaces import Identity

FAKE = """#!{python}
import json, sys, pathlib
log = pathlib.Path({log!r})
with log.open("a") as file: file.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "image": sys.exit({missing})
if sys.argv[1] == "inspect": print("true")
if sys.argv[1] == "import":
    pathlib.Path({log!r} + ".tar").write_bytes(sys.stdin.buffer.read())
"""
POLICY = SandboxPolicy(memory_mib=300, processes=40, read_only=(Path("/usr"),))
CONFINE = Confinement(POLICY, Identity(1000, 1000, dropped=False), None)


def fake(folder: Path, *, missing: bool) -> tuple[str, Path]:
    """A runtime, and the file in which it notes its calls."""
    program, log = folder / "podman", folder / "log"
    program.write_text(FAKE.format(python=sys.executable, log=str(log), missing=int(missing)), encoding="utf-8")
    program.chmod(0o755)
    return str(program), log


def calls(log: Path) -> list[list[str]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


WALLS = (
    *("--network none", "--read-only", "--cap-drop ALL", "--security-opt no-new-privileges", "--pids-limit 40"),
    "--tmpfs /var/tmp:size=1m,mode=755",
    "--ulimit nproc=40",  # more than a root without CAP_SYS_RESOURCE has is refused
    *("--memory 300m --memory-swap 300m", "--user 1000:1000", "--pull never"),
    *("--mount type=bind,source=/usr,target=/usr,readonly", "--mount type=bind,source=/a,target=/job"),
)


def test_walls() -> None:
    podman, docker = (container.build_command(name, "n", CONFINE, {"/a": "/job"}) for name in ("podman", "docker"))
    assert [wall for wall in WALLS if f" {wall} " not in " ".join(podman)] == []
    assert (podman[:2], podman[-1]) == (["podman", "run"], container.IMAGE)
    assert ("keep-id" in podman, "keep-id" in docker) == (True, False)  # only podman maps the user


@pytest.mark.parametrize(("missing", "verbs"), [(True, ["image", "import"]), (False, ["image"])], ids=["made", "kept"])
def test_the_image_is_made_once(tmp_path: Path, missing: bool, verbs: list[str]) -> None:
    runtime, log = fake(tmp_path, missing=missing)
    container.ensure_image(runtime)
    assert [call[0] for call in calls(log)] == verbs


def test_memory_is_asked_of_the_runtime(tmp_path: Path) -> None:
    runtime, log = fake(tmp_path, missing=False)
    meter = container.RuntimeMeter(runtime, "name")
    assert not meter.is_exceeded()  # not asked twenty times a second
    assert meter.was_exceeded()
    assert calls(log) == [["inspect", "--format", "{{.State.OOMKilled}}", "name"]]
