"""What a backend must show before it is trusted: each promise is tried from inside, by the same road a kernel takes.

A small script runs in the sandbox with the policy in force. Outside, a secret file lies readable for the grader, a
secret stands in the grader's environment, a TCP server and two unix sockets listen, and a process waits. The script
tries to reach them and to start more processes than allowed, and leaves what it saw as evidence. A filter may tell it
that a change has worked (see seccomp.py), so the file and the process are looked at from outside too.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from grader.sandbox.folders import open_socket_folder
from grader.sandbox.link import Link
from grader.sandbox.policy import STARTED, SandboxClaim, SandboxPolicy, Workspace

RESULT: Final = "selftest.json"
CANARY_VARIABLE: Final = "GRADER_SANDBOX_CANARY"
TIMEOUT_S: Final = 30.0
TEST_POLICY: Final = SandboxPolicy(memory_mib=512, cpu_s=20, wall_s=20, processes=24, scratch_mib=32, inodes=2000)

SCRIPT: Final = """
import json, os, resource, socket, threading

facts = json.load(open("facts.json"))

def attempt(action):
    try:
        action()
    except OSError as error:
        return f"{type(error).__name__}: {error}"[:200]
    return ""

def tcp():
    socket.create_connection(("127.0.0.1", facts["port"]), timeout=2).close()

def unix():
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(facts["socket"])

def datagram(make, kind):
    return lambda: make(socket.AF_UNIX, kind).sendto(b"was here", facts["datagrams"])

def pair(family, kind):
    return socket.socketpair(family, kind)[0]

def vsock():
    socket.socket(getattr(socket, "AF_VSOCK", 40), socket.SOCK_STREAM).close()

def read():
    open(facts["canary"]).read()

def write():
    with open(facts["outside"], "w") as file:
        file.write("was here")

def signal():
    if facts["signal"]:
        os.kill(facts["signal"], 0)
    else:
        raise OSError("not asked")

seen = {name: attempt(action) for name, action in
        dict(tcp=tcp, vsock=vsock, read=read, write=write, signal=signal).items()}
roads = [attempt(action) for action in (unix, datagram(socket.socket, socket.SOCK_DGRAM),
         datagram(socket.socket, socket.SOCK_RAW), datagram(pair, socket.SOCK_DGRAM))]
seen["unix"] = "; ".join(dict.fromkeys(roads)) if all(roads) else ""
for change in (
    lambda: os.chmod(facts["canary"], 0o600),
    lambda: os.utime(facts["canary"], (0, 0)),
    lambda: os.setxattr(facts["canary"], "user.was", b"here"),
    lambda: resource.prlimit(facts["process"], resource.RLIMIT_NOFILE, (facts["descriptors"],) * 2),
    lambda: os.setpriority(os.PRIO_PROCESS, facts["process"], 19),
    lambda: os.sched_setscheduler(facts["process"], os.SCHED_BATCH, os.sched_param(0)),
):
    attempt(change)
environment = dict(os.environ)
try:
    environment["first"] = open("/proc/self/environ", errors="replace").read()
except OSError:
    pass
seen["environment"] = "" if facts["secret"] in json.dumps(environment) else "not there"

children = []
try:
    for _ in range(2 * facts["processes"]):
        child = os.fork()
        if child == 0:
            import time
            time.sleep(60)
            os._exit(0)
        children.append(child)
    seen["processes"] = ""
except OSError as error:
    seen["processes"] = f"refused after {len(children)}: {error}"
for child in children:
    os.kill(child, 9)
seen["uid"] = os.getuid()
with open(os.environ["SANDBOX_EVIDENCE"] + "/selftest.json", "w") as file:
    json.dump(seen, file)
