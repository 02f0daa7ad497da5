"""One supervisor per kernel: a small trusted process that starts it, watches it, says how it ended and leaves nothing.

It stays outside of the sandbox and outlives it. A launcher (warm, bubblewrap, landlock, container) says how the kernel
comes to life; everything else is here and the same for all of them:

    a control group where one can be made, otherwise the watchdog;
    the deadline, the disk in use, and orders from the asker ("stop: output");
    the reason is recorded first, then everything is killed; a reason once recorded stays;
    evidence is copied when every process of the sandbox is dead;
    the group, the folder of this kernel and all mounts are removed, whoever died first: the asker's end of the line and
    the leash (a pipe whose other end only the parent holds) both end the kernel when they close.
"""

import base64
import contextlib
import math
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from grader.sandbox.handover import CollectedFiles, collect, measure_usage, remove
from grader.sandbox.link import Link
from grader.sandbox.policy import MIB, Ending, SandboxPolicy, Stop, Workspace, describe_error
from grader.sandbox.walls import cgroups, seccomp
from grader.sandbox.walls.cgroups import Group, MemoryMeter
from grader.sandbox.walls.namespaces import Identity
from grader.sandbox.walls.watchdog import Watchdog

LOOK_EVERY_MS: Final = 50
DISK_EVERY_S: Final = 0.25
REQUEST_TIMEOUT_S: Final = 30.0
MOST_LINES: Final = 50  # of names, in what is told of an ending
LONGEST_LINE: Final = 300
STARVED: Final = "the machine, or the job that the grader runs in, had no memory left; run fewer notebooks at a time"


LITTLE_TIME: Final = (
    "this machine gives a process {seconds:.0f} s of processor time (`ulimit -t`), less than notebooks may use"
)


def read_cpu_limit_s() -> float:
    """The processor time that whoever started us leaves to a process."""
    import resource  # not on Windows, where no supervisor runs

    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    return math.inf if most == resource.RLIM_INFINITY else most


@dataclass(frozen=True)
class KernelRequest:
    """What the asker wants: a kernel on these listeners, or a script."""

    workspace: Workspace
    folder: Path  # of this kernel alone; removed at the end
    info: Mapping[str, Any]
    listeners: Mapping[int, int]  # port -> descriptor
    script: str

    @classmethod
    def from_message(cls, message: Mapping[str, Any], descriptors: list[int]) -> "KernelRequest":
        workspace = Workspace(
            job=Path(message["job"]), evidence=Path(message["evidence"]), environ=dict(message["environ"])
        )
        listeners = dict(zip(message["ports"], descriptors, strict=True))
        return cls(workspace, Path(message["folder"]), message["info"], listeners, message["script"])


@dataclass
class RunningKernel:
    """A started sandbox."""

    process: int  # the supervisor's child: its exit code is the kernel's
    announce: int  # descriptor on which inner.py speaks
    evidence: Path
    kill: Callable[[], None]  # ends every process of the sandbox; may be called again
    last: int | None = None  # pidfd of the process whose end means that no other is left, where `process` is not it
    writable: Path | None = None  # a folder on disk whose size has to be watched
    release: Callable[[], object] = lambda: None  # called when evidence has been copied
    meter: MemoryMeter | None = None  # where the backend counts memory itself


class Launcher(Protocol):
    """How a kernel comes to life."""

    inet: bool  # an empty network namespace makes internet sockets harmless

    def start(
        self, request: KernelRequest, policy: SandboxPolicy, identity: Identity, confine: "Confinement"
    ) -> RunningKernel: ...


@dataclass(frozen=True)
class Confinement:
    """The part of the walls that is the same for every launcher."""

    policy: SandboxPolicy
    group: Group | None
    inet: bool

    def enter(self) -> None:
        """Called by the process that will become the kernel, before anything else."""
        if self.group is not None:
            self.group.enter()

    def build_filter(self) -> bytes:
        """The seccomp program. Memory that is mapped nowhere escapes the watchdog; GPU drivers need it all the same."""
        return seccomp.build_program(memfd=self.group is not None or self.policy.gpus, sockets=self.inet)

    def build_inner_request(
        self, request: KernelRequest, *, folder: str, environ: Mapping[str, str], announce: int, filtered: bool = False
    ) -> dict[str, Any]:
        """The JSON object for inner.py. `filtered`: the launcher installs the filter itself."""
        return {
            "limits": self._limits(),
            "filter": "" if filtered else base64.b64encode(self.build_filter()).decode(),
            "environ": {**environ, **request.workspace.environ},
            "folder": folder,
            "threads": self.policy.threads,
            "info": dict(request.info),
            "listeners": dict(request.listeners),
            "script": request.script,
            "announce": announce,
        }

    def _limits(self) -> dict[str, int]:
        policy = self.policy
        limits = {
            "RLIMIT_CORE": 0,
            "RLIMIT_CPU": policy.cpu_s,
            "RLIMIT_NPROC": policy.processes,
            "RLIMIT_NOFILE": policy.open_files,
            "RLIMIT_FSIZE": policy.file_mib * MIB,
        }
        if (
            self.group is None and not policy.gpus
        ):  # a stop for one sudden allocation; the watchdog comes first otherwise
            limits["RLIMIT_DATA"] = (2 * policy.memory_mib + 1024) * MIB
        return limits


