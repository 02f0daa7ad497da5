"""The filter, read by an interpreter of classic BPF for both architectures, and by the running Linux for its own."""

import ctypes
import errno
import json
import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from grader.sandbox import seccomp

MACHINES = sorted(seccomp.ARCHITECTURES)
DENIAL = 77  # an errno that no system call returns by itself
ALLOWED = seccomp.ALLOW
DENIED = 0x00050000 | DENIAL
NO_SUCH_CALL = 0x00050000 | errno.ENOSYS
NO_SUCH_FAMILY = 0x00050000 | errno.EAFNOSUPPORT


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
    table = {**seccomp.ALWAYS_DENIED, "memfd_create": seccomp.MEMFD_CREATE, "clone": seccomp.CLONE}
    table |= {"clone3": seccomp.CLONE3, "socket": seccomp.SOCKET, "connect": seccomp.CONNECT, "ioctl": seccomp.IOCTL}
    number = table[name][column]
    assert number is not None
    program = seccomp.program(machine, **{"memfd": False, **options}, denial=DENIAL)
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
        pytest.param(("connect", 3), {"sockets": False}, DENIED, id="connect without a network namespace"),
        pytest.param(("socket", 2, 1, 0), {"sockets": False}, NO_SUCH_FAMILY, id="IPv4 without a network namespace"),
        pytest.param(("socket", 1, 1, 0), {"sockets": False}, ALLOWED, id="unix stream without a network namespace"),
        pytest.param(("socket", 1, 0x80002, 0), {"sockets": False}, NO_SUCH_FAMILY, id="unix datagrams without one"),
        pytest.param(("socket", 16, 3, 0), {"sockets": False}, ALLOWED, id="netlink without a network namespace"),
        pytest.param(("ioctl", 0, 0x5401), {}, ALLOWED, id="terminal settings"),
        pytest.param(("ioctl", 0, 0x5412), {}, DENIED, id="typing for others"),
    ],
)
def test_conditions(machine: str, call: tuple[str, int], options: dict[str, bool], expected: int) -> None:
    assert answer(machine, *call, **options) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_everything_else_is_allowed(machine: str) -> None:
    column, architecture = seccomp.ARCHITECTURES[machine]
    named = {numbers[column] for numbers in seccomp.ALWAYS_DENIED.values()}
    named |= {pair[column] for pair in (seccomp.MEMFD_CREATE, seccomp.CLONE3, seccomp.SOCKET)}
    program = seccomp.program(machine, memfd=False)
    others = [number for number in range(480) if number not in named]
    assert {evaluate(program, number, architecture=architecture) for number in others} == {ALLOWED}


def test_foreign_calls() -> None:
    program = seccomp.program("x86_64", memfd=False)
    assert evaluate(program, 0, architecture=0x40000003) == seccomp.KILL  # 32-bit calls on a 64-bit system
    assert evaluate(program, 0x40000000 + 59, architecture=0xC000003E) == NO_SUCH_CALL  # the x32 table


LIVE = """
import ctypes, json, sys
from grader.sandbox import inner, seccomp
numbers = json.loads(sys.argv[1])
inner.install_filter(seccomp.program(memfd=False, denial=77))
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
    done = subprocess.run(
        [sys.executable, "-c", LIVE, json.dumps(numbers)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == dict.fromkeys(numbers, DENIAL)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(KeyError):
        seccomp.program("riscv64", memfd=False)
    assert ctypes.sizeof(ctypes.c_void_p) == 8