"""

PROMISES: Final = {
    "tcp": "a server of this machine cannot be reached",
    "unix": "a unix socket of this machine cannot be reached",
    "vsock": "AF_VSOCK sockets do not exist",
    "read": "a file of the grader cannot be read",
    "write": "nothing can be written outside",
    "signal": "processes outside cannot be signalled",
    "environment": "the grader's environment is not visible",
    "processes": "the limit on processes holds",
}
UNTOUCHED: Final = (
    "mode, times and attributes of a file outside cannot be changed",
    "limits and priority of a process outside cannot be changed",
)


DESCRIPTORS: Final = 64  # a limit that a process outside must not be given; it would harm none


@dataclass(frozen=True)
class _HostState:
    """What must stay as it is."""

    folder: Path
    process: int

    def file(self) -> tuple[str, float, float]:
        """Mode and times of the file; the last one moves with its attributes too."""
        seen = (self.folder / "canary").stat()
        return oct(seen.st_mode), seen.st_mtime, seen.st_ctime

    def standing(self) -> tuple[tuple[int, int], int, int]:
        """Limits and priority of the process."""
        import resource  # not on Windows, where nothing of this is called

        limits = resource.prlimit(self.process, resource.RLIMIT_NOFILE)
        return limits, os.getpriority(os.PRIO_PROCESS, self.process), os.sched_getscheduler(self.process)


def examine(open_line: Callable[[SandboxPolicy], Link]) -> tuple[SandboxClaim, ...]:
    """Try every promise; the claims, or a single false one that says why the sandbox did not start."""
    from grader.sandbox.provisioner import run_script

    with _prepare_host_state() as (workspace, outside):
        before = outside.file(), outside.standing()
        ending = run_script(lambda: open_line(TEST_POLICY), workspace, SCRIPT, TIMEOUT_S)
        if RESULT not in ending.evidence:
            reason = ending.fault or f"the self-test ended with code {ending.exit_code} ({ending.stopped_by})"
            return (SandboxClaim(STARTED, False, reason),)
        seen: dict[str, Any] = json.loads((workspace.evidence / RESULT).read_text(encoding="utf-8"))
        untouched = _check_untouched(before, (outside.file(), outside.standing()))
    started = SandboxClaim(STARTED, True)
    unprivileged = SandboxClaim("the kernel is not root", seen["uid"] != 0, f"uid {seen['uid']}")
    promised = (SandboxClaim(text, bool(seen[name]), str(seen[name])) for name, text in PROMISES.items())
    return (started, unprivileged, *promised, *untouched)


def _check_untouched(before: tuple[object, object], after: tuple[object, object]) -> Iterator[SandboxClaim]:
    for text, was, became in zip(UNTOUCHED, before, after, strict=True):
        yield SandboxClaim(text, was == became, "" if was == became else f"{was} became {became}")


@contextmanager
def _prepare_host_state() -> Iterator[tuple[Workspace, _HostState]]:
    """What must stay out of reach, and the script's workspace."""
    with (
        open_socket_folder("selftest") as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        _start_waiting_process() as process,
    ):
        folder.chmod(0o755)
        secret = secrets.token_hex(16)
        for end, called in ((listener, "listener"), (datagrams, "datagrams")):
            end.bind(str(folder / called))
            (folder / called).chmod(0o777)
        listener.listen()
        (folder / "canary").write_text(secret, encoding="utf-8")
        for part in ("job", "evidence"):
            (folder / part).mkdir()
        facts = {
            "port": server.getsockname()[1],
            "socket": str(folder / "listener"),
            "datagrams": str(folder / "datagrams"),
            "canary": str(folder / "canary"),
            "outside": str(folder / "outside"),
            "secret": secret,
            "signal": os.getpid(),
            "process": process,
            "descriptors": DESCRIPTORS,
            "processes": TEST_POLICY.processes,
        }
        (folder / "job" / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        os.environ[CANARY_VARIABLE] = secret
        try:
            yield Workspace(job=folder / "job", evidence=folder / "evidence"), _HostState(folder, process)
        finally:
            del os.environ[CANARY_VARIABLE]


@contextmanager
def _start_waiting_process() -> Iterator[int]:
    """A process that does nothing, and ends with this one at the latest, when its input closes."""
    command = [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield process.pid
        finally:
            process.kill()