def supervise(launcher: Launcher, policy: SandboxPolicy, link: Link, leash: int | None) -> None:
    """Serve the one request that comes over `link`. Returns when nothing of it is left."""
    try:
        request = KernelRequest.from_message(*link.receive_first(REQUEST_TIMEOUT_S))
    except (OSError, EOFError, ValueError, KeyError):
        return  # nobody there, or nobody who knows the protocol
    group = Group.create(cgroups.find_own_name(), policy)
    try:
        ending = _run(launcher, policy, request, group, link, leash)
    except Exception as error:  # whatever it is, it is ours and must not look like the student's
        ending = Ending(fault=f"the sandbox failed: {describe_error(error)}")
    finally:
        if group is not None:
            group.remove()
        with contextlib.suppress(OSError):
            remove(request.folder)
    with contextlib.suppress(OSError):
        link.send({"event": "ended", **asdict(ending)})


def _run(
    launcher: Launcher,
    policy: SandboxPolicy,
    request: KernelRequest,
    group: Group | None,
    link: Link,
    leash: int | None,
) -> Ending:
    identity = Identity.choose()
    running = launcher.start(request, policy, identity, Confinement(policy, group, launcher.inet))
    for descriptor in request.listeners.values():
        os.close(descriptor)  # so that they close with the kernel
    watch = KernelMonitor(
        running, policy, running.meter or group or Watchdog(policy.memory_mib, below=os.getpid()), link, leash
    )
    try:
        ending = watch.run()
    except BaseException:
        running.kill()
        raise
    found = CollectedFiles()
    if watch.asked_for:
        found = collect(
            running.evidence, request.workspace.evidence, total_mib=policy.evidence_mib, files=policy.evidence_files
        )
    running.release()
    return replace(ending, evidence=_cut(found.copied), refused=_cut(found.refused))


def _cut(names: list[str]) -> tuple[str, ...]:
    """What fits into a message, for people to read: the notebook chose how many there are, and how long."""
    return tuple(name[:LONGEST_LINE] for name in names[:MOST_LINES])


@dataclass
class KernelMonitor:
    """The supervisor's loop over one running sandbox."""

    running: RunningKernel
    policy: SandboxPolicy
    meter: MemoryMeter
    link: Link
    leash: int | None
    reason: Stop | None = None
    fault: str | None = None
    asked_for: bool = True  # whether the asker is still there
    _doomed: bool = False
    _announced: bytes = b""
    _started_s: float = field(default_factory=time.monotonic)
    _disk_at_s: float = 0.0

    def run(self) -> Ending:
        """Look until the kernel is dead; then say how it ended. It stays a zombie until then: its pid is not reused."""
        handle = os.pidfd_open(self.running.process)
        poll = select.poll()
        for descriptor in (handle, self.link.fileno(), self.running.announce, self.leash):
            if descriptor is not None:
                poll.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(LOOK_EVERY_MS)}
            if self.running.announce in ready and not self._listen():
                poll.unregister(self.running.announce)
            if handle in ready:
                break
            self._obey(ready)
            self._look()
            if self._doomed:
                self.running.kill()
        os.close(handle)
        return self._ending()

    def _obey(self, ready: set[int]) -> None:
        if self.leash in ready:
            self.asked_for, self._doomed = False, True
        if self.link.fileno() in ready and self.asked_for:
            try:
                messages = self.link.receive()
            except EOFError:
                self.asked_for, self._doomed = False, True
                return
            for message in messages:
                self._stop(Stop(message["stop"]) if message["stop"] else None)

    def _look(self) -> None:
        if time.monotonic() - self._started_s > self.policy.wall_s:
            self._stop(Stop.WALL)
        elif self.meter.is_exceeded():
            self._stop(Stop.MEMORY)
        elif self._disk_is_full():
            self._stop(Stop.DISK)

    def _disk_is_full(self) -> bool:
        now = time.monotonic()
        if self.running.writable is None or now - self._disk_at_s < DISK_EVERY_S:
            return False
        self._disk_at_s = now
        used_mib, entries = measure_usage(self.running.writable)
        return used_mib > self.policy.scratch_mib or entries > self.policy.inodes

    def _stop(self, reason: Stop | None) -> None:
        """Record first, kill afterwards."""
        self.reason = self.reason or reason
        self._doomed = True

    def _listen(self) -> bool:
        """Hear what inner.py has to say; False when it has said everything."""
        data = os.read(self.running.announce, 4096)
        self._announced += data
        if self._announced == b"+\n":
            self._announced = b""
            with contextlib.suppress(OSError):
                self.link.send({"event": "ready"})
        else:  # inner.py, or the backend's own program, says what went wrong
            self.fault = self._announced.decode(errors="replace").strip(" -\n") or None
        return bool(data)

    def _ending(self) -> Ending:
        self.running.kill()  # what the kernel left running
        _, status, used = os.wait4(self.running.process, 0)
        code = os.waitstatus_to_exitcode(status)
        code = 128 - code if code > 128 else code  # launchers in between report signals as shells do
        if self.running.last is not None:
            select.select([self.running.last], [], [], REQUEST_TIMEOUT_S)
            os.close(self.running.last)
        while self._listen():
            pass
        os.close(self.running.announce)
        killed = code == -signal.SIGKILL
        if self.reason is None and killed and self.meter.was_exceeded():
            self.reason = Stop.MEMORY
        unasked = killed and not self._doomed
        if self.reason is None and unasked and self.meter.was_starved():
            self.fault = self.fault or STARVED
        spent = unasked and used.ru_utime + used.ru_stime >= min(self.policy.cpu_s, read_cpu_limit_s())
        if self.reason is None and (code == -signal.SIGXCPU or spent):
            if read_cpu_limit_s() < self.policy.cpu_s:  # not by our limit: nobody was told that there is less
                self.fault = self.fault or LITTLE_TIME.format(seconds=read_cpu_limit_s())
            else:
                self.reason = Stop.CPU
        return Ending(exit_code=code, stopped_by=self.reason, peak_memory_mib=self.meter.peak_mib(), fault=self.fault)
