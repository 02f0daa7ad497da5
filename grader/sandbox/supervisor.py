"""The supervisor: a small trusted process per kernel, which starts it, watches it, reports its end and cleans up.

It stays outside the sandbox and outlives it. A launcher (of the zygote, bubblewrap, container or landlock) starts the
kernel; the rest is the same for all of them:

- a control group where one can be made, otherwise the watchdog;
- the deadline, the disk in use, and orders from the grader (`{"stop": "output"}`);
- the reason is recorded first, then everything is killed; a recorded reason stays;
- evidence is copied when every process of the sandbox is dead;
- the group, the folder of this kernel and all mounts are removed, whichever process died first: the grader's end of the
  link and the leash (a pipe whose other end only the parent holds) both end the kernel when they close.
"""

import base64
import contextlib
import math
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from grader.sandbox.environment import build_environment
from grader.sandbox.handover import CollectedFiles, collect, is_full, measure_usage, remove
from grader.sandbox.link import KernelRequest, Link
from grader.sandbox.policy import MIB, Ending, SandboxPolicy, Stop, describe_error
from grader.sandbox.walls import seccomp
from grader.sandbox.walls.cgroups import Group, MemoryMeter
from grader.sandbox.walls.namespaces import JOB, Identity
from grader.sandbox.walls.watchdog import Watchdog

LOOK_EVERY_MS: Final = 50
DISK_EVERY_S: Final = 0.25
REQUEST_TIMEOUT_S: Final = 30.0
STARVED: Final = "the machine, or the job that the grader runs in, had no memory left; run fewer notebooks at a time"
LITTLE_TIME: Final = (
    "this machine gives a process {:.0f} s of processor time (`ulimit -t`), less than notebooks may use"
)


@dataclass
class RunningKernel:
    """A started sandbox."""

    process: int  # the supervisor's child: its exit code is the kernel's
    announce: int  # descriptor on which kernel_entry.py reports
    evidence: Path
    kill: Callable[[], None]  # ends every process of the sandbox; may be called again
    last: int | None = None  # pidfd of the process whose end means that no other is left, where `process` is not it
    writable: Path | None = None  # a folder on disk whose size has to be watched
    release: Callable[[], object] = lambda: None  # called when evidence has been copied
    meter: MemoryMeter | None = None  # where the backend counts memory itself


@dataclass(frozen=True)
class Confinement:
    """The part of the walls that is the same for every launcher."""

    policy: SandboxPolicy
    identity: Identity
    group: Group | None

    def enter(self) -> None:
        """Put the calling process, which will become the kernel, into the group, before anything else."""
        if self.group is not None:
            self.group.enter()

    def build_filter(self, *, network_namespace: bool) -> bytes:
        """Build the seccomp program. The watchdog does not see memory of memfd_create; GPU drivers need that call."""
        return seccomp.build_program(memfd=self.group is not None or self.policy.gpus, sockets=network_namespace)

    def build_entry_request(
        self,
        request: KernelRequest,
        announce: int,
        program: bytes = b"",
        *,
        environ: Mapping[str, str] | None = None,
        folder: str = JOB,
    ) -> dict[str, Any]:
        """Build the JSON object for kernel_entry.py.

        program: a filter, unless the launcher installs it itself.
        environ, folder: for a kernel outside a private root.
        """
        return {
            "limits": self._build_limits(),
            "filter": base64.b64encode(program).decode(),
            "environ": {**(environ or build_environment()), **request.workspace.environ},
            "folder": folder,
            "threads": self.policy.threads,
            "info": dict(request.info),
            "listeners": dict(request.listeners),
            "script": request.script,
            "announce": announce,
        }

    def _build_limits(self) -> dict[str, int]:
        policy = self.policy
        limits = {"RLIMIT_CORE": 0, "RLIMIT_CPU": policy.cpu_s, "RLIMIT_NPROC": policy.processes}
        limits |= {"RLIMIT_NOFILE": policy.open_files, "RLIMIT_FSIZE": policy.file_mib * MIB}
        if self.group is None and not policy.gpus:  # stops one sudden allocation; others the watchdog sees first
            limits["RLIMIT_DATA"] = (2 * policy.memory_mib + 1024) * MIB
        return limits


Launcher = Callable[[KernelRequest, Confinement], RunningKernel]


def supervise(launch: Launcher, policy: SandboxPolicy, link: Link, leash: int | None) -> None:
    """Serve the one request that comes over `link`. Returns when nothing of it is left."""
    try:
        request = link.receive_request(REQUEST_TIMEOUT_S)
    except (OSError, EOFError, ValueError, KeyError):
        return  # nobody is there, or nobody who knows the protocol
    group = Group.create(policy)
    try:
        ending = _run(launch, request, Confinement(policy, Identity.choose(), group), link, leash)
    except Exception as error:  # any of them is a failure of the grader and must not look like the student's
        ending = Ending(fault=f"the sandbox failed: {describe_error(error)}")
    finally:
        if group is not None:
            group.remove()
        with contextlib.suppress(OSError):
            remove(request.folder)
    with contextlib.suppress(OSError):
        link.send({"event": "ended", "ending": asdict(ending)})


