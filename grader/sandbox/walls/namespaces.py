"""A private world for one kernel, from Linux namespaces and mounts, by plain system calls.

The supervisor, which stays outside, calls `enter_supervisor`: it gets its own mount namespace (as an ordinary user also
a user namespace, in which it may mount) and in it a sized tmpfs, the scratch, for all that the kernel can write. The
host never sees it; its size bounds disk and memory at once, it vanishes with its last process, and the supervisor can
read evidence from it when the kernel is dead. Evidence has a tmpfs of its own in there: a notebook that fills its disk
must not take the room of what is recorded. `unshare_rest` prepares the other namespaces for the next fork.

That fork is process 1 of the new world and calls `enter_private_root`: a read-only tmpfs that shows the system's
libraries, the interpreter and the policy's folders read-only at their own paths, a few devices, a fresh /proc, and
parts of the scratch as /job, /evidence, /tmp, /home and /dev/shm. Nothing else of the host exists there. Last,
`drop_privileges`: no capabilities, an unprivileged uid, no way to gain privileges by exec.

As root, all mounts are made first and the uid is dropped afterwards, without a user namespace: the interpreter may lie
below a folder which the dropped uid cannot traverse. As an ordinary user the user namespace maps only that user.
"""

import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grader.sandbox.environment import USER, list_library_folders
from grader.sandbox.handover import copy_in
from grader.sandbox.policy import SandboxPolicy, Workspace

NEW_MOUNTS, NEW_CGROUPS, NEW_UTS, NEW_IPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEW_USER, NEW_PIDS, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
READ_ONLY, NO_SUID, NO_DEV, NO_EXEC, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DETACH: Final = 2
SET_PARENT_DEATH_SIGNAL, SET_DUMPABLE, DROP_FROM_BOUNDING_SET, NO_NEW_PRIVILEGES = 1, 4, 24, 38
MOUNT_SETATTR: Final = 442  # the same number on every architecture

JOB, EVIDENCE = "/job", "/evidence"
WRITABLE: Final = {"job": JOB, "evidence": EVIDENCE, "tmp": "/tmp", "home": "/home", "shm": "/dev/shm"}
DEVICES: Final = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom"))
SYSTEM_FOLDERS: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")
MOST_LINKS: Final = 40  # that Linux follows in one path

_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Identity:
    """The user that the kernel runs as. `dropped`: the supervisor is root and gives its rights away."""

    uid: int
    gid: int
    dropped: bool

    @classmethod
    def choose(cls) -> "Identity":
        """Choose the caller, or for root a uid that no other process has, so that limits count one kernel alone."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), dropped=False)
        uid = unique if _is_mapped(unique := 2**30 + os.getpid()) else 65534
        return cls(uid, uid, dropped=True)


def enter_supervisor() -> None:
    """Give the calling process its own mounts. It must have one thread. Raises OSError where that is not allowed."""
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", _libc.unshare(NEW_MOUNTS | (NEW_USER if uid else 0)))
    if uid:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
    _mount(None, "/", None, RECURSIVE | PRIVATE)


def make_scratch(folder: Path, workspace: Workspace, policy: SandboxPolicy, identity: Identity) -> None:
    """Mount the tmpfs on `folder`, in it one for evidence, and copy the job there. The kernel's user owns all."""
    options = f"size={{}}m,nr_inodes={policy.inodes},mode=755"
    _mount("tmpfs", str(folder), "tmpfs", NO_SUID | NO_DEV, options.format(policy.scratch_mib))
    copy_in(workspace.job, folder / "job")
    for name in WRITABLE:
        (folder / name).mkdir(exist_ok=True)
    _mount("tmpfs", str(folder / "evidence"), "tmpfs", NO_SUID | NO_DEV, options.format(policy.evidence_mib))
    for name in WRITABLE:
        (folder / name).chmod(0o700)
    hand_over(folder, identity)


def detach(folder: str) -> None:
    """Take the tmpfs off `folder`; its memory is free when the last user is gone."""
    _call("umount", _libc.umount2(folder.encode(), DETACH))


def hand_over(folder: Path, identity: Identity) -> None:
    """Make everything below `folder` belong to the kernel's user. Links are changed, not followed."""
    for parent, folders, files in os.walk(folder) if identity.dropped else ():
        for name in (*folders, *files):
            os.chown(Path(parent, name), identity.uid, identity.gid, follow_symlinks=False)


