"""The system-call filter, assembled here so that no libseccomp is needed.

A filter is a list of classic BPF instructions of 8 bytes, which Linux runs on every system call. They read `struct
seccomp_data`: the call's number at byte 0, the architecture at 4, the six arguments from 16 on, 8 bytes each, of which
the low half comes first on both architectures here. Arguments that are pointers cannot be followed.

Everything that is not listed is allowed: the filter is the last of several walls, and the calls of a numeric library
change with every release. The lists hold calls that reach a part of Linux which namespaces and limits do not cover
(AF_VSOCK ignores network namespaces), undo them (unshare, mount, setns), look into other processes, or hold memory that
a watchdog does not see. `clone3` answers ENOSYS, since its flags lie behind a pointer: the C library then falls back to
`clone`, whose flags are an argument.

Without namespaces (backend landlock), a kernel runs as the grader's own user, among everything else of that user. The
filter then also answers calls that Landlock does not check: changes of modes, owners, times and attributes of files, of
limits and priorities of processes, and datagrams.

There are two architectures, x86_64 and aarch64; on others `build_program` raises and the backend is not used.
"""

import errno
import platform
import struct
from collections.abc import Iterable
from typing import Final

# Tables of `name number-of-x86_64 number-of-aarch64`; "-": the call does not exist there. Sources: asm/unistd_64.h,
# asm-generic/unistd.h.
Numbers = tuple[int | None, int | None]


def _read_table(text: str) -> dict[str, Numbers]:
    entries = [entry.split() for line in text.splitlines() if not line.startswith("#") for entry in line.split(";")]
    return {name: (_read_number(x86_64), _read_number(aarch64)) for name, x86_64, aarch64 in filter(None, entries)}


def _read_number(text: str) -> int | None:
    return None if text == "-" else int(text)


ALWAYS_DENIED: Final = _read_table("""
# other processes
ptrace 101 117; process_vm_readv 310 270; process_vm_writev 311 271; process_madvise 440 440
pidfd_getfd 438 438; kcmp 312 272
# namespaces and mounts
unshare 272 97; setns 308 268; mount 165 40; umount2 166 39; pivot_root 155 41; chroot 161 51
open_tree 428 428; open_tree_attr 467 467; move_mount 429 429; fsopen 430 430; fsconfig 431 431
fsmount 432 432; fspick 433 433; mount_setattr 442 442; name_to_handle_at 303 264; open_by_handle_at 304 265
fanotify_init 300 262
# memory that is mapped nowhere, and System V or POSIX objects: none can be made, those of others are left alone
memfd_secret 447 447; shmget 29 194; shmat 30 196; shmctl 31 195; semget 64 190; semop 65 193
semtimedop 220 192; semctl 66 191; msgget 68 186; msgsnd 69 189; msgrcv 70 188; msgctl 71 187; mq_open 240 180
mq_unlink 241 181
# large interfaces of Linux that no notebook needs
bpf 321 280; perf_event_open 298 241; userfaultfd 323 282; io_uring_setup 425 425; io_uring_enter 426 426
io_uring_register 427 427; keyctl 250 219; add_key 248 217; request_key 249 218; lookup_dcookie 212 18
personality 135 92; modify_ldt 154 -; iopl 172 -; ioperm 173 -
# the machine itself
kexec_load 246 104; kexec_file_load 320 294; init_module 175 105; finit_module 313 273; delete_module 176 106
swapon 167 224; swapoff 168 225; reboot 169 142; settimeofday 164 170; clock_settime 227 112
clock_adjtime 305 266; adjtimex 159 171; sethostname 170 161; setdomainname 171 162; acct 163 89
quotactl 179 60; quotactl_fd 443 443; syslog 103 116; vhangup 153 58
""")
# The rest is for kernels without namespaces. The calls of this table change a file without opening it, and Landlock
# checks none of them. They answer success and do nothing: an error would break whatever copies or unpacks files.
PRETENDED: Final = _read_table("""
chmod 90 -; fchmod 91 52; fchmodat 268 53; fchmodat2 452 452; chown 92 -; fchown 93 55; lchown 94 -
fchownat 260 54; utime 132 -; utimes 235 -; futimesat 261 -; utimensat 280 88; setxattr 188 5; lsetxattr 189 6
fsetxattr 190 7; setxattrat 463 463; removexattr 197 14; lremovexattr 198 15; fremovexattr 199 16
removexattrat 466 466; file_setattr 469 469
""")
# Their first argument is a process or thread, 0 the caller. For others the first is denied; the rest do nothing, since
# the C library passes a number for the caller's own threads too (pthread_setaffinity_np).
PRLIMIT64: Final = (302, 261)
SCHEDULING: Final = {
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
}
# Numbers, and the first argument that makes the second a process; 0 is the caller. Others are groups and users.
PRIORITIES: Final = {"setpriority": ((141, 140), 0), "ioprio_set": ((251, 30), 1)}
INOTIFY_ADD_WATCH: Final = (254, 27)  # Landlock does not check it, and it tells which files of the user come and go
MEMFD_CREATE, CLONE, CLONE3 = (319, 279), (56, 220), (435, 435)
SOCKET, SOCKETPAIR, CONNECT, IOCTL = (41, 198), (53, 199), (42, 203), (16, 29)

