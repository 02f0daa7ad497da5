"""Attacks by a kernel of backend `landlock` on its own user: `python own_user.py`, run by that user; prints JSON.

Outside are a file that only the user may touch, in such a folder, a process, and a socket for datagrams. The kernel
gets two scripts: one that attacks all of them, and one that does what a notebook may well do.
"""

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[3]))

from grader.sandbox import Backend, Sandbox, SandboxPolicy, Workspace, select
from grader.sandbox.provisioner import run_script

TRY: Final = """
import json, os

facts = json.load(open("facts.json"))
seen = {}

def attempt(name, action):
    try:
        seen[name] = str(action())
    except Exception as error:
        seen[name] = f"{type(error).__name__}: {error}"

def leave():
    with open(os.environ["SANDBOX_EVIDENCE"] + "/seen.json", "w") as file:
        json.dump(seen, file)
"""

ATTACK: Final = """
import ctypes, resource, socket, struct
path, folder, process = facts["file"], os.path.dirname(facts["file"]), facts["process"]
libc = ctypes.CDLL(None, use_errno=True)

def call(*arguments):  # what this version of Python has no function for
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def setxattrat():
    value = ctypes.create_string_buffer(b"x")
    call(463, -100, path.encode(), 0, b"user.at", struct.pack("QII", ctypes.addressof(value), 1, 0), 16)

def send(make, kind):
    end = make(socket.AF_UNIX, kind)
    (end if make is socket.socket else end[0]).sendto(b"x", facts["socket"])

attempt("read", lambda: open(path).read())
attempt("truncate", lambda: os.truncate(path, 0))
attempt("unlink", lambda: os.unlink(path))
attempt("chmod", lambda: os.chmod(path, 0o666))
attempt("chmod of the folder", lambda: os.chmod(folder, 0o777))
attempt("chmod by handle", lambda: os.chmod("file", 0o666, dir_fd=os.open(folder, os.O_PATH)))
attempt("fchmodat2", lambda: call(452, -100, path.encode(), 0o666, 0))
attempt("chown", lambda: os.chown(path, -1, os.getgid()))
attempt("utime", lambda: os.utime(path, (0, 0)))
attempt("setxattr", lambda: os.setxattr(path, "user.was", b"here"))
attempt("setxattrat", setxattrat)
attempt("removexattr", lambda: os.removexattr(path, "user.before"))
attempt("kill", lambda: os.kill(process, 9))
attempt("prlimit", lambda: resource.prlimit(process, resource.RLIMIT_CPU, (0, 0)))
attempt("prlimit, reading", lambda: resource.prlimit(process, resource.RLIMIT_CPU))
attempt("setpriority", lambda: os.setpriority(os.PRIO_PROCESS, process, 19))
attempt("affinity", lambda: os.sched_setaffinity(process, {min(os.sched_getaffinity(0))}))
attempt("scheduler", lambda: os.sched_setscheduler(process, os.SCHED_BATCH, os.sched_param(0)))
attempt("datagram", lambda: send(socket.socket, socket.SOCK_DGRAM))
attempt("raw", lambda: send(socket.socket, socket.SOCK_RAW))
attempt("pair", lambda: send(socket.socketpair, socket.SOCK_DGRAM))
attempt("raw pair", lambda: send(socket.socketpair, socket.SOCK_RAW))
attempt("inotify", lambda: call({"x86_64": 254}.get(os.uname().machine, 27), 0, folder.encode(), 0x100))
leave()
"""