def unshare_rest() -> None:
    """Prepare process, network, IPC, host-name and cgroup namespaces: the next fork is process 1 of them."""
    _call("unshare", _libc.unshare(NEW_PIDS | NEW_NETWORK | NEW_IPC | NEW_UTS | NEW_CGROUPS))


def enter_private_root(scratch: Path, policy: SandboxPolicy, identity: Identity) -> None:
    """Make the world described above the root of the calling process, which must be process 1 of its namespaces."""
    _call("unshare", _libc.unshare(NEW_MOUNTS))
    sources = {path: os.open(path, os.O_PATH) for path in list_shown_folders(policy)}
    parts = {inside: os.open(scratch / name, os.O_PATH) for name, inside in WRITABLE.items()}
    devices = {path: os.open(path, os.O_PATH) for path in (*DEVICES, *list_gpu_devices(policy))}
    root = "/tmp"  # any folder that exists will do: the tmpfs hides it in this namespace only
    _mount("tmpfs", root, "tmpfs", NO_SUID | NO_DEV, "size=1m,nr_inodes=4000,mode=755")
    _make_skeleton(root, policy, identity)
    for path, handle in (devices | parts).items():
        bind(handle, root + path)
    for path, handle in sources.items():  # after the parts: a folder to show may lie in /tmp
        bind(handle, root + path)
        _make_read_only(root + path)
    Path(root + "/proc").mkdir()
    _mount("proc", root + "/proc", "proc", NO_SUID | NO_DEV | NO_EXEC)
    _mount(None, root + "/dev", None, REMOUNT | BIND | READ_ONLY | NO_SUID | NO_EXEC)
    _mount(None, root, None, REMOUNT | BIND | READ_ONLY | NO_SUID | NO_DEV)
    for handle in (*sources.values(), *parts.values(), *devices.values()):
        os.close(handle)
    os.chdir(root)
    _call("pivot_root", _libc.pivot_root(b".", b"."))
    detach(".")
    os.chdir(JOB)


def bind(handle: int, target: str) -> None:
    """Show the file or folder behind an O_PATH descriptor of this mount namespace at `target`."""
    source, place = f"/proc/self/fd/{handle}", Path(target)
    is_folder = Path(source).is_dir()
    (place if is_folder else place.parent).mkdir(parents=True, exist_ok=True)
    if not is_folder:
        place.touch()
    _mount(source, target, None, BIND | RECURSIVE)


def list_shown_folders(policy: SandboxPolicy) -> tuple[str, ...]:
    """List the read-only folders, outermost only: system libraries, the interpreter, those of the policy."""
    unmerged = [path for path in SYSTEM_FOLDERS if Path(path).is_dir() and not Path(path).is_symlink()]
    fixed = ["/usr", "/etc/ld.so.cache", "/sys/devices/system", *unmerged]
    fixed += ["/sys/devices", "/sys/bus/pci"] if policy.gpus else []
    wanted = [*fixed, sys.prefix, sys.base_prefix, *list_library_folders(os.environ), *map(str, policy.read_only)]
    present = [os.path.abspath(path) for path in wanted if Path(path).exists()]  # noqa: PTH100  links stay as they are
    unique = sorted(dict.fromkeys(present))
    return tuple(path for path in unique if not any(_is_below(path, other) for other in unique))


def list_system_links(shown: Iterable[str] = ()) -> dict[str, str]:
    """Return the links that the private root needs as well: path -> target.

    /bin and its like where they lead into /usr, and those on the interpreter's path to the `shown` folders.
    """
    links = {str(path): str(path.readlink()) for path in map(Path, SYSTEM_FOLDERS) if path.is_symlink()}
    return links | _find_links(sys.executable, tuple(shown), links)


def _find_links(path: str, shown: tuple[str, ...], known: Iterable[str]) -> dict[str, str]:
    """Find the links along `path` that no shown folder holds."""
    found: dict[str, str] = {}
    left, here, passed = list(Path(path).parts[1:]), Path("/"), 0
    while left and passed < MOST_LINKS:
        here /= left.pop(0)
        is_there = any(str(here) == other or _is_below(other, str(here)) for other in (*shown, *known))
        if not here.is_symlink() or is_there:
            continue
        target = here.parent / here.readlink()
        if not any(_is_below(str(here), other) for other in shown):
            found[str(here)] = str(here.readlink())
        passed += 1
        left, here = [*Path(os.path.normpath(target)).parts[1:], *left], Path("/")
    return found


