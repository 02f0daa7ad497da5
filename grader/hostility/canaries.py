"""What a notebook must not find or reach: files, a variable of the grader, and servers that notice who knocks."""

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

VARIABLE: Final = "A4_SECRET"
DATA_VARIABLE: Final = "A4_DATA"  # says where held-out reviews are
LATE_S: Final = 0.05  # for a connection that was made at the last moment


@dataclass
class Canaries:
    """The secrets of one round, and who has knocked."""

    folder: Path
    places: dict[str, str]
    secrets: dict[str, bytes]  # what each is -> its text
    knocks: list[str] = field(default_factory=list)

    def found_in(self, folder: Path) -> list[str]:
        """Which secrets occur in any file of a folder; who has knocked since the last look."""
        texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        seen = [what for what, secret in self.secrets.items() if any(secret in text for text in texts)]
        knocked, self.knocks[:] = list(self.knocks), []
        return seen + knocked

    def touched(self) -> list[str]:
        """What was written beside the canaries."""
        known = {"world", "secret", "socket"}
        return sorted(path.name for path in self.folder.iterdir() if path.name not in known)


@contextmanager
def laid_out(folder: Path) -> Iterator[Canaries]:
    """Make the canaries in `folder`, which everybody may enter. The variable must be set before kernels can start."""
    folder.mkdir()
    folder.chmod(0o777)
    told = {name: f"canary-{secrets.token_hex(8)}" for name in ("world", "secret", VARIABLE)}
    for name, mode in (("world", 0o644), ("secret", 0o600)):
        (folder / name).write_text(told[name], encoding="utf-8")
        (folder / name).chmod(mode)
    os.environ[VARIABLE] = told[VARIABLE]
    hidden = {what: text.encode() for what, text in told.items()}
    if os.environ.get(DATA_VARIABLE):
        hidden[DATA_VARIABLE] = os.environ[DATA_VARIABLE].encode()
    word = f"a4-hostile-{secrets.token_hex(4)}"
    places = {
        "WORLD": str(folder / "world"),
        "SECRET": str(folder / "secret"),
        "SOCKET": str(folder / "socket"),
        "ABSTRACT": word,
        "MARK": word,
        "PID": str(os.getpid()),
    }
    canaries = Canaries(folder, places, hidden)
    with _listening(canaries):
        yield canaries
    del os.environ[VARIABLE]


@contextmanager
def _listening(canaries: Canaries) -> Iterator[None]:
    tcp, named, abstract = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX), None
    canaries.places["PORT"] = str(tcp.getsockname()[1])
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(tcp.getsockname())
    named.bind(canaries.places["SOCKET"])
    Path(canaries.places["SOCKET"]).chmod(0o777)
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0{canaries.places['ABSTRACT']}")
    servers = {"tcp connection": tcp, "unix socket": named, "abstract socket": abstract, "datagram": datagrams}
    threads = [threading.Thread(target=_notice, args=(canaries, *pair), daemon=True) for pair in servers.items()]
    for server in (named, abstract):
        server.listen()
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for server in servers.values():
            server.close()


def _notice(canaries: Canaries, what: str, server: socket.socket) -> None:
    server.settimeout(None)
    try:
        while True:
            if server.type is socket.SOCK_DGRAM:
                server.recv(16)
            else:
                server.accept()[0].close()
            canaries.knocks.append(what)
    except OSError:  # closed: the round is over
        return
