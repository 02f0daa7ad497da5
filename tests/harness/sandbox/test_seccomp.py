"""The filter, read by an interpreter of classic BPF for both architectures, and by the running Linux for its own."""

import ctypes
import errno
import json
import platform
import re
import struct
import sys
from pathlib import Path

import pytest

from grader.sandbox.walls import seccomp

from .conftest import run_command

MACHINES = sorted(seccomp.ARCHITECTURES)
DENIAL = 77  # an errno that no system call returns by itself
ALLOWED = seccomp.ALLOW
DENIED = 0x00050000 | DENIAL
NO_SUCH_CALL = 0x00050000 | errno.ENOSYS
NO_SUCH_FAMILY = 0x00050000 | errno.EAFNOSUPPORT
NO_SUCH_REQUEST = 0x00050000 | errno.ENOTTY
PRETENDED = 0x00050000
ALONE = {"sockets": False}  # what a kernel without namespaces gets
CALLS: dict[str, tuple[int | None, int | None]] = {
    **seccomp.ALWAYS_DENIED,
    **seccomp.PRETENDED,
    **seccomp.SCHEDULING,
    **{name: numbers for name, (numbers, _) in seccomp.PRIORITIES.items()},
    "memfd_create": seccomp.MEMFD_CREATE,
    "clone": seccomp.CLONE,
    "clone3": seccomp.CLONE3,
    "socket": seccomp.SOCKET,
    "socketpair": seccomp.SOCKETPAIR,
    "connect": seccomp.CONNECT,
    "ioctl": seccomp.IOCTL,
    "prlimit64": seccomp.PRLIMIT64,
    "inotify_add_watch": seccomp.INOTIFY_ADD_WATCH,
}
HEADERS = {"x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "/usr/include/asm-generic/unistd.h"}


def evaluate(program: bytes, number: int, *arguments: int, architecture: int) -> int:
    """What the filter returns for one system call."""
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


@pytest.mark.parametrize("machine", MACHINES)
def test_every_listed_call_is_denied(machine: str) -> None:
    column, _ = seccomp.ARCHITECTURES[machine]
    names = [name for name, numbers in seccomp.ALWAYS_DENIED.items() if numbers[column] is not None]
    assert {name: answer(machine, name) for name in names} == dict.fromkeys(names, DENIED)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("call", "options", "expected"),
    [
        pytest.param(("memfd_create",), {}, DENIED, id="memfd"),
        pytest.param(("memfd_create",), {"memfd": True}, ALLOWED, id="memfd, counted by a control group"),
        pytest.param(("clone3",), {}, NO_SUCH_CALL, id="clone3"),
        pytest.param(("clone", 0x01200011), {}, ALLOWED, id="fork"),
        pytest.param(("clone", 0x003D0F00), {}, ALLOWED, id="thread"),
        pytest.param(("clone", 0x10000011), {}, DENIED, id="new user namespace"),
        pytest.param(("clone", 0x20000000), {}, DENIED, id="new process namespace"),
        pytest.param(("clone", 0x00000080), {}, DENIED, id="new time namespace"),
        pytest.param(("socket", 1, 1, 0), {}, ALLOWED, id="unix socket"),
        pytest.param(("socket", 2, 1, 0), {}, ALLOWED, id="IPv4"),
        pytest.param(("socket", 10, 1, 0), {}, ALLOWED, id="IPv6"),
        pytest.param(("socket", 16, 3, 0), {}, ALLOWED, id="netlink, routes"),
        pytest.param(("socket", 16, 3, 9), {}, NO_SUCH_FAMILY, id="netlink, audit"),
        pytest.param(("socket", 40, 1, 0), {}, NO_SUCH_FAMILY, id="vsock"),
        pytest.param(("socket", 17, 3, 0), {}, NO_SUCH_FAMILY, id="packet"),
        pytest.param(("socket", 38, 5, 0), {}, NO_SUCH_FAMILY, id="kernel crypto"),
        pytest.param(("connect", 3), {}, ALLOWED, id="connect"),
        pytest.param(("connect", 3), ALONE, DENIED, id="connect without a network namespace"),
        pytest.param(("socket", 2, 1, 0), ALONE, NO_SUCH_FAMILY, id="IPv4 without a network namespace"),
        pytest.param(("socket", 1, 1, 0), ALONE, ALLOWED, id="unix stream without a network namespace"),
        pytest.param(("socket", 1, 0x80002, 0), ALONE, NO_SUCH_FAMILY, id="unix datagrams without one"),
        pytest.param(("socket", 1, 0x80803, 0), ALONE, NO_SUCH_FAMILY, id="raw, which Linux takes for datagrams"),
        pytest.param(("socket", 1, 4, 0), ALONE, NO_SUCH_FAMILY, id="a type that unix sockets do not have"),
        pytest.param(("socket", 1, 0x80805, 0), ALONE, ALLOWED, id="unix packets over a connection"),
        pytest.param(("socket", 1, 3, 0), {}, ALLOWED, id="raw unix socket in namespaces"),
        pytest.param(("socket", 16, 3, 0), ALONE, ALLOWED, id="netlink without a network namespace"),
        pytest.param(("socketpair", 1, 0x80801, 0), ALONE, ALLOWED, id="pair of streams, as asyncio makes"),
        pytest.param(("socketpair", 1, 2, 0), ALONE, NO_SUCH_FAMILY, id="pair of datagram sockets"),
        pytest.param(("socketpair", 1, 3, 0), ALONE, NO_SUCH_FAMILY, id="pair of raw sockets"),
        pytest.param(("socketpair", 1, 2, 0), {}, ALLOWED, id="pair of datagram sockets in namespaces"),
        pytest.param(("socketpair", 30, 1, 0), {}, NO_SUCH_FAMILY, id="pair of another family"),
        pytest.param(("prlimit64", 0, 7), ALONE, ALLOWED, id="own limits"),
        pytest.param(("prlimit64", 1234, 7), ALONE, DENIED, id="limits of others"),
        pytest.param(("prlimit64", 0xFFFFFFFF00000000, 7), ALONE, ALLOWED, id="own limits; Linux reads the low half"),
        pytest.param(("prlimit64", 1234, 7), {}, ALLOWED, id="limits of others in namespaces"),
        pytest.param(("setpriority", 0, 0, 5), ALONE, ALLOWED, id="own priority"),
        pytest.param(("setpriority", 0, 1234, 5), ALONE, DENIED, id="priority of others"),
        pytest.param(("setpriority", 1, 0, 5), ALONE, DENIED, id="priority of a process group"),
        pytest.param(("setpriority", 2, 0, 5), ALONE, DENIED, id="priority of a user"),
        pytest.param(("ioprio_set", 1, 0, 5), ALONE, ALLOWED, id="own priority at the disk"),
        pytest.param(("ioprio_set", 1, 1234, 5), ALONE, DENIED, id="priority of others at the disk"),
        pytest.param(("ioprio_set", 3, 0, 5), ALONE, DENIED, id="priority of a user at the disk"),
        pytest.param(("sched_setaffinity", 0, 8), ALONE, ALLOWED, id="own processors"),
        pytest.param(("sched_setaffinity", 1234, 8), ALONE, PRETENDED, id="processors of others, or of a thread"),
        pytest.param(("sched_setaffinity", 1234, 8), {}, ALLOWED, id="processors of a thread in namespaces"),
        pytest.param(("inotify_add_watch", 3), ALONE, DENIED, id="watching folders"),
        pytest.param(("inotify_add_watch", 3), {}, ALLOWED, id="watching folders in namespaces"),
        pytest.param(("ioctl", 3, 0x40086602), ALONE, NO_SUCH_REQUEST, id="flags of a file"),
        pytest.param(("ioctl", 3, 0x401C5820), ALONE, NO_SUCH_REQUEST, id="extended flags of a file"),
        pytest.param(("ioctl", 3, 0x40086602), {}, ALLOWED, id="flags of a file in namespaces"),
        pytest.param(("ioctl", 3, 0x5401), ALONE, ALLOWED, id="terminal settings without namespaces"),
        pytest.param(("ioctl", 3, 0xC020462A), ALONE, ALLOWED, id="a request to a GPU"),
        pytest.param(("ioctl", 0, 0x5401), {}, ALLOWED, id="terminal settings"),
        pytest.param(("ioctl", 0, 0x5412), {}, DENIED, id="typing for others"),
    ],
)
def test_conditions(machine: str, call: tuple[str, int], options: dict[str, bool], expected: int) -> None:
    assert answer(machine, *call, **options) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_files_keep_what_landlock_does_not_look_at(machine: str) -> None:
    """Answered with success: copies and unpacking have to go on."""
    column, _ = seccomp.ARCHITECTURES[machine]
    names = [name for name, numbers in seccomp.PRETENDED.items() if numbers[column] is not None]
    assert {name: answer(machine, name, **ALONE) for name in names} == dict.fromkeys(names, PRETENDED)
    assert {name: answer(machine, name) for name in names} == dict.fromkeys(names, ALLOWED)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("options", [pytest.param({}, id="namespaces"), pytest.param(ALONE, id="none")])
