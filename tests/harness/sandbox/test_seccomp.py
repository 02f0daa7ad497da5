"""The filter, read by an interpreter of classic BPF for both architectures, and by the running Linux for its own."""

import errno
import json
import platform
import re
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from grader.sandbox.walls import seccomp

from .conftest import run_command

MACHINES = sorted(seccomp.ARCHITECTURES)
DENIAL = 77  # an errno that no system call returns by itself
ALLOWED = seccomp.ALLOW
NUMBERS = (DENIAL, errno.ENOSYS, errno.EAFNOSUPPORT, errno.ENOTTY, 0)
DENIED, NO_SUCH_CALL, NO_SUCH_FAMILY, NO_SUCH_REQUEST, PRETENDED = (0x00050000 | number for number in NUMBERS)
ALONE = {"sockets": False}  # what a kernel without namespaces gets
SINGLE = (
    *("memfd_create", "clone", "clone3", "socket", "socketpair", "connect", "ioctl"),
    *("prlimit64", "inotify_add_watch"),
)
CALLS: dict[str, tuple[int | None, int | None]] = {
    **seccomp.ALWAYS_DENIED,
    **seccomp.PRETENDED,
    **seccomp.SCHEDULING,
    **{name: numbers for name, (numbers, _) in seccomp.PRIORITIES.items()},
    **{name: getattr(seccomp, name.upper()) for name in SINGLE},
}
HEADERS = {"x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "/usr/include/asm-generic/unistd.h"}


def evaluate(program: bytes, number: int, *arguments: int, architecture: int) -> int:
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *padded)
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator, position = 0, 0
    while True:
        operation, if_true, if_false, value = code[position]
        position += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x06:
            return int(value)
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[operation]
            position += if_true if holds else if_false


def answer(machine: str, name: str, *arguments: int, **options: bool) -> int:
    column, architecture = seccomp.ARCHITECTURES[machine]
    number = CALLS[name][column]
    assert number is not None
    program = seccomp.build_program(machine, **{"memfd": False, **options}, denial=DENIAL)
    return evaluate(program, number, *arguments, architecture=architecture)


each_machine = pytest.mark.parametrize("machine", MACHINES)


def list_known(calls: Mapping[str, tuple[int | None, int | None]], machine: str) -> dict[str, int]:
    column, _ = seccomp.ARCHITECTURES[machine]
    return {name: number for name, numbers in calls.items() if (number := numbers[column]) is not None}


# What a call is answered: in namespaces, and without any.
CONDITIONS = {
    "memfd": (("memfd_create",), DENIED, DENIED),
    "clone3": (("clone3",), NO_SUCH_CALL, NO_SUCH_CALL),
    "fork": (("clone", 0x01200011), ALLOWED, ALLOWED),
    "thread": (("clone", 0x003D0F00), ALLOWED, ALLOWED),
    "new user namespace": (("clone", 0x10000011), DENIED, DENIED),
    "new process namespace": (("clone", 0x20000000), DENIED, DENIED),
    "new time namespace": (("clone", 0x00000080), DENIED, DENIED),
    "unix stream": (("socket", 1, 1, 0), ALLOWED, ALLOWED),
    "unix datagrams": (("socket", 1, 0x80002, 0), ALLOWED, NO_SUCH_FAMILY),
    "raw unix socket, which Linux takes for datagrams": (("socket", 1, 0x80803, 0), ALLOWED, NO_SUCH_FAMILY),
    "a type that unix sockets do not have": (("socket", 1, 4, 0), ALLOWED, NO_SUCH_FAMILY),
    "unix packets over a connection": (("socket", 1, 0x80805, 0), ALLOWED, ALLOWED),
    "IPv4": (("socket", 2, 1, 0), ALLOWED, NO_SUCH_FAMILY),
    "IPv6": (("socket", 10, 1, 0), ALLOWED, NO_SUCH_FAMILY),
    "netlink, routes": (("socket", 16, 3, 0), ALLOWED, ALLOWED),
    "netlink, audit": (("socket", 16, 3, 9), NO_SUCH_FAMILY, NO_SUCH_FAMILY),
    "vsock": (("socket", 40, 1, 0), NO_SUCH_FAMILY, NO_SUCH_FAMILY),
    "packet": (("socket", 17, 3, 0), NO_SUCH_FAMILY, NO_SUCH_FAMILY),
    "crypto of Linux": (("socket", 38, 5, 0), NO_SUCH_FAMILY, NO_SUCH_FAMILY),
    "connect": (("connect", 3), ALLOWED, DENIED),
    "pair of streams, as asyncio makes": (("socketpair", 1, 0x80801, 0), ALLOWED, ALLOWED),
    "pair of datagram sockets": (("socketpair", 1, 2, 0), ALLOWED, NO_SUCH_FAMILY),
    "pair of raw sockets": (("socketpair", 1, 3, 0), ALLOWED, NO_SUCH_FAMILY),
    "pair of another family": (("socketpair", 30, 1, 0), NO_SUCH_FAMILY, NO_SUCH_FAMILY),
    "own limits": (("prlimit64", 0, 7), ALLOWED, ALLOWED),
    "own limits; Linux reads the low half": (("prlimit64", 0xFFFFFFFF00000000, 7), ALLOWED, ALLOWED),
    "limits of others": (("prlimit64", 1234, 7), ALLOWED, DENIED),
    "own priority": (("setpriority", 0, 0, 5), ALLOWED, ALLOWED),
    "priority of others": (("setpriority", 0, 1234, 5), ALLOWED, DENIED),
    "priority of a process group": (("setpriority", 1, 0, 5), ALLOWED, DENIED),
    "priority of a user": (("setpriority", 2, 0, 5), ALLOWED, DENIED),
    "own priority at the disk": (("ioprio_set", 1, 0, 5), ALLOWED, ALLOWED),
    "priority of others at the disk": (("ioprio_set", 1, 1234, 5), ALLOWED, DENIED),
    "priority of a user at the disk": (("ioprio_set", 3, 0, 5), ALLOWED, DENIED),
    "own processors": (("sched_setaffinity", 0, 8), ALLOWED, ALLOWED),
    "processors of others, or of a thread": (("sched_setaffinity", 1234, 8), ALLOWED, PRETENDED),
    "watching folders": (("inotify_add_watch", 3), ALLOWED, DENIED),
    "flags of a file": (("ioctl", 3, 0x40086602), ALLOWED, NO_SUCH_REQUEST),
    "extended flags of a file": (("ioctl", 3, 0x401C5820), ALLOWED, NO_SUCH_REQUEST),
    "a request to a GPU": (("ioctl", 3, 0xC020462A), ALLOWED, ALLOWED),
    "terminal settings": (("ioctl", 0, 0x5401), ALLOWED, ALLOWED),
    "typing for others": (("ioctl", 0, 0x5412), DENIED, DENIED),
}