ARCHITECTURES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_*
NEW_NAMESPACES: Final = 0x7E020080  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET, TIME
X32_CALLS: Final = 0x40000000  # a second table of numbers on x86_64
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
SOCK_STREAM, SOCK_SEQPACKET = 1, 5
TYPE_OF_SOCKET: Final = 0xF  # without SOCK_NONBLOCK and SOCK_CLOEXEC
TIOCSTI, TIOCLINUX = 0x5412, 0x541C  # type into the terminal of others
# Second byte of requests that change files which are open for reading only: flags ('f', 'X'), verity, subvolumes.
OF_FILE_SYSTEMS: Final = (0x6600, 0x5800, 0x9400)
KIND_OF_IOCTL: Final = 0xFF00

ALLOW: Final = 0x7FFF0000
KILL: Final = 0x80000000
# BPF_LD+W+ABS, BPF_JMP+…, BPF_ALU+AND, BPF_RET
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE = 0, 4


def build_program(
    machine: str = platform.machine(), *, memfd: bool, sockets: bool = True, denial: int = errno.EPERM
) -> bytes:
    """Build the filter for `machine`, as bytes.

    memfd: allow memfd_create, which GPU drivers use; only where a cgroup counts such memory.
    sockets: namespaces make IPv4, IPv6 and connect() harmless, and keep files and processes of the user out of reach.
        Without them, the filter does what it can instead: see `_deny_unprotected`.
    denial: errno of a denied call.
    """
    column, architecture = ARCHITECTURES[machine]
    deny = _return_error(denial)
    code = [_encode(_LOAD, _ARCHITECTURE), _encode(_EQUAL, architecture, 1, 0), _stop(KILL), _encode(_LOAD, _NUMBER)]
    if machine == "x86_64":
        code += [_encode(_AT_LEAST, X32_CALLS, 0, 1), _stop(_return_error(errno.ENOSYS))]
    code += _answer([*ALWAYS_DENIED.values(), *([] if memfd else [MEMFD_CREATE])], column, deny)
    code += _when(CLONE3[column], [_stop(_return_error(errno.ENOSYS))])
    code += _when(CLONE[column], [_argument(0), _encode(_ANY_BIT, NEW_NAMESPACES, 0, 1), _stop(deny), _stop(ALLOW)])
    code += _when(IOCTL[column], _ioctl_rules(sockets, deny))
    for number in (SOCKET[column], SOCKETPAIR[column]):
        code += _when(number, _socket_rules(sockets))
    code += [] if sockets else _deny_unprotected(column, deny)
    code += [_stop(ALLOW)]
    return b"".join(code)


def _deny_unprotected(column: int, deny: int) -> list[bytes]:
    """Answer calls on files, processes and sockets that only their owner could protect: the kernel's own user."""
    code = _answer([CONNECT, INOTIFY_ADD_WATCH], column, deny) + _answer(PRETENDED.values(), column, _return_error(0))
    code += _when(PRLIMIT64[column], [_argument(0), *_unless(0, deny), _stop(ALLOW)])
    for numbers in SCHEDULING.values():
        code += _when(numbers[column], [_argument(0), *_unless(0, _return_error(0)), _stop(ALLOW)])
    for numbers, process in PRIORITIES.values():
        own = [_argument(0), *_unless(process, deny), _argument(1), *_unless(0, deny), _stop(ALLOW)]
        code += _when(numbers[column], own)
    return code


def _ioctl_rules(namespaces: bool, deny: int) -> list[bytes]:
    """Answer requests. Landlock does not check those on files: they get the answer for unknown requests."""
    code = [_argument(1), *_one_of((TIOCSTI, TIOCLINUX), deny)]
    if not namespaces:
        code += [_encode(_AND, KIND_OF_IOCTL), *_one_of(OF_FILE_SYSTEMS, _return_error(errno.ENOTTY))]
    return [*code, _stop(ALLOW)]


def _socket_rules(internet: bool) -> list[bytes]:
    """Allow some socket families. zmq lists network interfaces through NETLINK_ROUTE and aborts without it."""
    refuse = _return_error(errno.EAFNOSUPPORT)
    code = [_argument(0)]
    if internet:
        code += _one_of((AF_UNIX, AF_INET, AF_INET6), ALLOW)
    else:  # any other type (Linux takes SOCK_RAW for one too) is a datagram socket, which sends without connect()
        connected = _one_of((SOCK_STREAM, SOCK_SEQPACKET), ALLOW)
        code += _when(AF_UNIX, [_argument(1), _encode(_AND, TYPE_OF_SOCKET), *connected, _stop(refuse)])
    return [*code, *_unless(AF_NETLINK, refuse), _argument(2), *_unless(0, refuse), _stop(ALLOW)]


def _answer(calls: Iterable[Numbers], column: int, action: int) -> list[bytes]:
    """Take the same action for all of these calls, as far as they exist."""
    return _one_of([numbers[column] for numbers in calls], action)


def _one_of(values: Iterable[int | None], action: int) -> list[bytes]:
    given = [value for value in values if value is not None]
    return [instruction for value in given for instruction in (_encode(_EQUAL, value, 0, 1), _stop(action))]


def _unless(value: int, action: int) -> list[bytes]:
    return [_encode(_EQUAL, value, 1, 0), _stop(action)]


def _when(number: int, body: list[bytes]) -> list[bytes]:
    """Run `body`, which must end the program, for one value (a system call, mostly); the others jump over it."""
    return [_encode(_EQUAL, number, 0, len(body)), *body]


def _return_error(error: int) -> int:
    return 0x00050000 | error  # SECCOMP_RET_ERRNO


def _argument(index: int) -> bytes:
    return _encode(_LOAD, 16 + 8 * index)  # the low 32 bits


def _stop(action: int) -> bytes:
    return _encode(_RETURN, action)


def _encode(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", operation, if_true, if_false, value)