def list_gpu_devices(policy: SandboxPolicy) -> list[str]:
    """List NVIDIA's device files, if the policy has GPUs."""
    return sorted(str(path) for path in Path("/dev").glob("nvidia*")) if policy.gpus else []


def format_passwd(identity: Identity) -> str:
    """Return an /etc/passwd with the kernel's user alone."""
    return f"{USER}:x:{identity.uid}:{identity.gid}::/home:/bin/sh\n"


def reveal_only(paths: Iterable[str], identity: Identity) -> None:
    """Root only: let the kernel's user reach `paths` although a folder above them, such as /root, keeps others out.

    Each such folder is covered, in this mount namespace, by a tmpfs that holds nothing but these paths.
    """
    closed: dict[str, list[str]] = {}
    for path in paths if identity.dropped else ():
        if first := find_closed_folder(path):
            closed.setdefault(first, []).append(path)
    for folder, hidden in closed.items():
        handles = {path: os.open(path, os.O_PATH) for path in hidden}
        _mount("tmpfs", folder, "tmpfs", NO_SUID | NO_DEV, "size=1m,mode=755")
        for path, handle in handles.items():
            bind(handle, path)
            os.close(handle)


def find_closed_folder(path: str) -> str | None:
    """Return the first folder above `path` that other users cannot enter, if there is one."""
    return next((str(p) for p in reversed(Path(path).parents) if not p.stat().st_mode & 0o001), None)


def start_loopback() -> None:
    """Start the loopback device of an empty network namespace, so that programs can talk to themselves."""
    with socket.socket() as device:
        fcntl.ioctl(device, 0x8914, struct.pack("16sH14s", b"lo", 0x1 | 0x40, b""))  # SIOCSIFFLAGS, UP and RUNNING


def drop_privileges(identity: Identity) -> None:
    """Become the kernel's user, without capabilities and without a way to get any. Single-threaded callers only."""
    for capability in range(64):
        _libc.prctl(DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)  # numbers that do not exist are refused: no harm
    become(identity)
    header, nothing = struct.pack("II", 0x20080522, 0), struct.pack("6I", *[0] * 6)
    _call("capset", _libc.capset(header, nothing))
    _call("no_new_privs", _libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def become(identity: Identity) -> None:
    """Give root's rights away: this process is the kernel's user from here on."""
    if identity.dropped:
        os.setgroups([])
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)


def die_with_parent() -> None:
    """Ask for SIGKILL when the thread that forked this process ends. A change of uid clears it: ask again after one."""
    _libc.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def set_dumpable(dumpable: bool) -> None:
    """Set whether other processes of the same user may look into this one, and it into its own /proc/self."""
    _libc.prctl(SET_DUMPABLE, int(dumpable), 0, 0, 0)


def _make_skeleton(root: str, policy: SandboxPolicy, identity: Identity) -> None:
    for path, target in list_system_links(list_shown_folders(policy)).items():
        Path(root + path).parent.mkdir(parents=True, exist_ok=True)
        Path(root + path).symlink_to(target)
    Path(root + "/etc").mkdir(exist_ok=True)
    Path(root + "/etc/passwd").write_text(format_passwd(identity), encoding="ascii")
    Path(root + "/etc/group").write_text(f"{USER}:x:{identity.gid}:\n", encoding="ascii")
    Path(root + "/dev").mkdir()
    _mount("tmpfs", root + "/dev", "tmpfs", NO_SUID | NO_EXEC, "size=64k,mode=755")
    Path(root + "/dev/fd").symlink_to("/proc/self/fd")


def _make_read_only(path: str) -> None:
    """Recursively, by mount_setattr (Linux 5.12)."""
    attributes = struct.pack("QQQQ", READ_ONLY | NO_SUID | NO_DEV, 0, 0, 0)
    here, recursive = -100, 0x8000
    result = _libc.syscall(MOUNT_SETATTR, here, path.encode(), recursive, attributes, ctypes.c_size_t(len(attributes)))
    _call(f"mount_setattr {path}", result)


def _is_below(path: str, other: str) -> bool:
    return path != other and path.startswith(other.rstrip("/") + "/")


def _is_mapped(uid: int) -> bool:
    ranges = (map(int, line.split()) for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines())
    return any(start <= uid < start + length for start, _, length in ranges)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [text.encode() if text is not None else None for text in (source, target, kind, options)]
    _call(f"mount {target}", _libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]))


def _call(what: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)} ({errno.errorcode.get(number, number)})")