@each_machine
@pytest.mark.parametrize(("call", "inside", "alone"), CONDITIONS.values(), ids=CONDITIONS)
def test_conditions(machine: str, call: tuple[str, int], inside: int, alone: int) -> None:
    assert (answer(machine, *call), answer(machine, *call, **ALONE)) == (inside, alone)


@each_machine
def test_listed_calls(machine: str) -> None:
    """Files keep what Landlock does not look at, and the answer is success: copies and unpacking have to go on."""
    denied, pretended = (list_known(calls, machine) for calls in (seccomp.ALWAYS_DENIED, seccomp.PRETENDED))
    assert {name: answer(machine, name) for name in denied} == dict.fromkeys(denied, DENIED)
    assert {name: answer(machine, name, **ALONE) for name in pretended} == dict.fromkeys(pretended, PRETENDED)
    assert {name: answer(machine, name) for name in pretended} == dict.fromkeys(pretended, ALLOWED)
    assert answer(machine, "memfd_create", memfd=True) == ALLOWED  # where a control group counts such memory


@each_machine
@pytest.mark.parametrize("options", [{}, ALONE], ids=["namespaces", "none"])
def test_everything_else_is_allowed(machine: str, options: dict[str, bool]) -> None:
    _, architecture = seccomp.ARCHITECTURES[machine]
    program = seccomp.build_program(machine, memfd=False, **options)
    others = set(range(480)) - set(list_known(CALLS, machine).values())
    assert {evaluate(program, number, architecture=architecture) for number in others} == {ALLOWED}


@each_machine
def test_numbers_are_those_of_linux(machine: str) -> None:
    """As far as the headers of the C library here know the calls."""
    header = Path(HEADERS[machine])
    if not header.is_file():
        pytest.skip("needs the headers of Linux: apt install linux-libc-dev")
    defined = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(encoding="utf-8"), re.MULTILINE)
    known = {name: int(number) for name, number in defined if name != "syscalls"}  # how many there are
    column, _ = seccomp.ARCHITECTURES[machine]
    here = {name: pair[column] for name, pair in CALLS.items() if name in known}
    assert here == {name: known[name] for name in here}
    newest = max(known.values())
    missing = {name for name, pair in CALLS.items() if (pair[column] or newest + 1) <= newest and name not in known}
    assert missing == set()


def test_foreign_calls_and_architectures_are_refused() -> None:
    program = seccomp.build_program("x86_64", memfd=False)
    assert evaluate(program, 0, architecture=0x40000003) == seccomp.KILL  # 32-bit calls on a 64-bit system
    assert evaluate(program, 0x40000000 + 59, architecture=0xC000003E) == NO_SUCH_CALL  # the x32 table
    with pytest.raises(KeyError):
        seccomp.build_program("riscv64", memfd=False)


LIVE = """
import ctypes, json, sys
from grader.sandbox.walls import kernel_entry, seccomp
numbers = json.loads(sys.argv[1])
kernel_entry.install_filter(seccomp.build_program(memfd=False, denial=77))
libc = ctypes.CDLL(None, use_errno=True)
seen = {}
for name, number in numbers.items():
    ctypes.set_errno(0)
    result = libc.syscall(number, -1, -1, -1, -1, -1, -1)
    seen[name] = ctypes.get_errno() if result == -1 else 0
print(json.dumps(seen))
"""


@pytest.mark.skipif(platform.machine() not in MACHINES, reason="no filter for this architecture")
def test_linux_agrees() -> None:
    denied = {**seccomp.ALWAYS_DENIED, "memfd_create": seccomp.MEMFD_CREATE}
    numbers = list_known(denied, platform.machine())
    done = run_command(sys.executable, "-c", LIVE, json.dumps(numbers))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == dict.fromkeys(numbers, DENIAL)
