"""A bare Debian root: made once, copied for each run, entered in namespaces of its own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[3]
STORE: Final = Path(os.environ.get("A4_CACHE") or PROJECT / "data" / "cache") / "fresh"
PACKAGES: Final = "python3,python3-venv,make,ca-certificates"  # what the README asks for, and certificates for pip
MIRROR: Final = "http://deb.debian.org/debian"
RELEASES: Final = {"bookworm": "Python 3.11", "trixie": "Python 3.13", "sid": "Python 3.14 or newer"}
PIP_CACHE: Final = "/var/cache/pip"
USER: Final = "ta"
UID: Final = 1000
NETWORK_FILES: Final = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt")
PIP_FILES: Final = ("/etc/pip.conf", "/etc/xdg/pip")
LEFT_BEHIND: Final = (".git/", ".venv", "data/cache", "data/imdb", "results", "dist", ".mypy_cache", ".ruff_cache")
LOCAL_PATH: Final = re.compile(r"(?:file://)?(/[^\s'\"]+)")
# Becomes process 1 of the new namespaces: mounts what a machine has, and makes the folder $1 the root.
ENTER: Final = """
set -e
root=$1; pip=$2; shown=$3; shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root/var/cache/pip"; mount --bind "$pip" "$root/var/cache/pip"
for path in $shown; do
    if [ -d "$path" ]; then mkdir -p "$root$path"; else mkdir -p "$root$(dirname "$path")"; touch "$root$path"; fi
    mount --bind "$path" "$root$path"
done
cd "$root"
mkdir -p old
pivot_root . old
umount -l /old
"$@" & child=$!
trap 'kill -TERM $child' TERM INT
wait $child
"""


class FreshRootError(Exception):
    """This machine cannot make fresh ones; the message says what it lacks."""


@dataclass(frozen=True)
class CommandResult:
    """A command that has ended. `text`: what it said on both streams."""

    code: int
    text: str
    seconds: float


@dataclass(frozen=True)
class Root:
    """One bare system in a folder."""

    folder: Path
    release: str

    @classmethod
    def make(cls, release: str, name: str) -> "Root":
        """A copy of the bare system, made with debootstrap where there is none yet. Raises CannotTry."""
        base = STORE / release
        if not (base / "done").exists():
            _bootstrap(release, base)
        root = cls(STORE / name, release)
        root.remove()
        subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(root.folder)], check=True)
        root._settle()
        entered = root.run(["true"], {})
        if entered.code:
            raise FreshRootError(f"a root cannot be entered: {entered.text.strip()}")
        return root

    def remove(self) -> None:
        """Remove it; nothing is mounted in it outside of the namespaces of a command."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def path(self, inside: str) -> Path:
        """Where a path of the root is on this machine."""
        return self.folder / inside.lstrip("/")

    def copy_project(self, inside: str) -> None:
        """Put the files of the project there."""
        target = self.path(inside)
        for name in _project_files():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, target / name)

    def run(
        self, command: Sequence[str], environ: Mapping[str, str], *, network: bool = True, timeout_s: float = 1800
    ) -> CommandResult:
        """Run a command in it, as root; what it starts ends with it."""
        import time

        namespaces = ["--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"])]
        shown = " ".join(dict.fromkeys((*_pip_paths(), *(p for p in NETWORK_FILES if Path(p).exists()))))
        pip = STORE / "pip"
        pip.mkdir(exist_ok=True)
        whole = ["unshare", *namespaces, "sh", "-c", ENTER, "sh", str(self.folder), str(pip), shown, *command]
        began = time.monotonic()
        try:
            done = subprocess.run(
                whole,
                env={**_settings(), **environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return CommandResult(124, (error.stdout or b"").decode(errors="replace"), timeout_s)
        return CommandResult(done.returncode, done.stdout.decode(errors="replace"), time.monotonic() - began)

    def _settle(self) -> None:
        """An ordinary user."""
        line = f"{USER}:x:{UID}:{UID}::/home/{USER}:/bin/sh\n"
        with self.path("/etc/passwd").open("a", encoding="ascii") as file:
            file.write(line)
        home = self.path(f"/home/{USER}")
        home.mkdir(parents=True)
        os.chown(home, UID, UID)


def _bootstrap(release: str, base: Path) -> None:
    if os.geteuid() != 0:
        raise FreshRootError("fresh roots need root: run it as root")
    program = shutil.which("debootstrap")
    if program is None:
        raise FreshRootError("debootstrap is not installed: apt install debootstrap")
    shutil.rmtree(base, ignore_errors=True)
    base.parent.mkdir(parents=True, exist_ok=True)
    command = [program, "--variant=minbase", f"--include={PACKAGES}", release, str(base), MIRROR]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise FreshRootError(f"debootstrap of {release} failed: {done.stdout.strip().rpartition(chr(10))[2]}")
    (base / "done").touch()


def _project_files() -> Iterable[str]:
    """What git knows; without git, what is there but for what running leaves behind."""
    command = ["git", "ls-files", "-z"]
    try:
        listed = subprocess.run(
            command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        found = (path.relative_to(PROJECT) for path in PROJECT.rglob("*"))
        names: Iterable[str] = (str(path) for path in found if not str(path).startswith(LEFT_BEHIND))
    else:
        names = listed.decode().split("\0")
    return (name for name in names if name and (PROJECT / name).is_file())


def _settings() -> dict[str, str]:
    """The environment of a login, with this machine's settings of pip."""
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {**pip, "PIP_CACHE_DIR": PIP_CACHE, "PATH": path, "LANG": "C.UTF-8", "HOME": "/root"}


def _pip_paths() -> Iterator[str]:
    """Files and folders of this machine that pip's settings are in, or name: packages that lie on its disk."""
    yield from (path for path in PIP_FILES if Path(path).exists())
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    for path in LOCAL_PATH.findall(listed.stdout.decode(errors="replace")):
        if Path(path).exists() and path not in NETWORK_FILES and not path.startswith(PIP_FILES):
            yield path
