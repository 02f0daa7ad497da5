"""Advice on how to make a backend work on this machine, for people whose self-test does not pass."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from grader.sandbox.policy import Backend
from grader.sandbox.walls.namespaces import find_closed_folder

CHOWN, SETGID, SETUID, SYS_ADMIN = 0, 6, 7, 21  # numbers of capabilities; the last one is what mounting needs
AS_ORDINARY_USER: Final = 6  # the version of Landlock that keeps a kernel from the processes of its own user
# Switches of various distributions that keep ordinary users from making namespaces: name -> the value that does, and
# one that does not. 15000 is what Debian allows one user.
SWITCHES: Final[Mapping[str, tuple[str, str]]] = {
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
    "user.max_user_namespaces": ("0", "15000"),
}
MORE_RIGHTS: Final = (
    "This is root without the right to mount, as in a container: run the grader as an ordinary user, or start a new "
    "container with `--cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined`, which "
    "weakens that container's own isolation."
)
NAMESPACES_CLOSED: Final = (
    "Allow user namespaces: in a container, start a new one with `--security-opt seccomp=unconfined`; on a machine "
    "that you administer, see `sysctl kernel.unprivileged_userns_clone user.max_user_namespaces`."
)
INSTALL_BUBBLEWRAP: Final = "Install bubblewrap (Debian, Ubuntu: apt install bubblewrap)."
INSTALL_RUNTIME: Final = "Outside of a container, install podman (Debian, Ubuntu: apt install podman), or docker."
START_RUNTIME: Final = (
    "Make `podman run` or `docker run` work for this user; docker needs its service running. Where both versions of "
    'control groups are mounted, podman needs runc: `runtime = "runc"` below `[engine]` in containers.conf.'
)
CLOSED_FOLDER: Final = (
    "Move the project and its environment out of {folder}, for example to /opt or /srv, or run `chmod a+x {folder}` "
    "(others may then pass through it, and not list it): notebooks run as a separate user, who cannot enter it."
)
NO_OTHER_USER: Final = (
    "Notebooks run as a separate user, and this is root without the right to become another user: run the grader as an "
    "ordinary user (`docker run --user 1000`), or start the container without `--cap-drop ALL`."
)
NEW_LINUX: Final = (
    "It needs Linux 5.13 or newer (as an ordinary user 6.12) with `landlock` among the security modules in "
    "/sys/kernel/security/lsm, and a container that lets its system calls pass (Docker from version 23 on)."
)


def suggest_remedy(backend: Backend, installed: bool) -> str:
    """Return one or two sentences for whoever administers the machine; "" where nothing is known to help."""
    match backend:
        case Backend.WARM | Backend.BUBBLEWRAP:
            return _suggest_for_namespaces() if installed else INSTALL_BUBBLEWRAP
        case Backend.CONTAINER:
            return START_RUNTIME if installed else INSTALL_RUNTIME
        case _:
            return _suggest_for_landlock()


def _suggest_for_landlock() -> str:
    from grader.sandbox.backends.landlock import get_version

    is_root = os.geteuid() == 0
    if get_version() < (1 if is_root else AS_ORDINARY_USER):
        return NEW_LINUX
    if is_root and not _has_capabilities(CHOWN, SETGID, SETUID):
        return NO_OTHER_USER
    closed = next(filter(None, map(find_closed_folder, (sys.prefix, sys.base_prefix))), None) if is_root else None
    return CLOSED_FOLDER.format(folder=closed) if closed and not _has_capabilities(SYS_ADMIN) else ""


def _suggest_for_namespaces() -> str:
    if os.geteuid() == 0:
        return NAMESPACES_CLOSED if _has_capabilities(SYS_ADMIN) else MORE_RIGHTS
    found = [f"sysctl {name}={good}" for name, (bad, good) in SWITCHES.items() if _read_setting(name) == bad]
    return f"Allow user namespaces, as root: {'; '.join(found)}." if found else NAMESPACES_CLOSED


def _has_capabilities(*capabilities: int) -> bool:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return all(int(effective, 16) >> capability & 1 for capability in capabilities)


def _read_setting(name: str) -> str:
    try:
        return Path("/proc/sys", *name.split(".")).read_text(encoding="ascii").strip()
    except OSError:
        return ""
