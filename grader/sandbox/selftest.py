"""The self-test of a backend, before it is trusted: each promise is tried from inside, in the way a kernel starts.

A small script runs in the sandbox with the policy in force. Outside there are a secret file that the grader can read, a
secret in the grader's environment, a TCP server, two listening unix sockets, and a waiting process. The script tries to
reach them and to start more processes than allowed, and writes what it saw as evidence. A filter may answer success to
a change that it denies (see seccomp.py), so the file and the process are compared from outside too.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from grader.errors import GraderError
from grader.sandbox.folders import open_socket_folder
from grader.sandbox.policy import SandboxClaim, SandboxPolicy, Workspace

if TYPE_CHECKING:
    from grader.sandbox.selection import Sandbox

CANARY_VARIABLE: Final = "GRADER_SANDBOX_CANARY"
TIMEOUT_S: Final = 30.0
WAIT: Final = (sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()")  # ends with this process at the latest
TEST_POLICY: Final = SandboxPolicy(
    memory_mib=512, cpu_s=20, wall_s=20, processes=24, scratch_mib=32, inodes=2000, evidence_mib=16
)

SCRIPT: Final = """
import json, os, resource, socket, time

facts = json.load(open("facts.json"))

def attempt(action):
    try:
        action()
    except OSError as error:
        return f"{type(error).__name__}: {error}"[:200]
    return ""

def datagram(make, kind):
    return lambda: make(socket.AF_UNIX, kind).sendto(b"was here", facts["datagrams"])

seen = {name: attempt(action) for name, action in {
    "tcp": lambda: socket.create_connection(("127.0.0.1", facts["port"]), timeout=2).close(),
    "vsock": lambda: socket.socket(getattr(socket, "AF_VSOCK", 40), socket.SOCK_STREAM).close(),
    "read": lambda: open(facts["canary"]).read(),
    "write": lambda: open(facts["outside"], "w").close(),
    "signal": lambda: os.kill(facts["signal"], 0),
}.items()}
ways = [attempt(action) for action in (
    lambda: socket.socket(socket.AF_UNIX).connect(facts["listener"]),
    datagram(socket.socket, socket.SOCK_DGRAM),
    datagram(socket.socket, socket.SOCK_RAW),
    datagram(lambda family, kind: socket.socketpair(family, kind)[0], socket.SOCK_DGRAM),
)]
seen["unix"] = "; ".join(dict.fromkeys(ways)) if all(ways) else ""
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
DESCRIPTORS: Final = 64  # a limit that a process outside must not be given; it would do no harm


def examine(open_sandbox: "Callable[[], Sandbox]") -> tuple[SandboxClaim, ...]:
    """Try every promise. Raises GraderError when the sandbox does not start."""
    from grader.sandbox.provisioner import run_script

    with _prepare_host() as (workspace, process), open_sandbox() as sandbox:
        canary = workspace.job.parent / "canary"
        before = _read_file_state(canary), _read_process_state(process)
        ending = run_script(sandbox.open_link, workspace, SCRIPT, TIMEOUT_S)
        if "selftest.json" not in ending.evidence:
            stopped = f", stopped by its limit `{ending.stopped_by}`" if ending.stopped_by else ""
            raise GraderError(ending.fault or f"the self-test ended with code {ending.exit_code}{stopped}")
        seen: dict[str, Any] = json.loads((workspace.evidence / "selftest.json").read_text(encoding="utf-8"))
        after = _read_file_state(canary), _read_process_state(process)
    started = SandboxClaim("a sandbox starts", True)
    user = SandboxClaim("the kernel is not root", seen["uid"] != 0, f"uid {seen['uid']}")
    promises = (SandboxClaim(text, bool(seen[name]), str(seen[name])) for name, text in PROMISES.items())
    pairs = zip(UNTOUCHED, before, after, strict=True)
    untouched = (
        SandboxClaim(text, old == new, "" if old == new else f"{old} became {new}") for text, old, new in pairs
    )
    return (started, user, *promises, *untouched)


def _read_file_state(file: Path) -> tuple[str, float, float]:
    seen = file.stat()
    return oct(seen.st_mode), seen.st_mtime, seen.st_ctime  # the last one moves with its attributes too


def _read_process_state(process: int) -> tuple[tuple[int, int], int, int]:
    import resource  # not on Windows, where no self-test runs

    limits = resource.prlimit(process, resource.RLIMIT_NOFILE)
    return limits, os.getpriority(os.PRIO_PROCESS, process), os.sched_getscheduler(process)


@contextmanager
def _prepare_host() -> Iterator[tuple[Workspace, int]]:
    """Set up what must stay out of reach; yield the script's workspace and the pid of a waiting process."""
    with (
        open_socket_folder("selftest") as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        subprocess.Popen(WAIT, stdin=subprocess.PIPE) as process,
    ):
        folder.chmod(0o755)
        secret = secrets.token_hex(16)
        places = {name: str(folder / name) for name in ("listener", "datagrams", "canary", "outside")}
        for end, name in ((listener, "listener"), (datagrams, "datagrams")):
            end.bind(places[name])
            (folder / name).chmod(0o777)
        listener.listen()
        (folder / "canary").write_text(secret, encoding="utf-8")
        for part in ("job", "evidence"):
            (folder / part).mkdir()
        facts = {**places, "port": server.getsockname()[1], "secret": secret, "signal": os.getpid()}
        facts |= {"process": process.pid, "descriptors": DESCRIPTORS, "processes": TEST_POLICY.processes}
        (folder / "job" / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        os.environ[CANARY_VARIABLE] = secret
        try:
            yield Workspace(job=folder / "job", evidence=folder / "evidence"), process.pid
        finally:
            del os.environ[CANARY_VARIABLE]
            process.kill()
