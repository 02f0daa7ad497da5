"""Secrets that no notebook may find (files, a variable of the grader), and servers that notice who knocks."""

import os
import secrets
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

VARIABLE: Final = "A4_SECRET"
DATA_VARIABLE: Final = "A4_DATA"  # names the place of held-out reviews
LATE_S: Final = 0.05  # until a connection that was made at the last moment is noticed


@dataclass
class Canaries:
    """The secrets of one round, and who has knocked."""

    folder: Path
    places: dict[str, str]
    secrets: dict[str, bytes]  # what each is -> its text
    connections: list[str] = field(default_factory=list)

    def find_in(self, folder: Path) -> list[str]:
        """The secrets that occur in any file of a folder, and who has knocked since the last look."""
        texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        seen = [what for what, secret in self.secrets.items() if any(secret in text for text in texts)]
        knocked, self.connections[:] = list(self.connections), []
        return seen + knocked

    def list_touched(self) -> list[str]:
        """The names of what was written beside the canaries."""
        return sorted({path.name for path in self.folder.iterdir()} - {"world", "secret", "socket"})


@contextmanager
def place_canaries(folder: Path) -> Iterator[Canaries]:
    """Make the canaries in `folder`, which everybody may enter. The variable must be set before kernels can start."""
    folder.mkdir()
    folder.chmod(0o777)
    told = {name: f"canary-{secrets.token_hex(8)}" for name in ("world", "secret", VARIABLE)}
    for name, mode in (("world", 0o644), ("secret", 0o600)):
        (folder / name).write_text(told[name], encoding="utf-8")
        (folder / name).chmod(mode)
    os.environ[VARIABLE] = told[VARIABLE]
    data = {DATA_VARIABLE: os.environ[DATA_VARIABLE]} if os.environ.get(DATA_VARIABLE) else {}
    hidden = {what: text.encode() for what, text in (told | data).items()}
    word = f"a4-hostile-{secrets.token_hex(4)}"
    files = {name.upper(): str(folder / name) for name in ("world", "secret", "socket")}
    canaries = Canaries(folder, {**files, "ABSTRACT": word, "MARK": word, "PID": str(os.getpid())}, hidden)
    with ExitStack() as stack:
        stack.callback(os.environ.pop, VARIABLE)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        named, abstract = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
        datagrams.bind(tcp.getsockname())
        canaries.places["PORT"] = str(tcp.getsockname()[1])
        for server, address in ((named, files["SOCKET"]), (abstract, f"\0{word}")):
            server.bind(address)
            server.listen()
        Path(files["SOCKET"]).chmod(0o777)
        servers = {tcp: "tcp connection", named: "unix socket", abstract: "abstract socket", datagrams: "datagram"}
        ended = threading.Event()
        thread = threading.Thread(target=_notice, args=(canaries, servers, ended), daemon=True)
        thread.start()
        try:
            yield canaries
        finally:
            ended.set()
            thread.join()


def _notice(canaries: Canaries, servers: dict[socket.socket, str], ended: threading.Event) -> None:
    while not ended.is_set():
        for server in select.select(list(servers), [], [], LATE_S)[0]:
            canaries.connections.append(servers[server])
            if server.type is socket.SOCK_DGRAM:
                server.recv(16)
            else:
                server.accept()[0].close()