def _run(launch: Launcher, request: KernelRequest, confine: Confinement, link: Link, leash: int | None) -> Ending:
    policy = confine.policy
    running = launch(request, confine)
    for descriptor in request.listeners.values():
        os.close(descriptor)  # so that they close with the kernel
    meter = running.meter or confine.group or Watchdog(policy.memory_mib, below=os.getpid())
    monitor = KernelMonitor(running, policy, meter, link, leash)
    try:
        ending = monitor.run()
    except BaseException:
        running.kill()
        raise
    found = CollectedFiles()
    if monitor.is_wanted:
        most = {"total_mib": policy.evidence_mib, "files": policy.evidence_files}
        found = collect(running.evidence, request.workspace.evidence, **most)
    running.release()
    # names are cut to what fits into a message: the notebook chose how many there are, and how long
    copied, refused = (tuple(name[:300] for name in names[:50]) for names in (found.copied, found.refused))
    return replace(ending, evidence=copied, refused=refused)


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
    is_wanted: bool = True  # False once the grader is gone
    _killing: bool = False
    _announced: bytes = b""
    _started_s: float = field(default_factory=time.monotonic)
    _disk_at_s: float = 0.0

    def run(self) -> Ending:
        """Watch until the kernel is dead; return its ending. Until then it stays a zombie, whose pid is not reused."""
        handle = os.pidfd_open(self.running.process)
        poll = select.poll()
        for descriptor in (handle, self.link.fileno(), self.running.announce, self.leash):
            if descriptor is not None:
                poll.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(LOOK_EVERY_MS)}
            if self.running.announce in ready and not self._read_announcement():
                poll.unregister(self.running.announce)
            if handle in ready:
                os.close(handle)
                return self._end()
            if self.is_wanted:
                self._read_orders(ready)
            self._check_limits()
            if self._killing:
                self.running.kill()

    def _read_orders(self, ready: set[int]) -> None:
        try:
            if self.leash in ready:
                raise EOFError("the parent is gone")
            for message in self.link.receive() if self.link.fileno() in ready else ():
                self._stop(Stop(message["stop"]) if message["stop"] else None)
        except EOFError:
            self.is_wanted, self._killing = False, True

    def _check_limits(self) -> None:
        if time.monotonic() - self._started_s > self.policy.wall_s:
            self._stop(Stop.WALL)
        elif self.meter.is_exceeded():
            self._stop(Stop.MEMORY)
        elif self._is_disk_full():
            self._stop(Stop.DISK)

    def _is_disk_full(self) -> bool:
        now = time.monotonic()
        if now - self._disk_at_s < DISK_EVERY_S:
            return False
        self._disk_at_s = now
        if self.running.writable is None:  # then the scratch is bounded by its own size, and so is the evidence
            return is_full(self.running.evidence)
        used_mib, entries = measure_usage(self.running.writable)
        return used_mib > self.policy.scratch_mib + self.policy.evidence_mib or entries > self.policy.inodes

    def _stop(self, reason: Stop | None) -> None:
        """Record first, kill afterwards."""
        self.reason = self.reason or reason
        self._killing = True

    def _read_announcement(self) -> bool:
        """Read what kernel_entry.py reports. Return False at its end."""
        data = os.read(self.running.announce, 4096)
        self._announced += data
        if self._announced == b"+\n":
            self._announced = b""
            with contextlib.suppress(OSError):
                self.link.send({"event": "ready"})
        else:  # kernel_entry.py, or the backend's own program, reports an error
            self.fault = self._announced.decode(errors="replace").strip(" -\n") or None
        return bool(data)

    def _end(self) -> Ending:
        self.running.kill()  # what the kernel left running
        _, status, used = os.wait4(self.running.process, 0)
        code = os.waitstatus_to_exitcode(status)
        code = 128 - code if code > 128 else code  # launchers in between report signals as shells do
        if self.running.last is not None:
            select.select([self.running.last], [], [], REQUEST_TIMEOUT_S)
            os.close(self.running.last)
        while self._read_announcement():
            pass
        os.close(self.running.announce)
        if self.reason is None and self.running.writable is None and is_full(self.running.evidence):
            self.reason = Stop.DISK  # since the last look
        if self.reason is None:
            self._find_reason(code, used.ru_utime + used.ru_stime)
        return Ending(exit_code=code, stopped_by=self.reason, peak_memory_mib=self.meter.peak_mib(), fault=self.fault)

    def _find_reason(self, code: int, used_s: float) -> None:
        """Record why the kernel ended, where the system stopped it and not this process."""
        was_killed = code == -signal.SIGKILL
        by_system = was_killed and not self._killing
        outer_s = resource.getrlimit(resource.RLIMIT_CPU)[1]  # what the grader's own surroundings leave to a process
        cpu_s = math.inf if outer_s == resource.RLIM_INFINITY else outer_s
        if was_killed and self.meter.was_exceeded():
            self.reason = Stop.MEMORY
            return
        if by_system and self.meter.was_starved():
            self.fault = self.fault or STARVED
        if code == -signal.SIGXCPU or (by_system and used_s >= min(self.policy.cpu_s, cpu_s)):
            if cpu_s < self.policy.cpu_s:  # a limit from outside, of which nobody was told
                self.fault = self.fault or LITTLE_TIME.format(cpu_s)
            else:
                self.reason = Stop.CPU