ORDINARY: Final = """
import asyncio, multiprocessing, pathlib, resource, shutil, socket, subprocess, sys, tempfile
pathlib.Path("a").write_text("text")

def archives():
    for kind in ("tar", "zip"):
        shutil.unpack_archive(shutil.make_archive("archive", kind, ".", "a"), "unpacked")
        assert pathlib.Path("unpacked/a").read_text() == "text"

def copies():
    shutil.copy("a", "b"), shutil.copy2("a", "c"), shutil.copytree("unpacked", "d"), shutil.move("c", "e")
    shutil.rmtree("d")
    pathlib.Path("a").touch()
    return pathlib.Path("e").read_text()

async def program():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(1)", stdout=subprocess.PIPE)
    return (await process.communicate())[0].decode().strip() + await asyncio.to_thread(str, 2)

def processes():
    near, far = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=far.send, args=("said",))
    child.start(), child.join()
    return near.recv()

def limits():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.prlimit(0, resource.RLIMIT_NOFILE, (50, 60))
    return resource.getrlimit(resource.RLIMIT_NOFILE), resource.prlimit(0, resource.RLIMIT_CORE)

def affinity():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return len(os.sched_getaffinity(0))

def temporary():
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile(dir=folder) as file:
        return oct(os.stat(folder).st_mode), oct(os.stat(file.name).st_mode)

attempt("archives", archives)
attempt("copies", copies)
attempt("asyncio", lambda: asyncio.run(program()))
attempt("processes", processes)
attempt("packets", lambda: len(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)))
attempt("nice", lambda: os.nice(0) - os.getpriority(os.PRIO_PROCESS, 0))
attempt("setpriority", lambda: os.setpriority(os.PRIO_PROCESS, 0, 19))
attempt("affinity", affinity)
attempt("temporary", temporary)
attempt("limits", limits)
leave()
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="k") as name, select(SandboxPolicy(), only=Backend.LANDLOCK) as sandbox:
        folder = Path(name)
        ordinary = run(sandbox, folder / "ordinary", ORDINARY, {})
        print(json.dumps({"ordinary": ordinary, **attack(sandbox, folder)}))


def attack(sandbox: Sandbox, folder: Path) -> dict[str, Any]:
    """Run the attacking script; return what it saw, and the state of things outside before and after it."""
    file = folder / "home" / "file"
    file.parent.mkdir(mode=0o700)
    file.write_text("marks", encoding="utf-8")
    file.chmod(0o600)
    waiting = [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"]
    with (
        subprocess.Popen(waiting, stdin=subprocess.PIPE) as process,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end,
    ):
        end.bind(str(folder / "socket"))
        facts = {"file": str(file), "process": process.pid, "socket": str(folder / "socket")}
        before = read_state(file, process, end)
        seen = run(sandbox, folder / "attack", ATTACK, facts)
        return {"seen": seen, "before": before, "after": read_state(file, process, end)}


def run(sandbox: Sandbox, folder: Path, script: str, facts: dict[str, Any]) -> dict[str, str]:
    workspace = Workspace(job=folder / "job", evidence=folder / "evidence")
    for part in (workspace.job, workspace.evidence):
        part.mkdir(parents=True)
    (workspace.job / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    ending = run_script(sandbox.open_link, workspace, TRY + script, 60)
    if "seen.json" not in ending.evidence:
        raise SystemExit(f"the script did not end: {ending}")
    return dict(json.loads((workspace.evidence / "seen.json").read_bytes()))


def read_state(file: Path, process: "subprocess.Popen[bytes]", end: socket.socket) -> dict[str, Any]:
    """Return everything that the attacks would change; times as numbers that JSON keeps."""
    seen, arrived = file.stat(), []
    with contextlib.suppress(BlockingIOError):
        arrived.append(end.recv(100, socket.MSG_DONTWAIT).decode())
    return {
        "file": (oct(seen.st_mode), seen.st_gid, seen.st_mtime_ns, seen.st_ctime_ns, file.read_text(encoding="utf-8")),
        "folder": oct(file.parent.stat().st_mode),
        "ended": process.poll(),
        "limits": resource.prlimit(process.pid, resource.RLIMIT_CPU),
        "priority": os.getpriority(os.PRIO_PROCESS, process.pid),
        "processors": sorted(os.sched_getaffinity(process.pid)),
        "scheduler": os.sched_getscheduler(process.pid),
        "datagrams": arrived,
    }


if __name__ == "__main__":
    main()