def test_everything_else_is_allowed(machine: str, options: dict[str, bool]) -> None:
    column, architecture = seccomp.ARCHITECTURES[machine]
    named = {pair[column] for pair in CALLS.values()}
    program = seccomp.build_program(machine, memfd=False, **options)
    others = [number for number in range(480) if number not in named]
    assert {evaluate(program, number, architecture=architecture) for number in others} == {ALLOWED}


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_are_those_of_linux(machine: str) -> None:
    """As far as the headers of the C library here know the calls."""
    header = Path(HEADERS[machine])
    if not header.is_file():
        pytest.skip("needs the headers of Linux: apt install linux-libc-dev")
    defined = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(encoding="utf-8"), re.MULTILINE)
    known = {name: int(number) for name, number in defined if name != "syscalls"}  # how many there are
    column, _ = seccomp.ARCHITECTURES[machine]
    ours = {name: pair[column] for name, pair in CALLS.items() if name in known}
    assert ours == {name: known[name] for name in ours}
    newest = max(known.values())
    missing = {name for name, pair in CALLS.items() if (pair[column] or newest + 1) <= newest and name not in known}
    assert missing == set()


def test_foreign_calls() -> None:
    program = seccomp.build_program("x86_64", memfd=False)
    assert evaluate(program, 0, architecture=0x40000003) == seccomp.KILL  # 32-bit calls on a 64-bit system
    assert evaluate(program, 0x40000000 + 59, architecture=0xC000003E) == NO_SUCH_CALL  # the x32 table


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
    column, _ = seccomp.ARCHITECTURES[platform.machine()]
    numbers = {name: pair[column] for name, pair in seccomp.ALWAYS_DENIED.items() if pair[column] is not None}
    numbers["memfd_create"] = seccomp.MEMFD_CREATE[column]
    done = run_command(sys.executable, "-c", LIVE, json.dumps(numbers))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == dict.fromkeys(numbers, DENIAL)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(KeyError):
        seccomp.build_program("riscv64", memfd=False)
    assert ctypes.sizeof(ctypes.c_void_p) == 8
