"""Sends events to the host: display messages of a private MIME type, which it takes out of the outputs.

Each carries the key of this run. The host leaves it in a file that is removed as soon as it is read, before the first
cell: a display of the notebook's own does not have it.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MIME = "application/vnd.grader.event+json"
KEY_FILE = "channel"  # beside the plan
ON_THE_WAY_S = 1.0  # to wait at most for a message to leave

_shells: list[Any] = []  # of this kernel, and what it published through before a cell could redirect it (`%%capture`)
_publish: list[Callable[..., None]] = []
_guards: list[Callable[[str], None]] = []  # called with the kind of each event before it is sent


def publish_through(shell: Any, folder: Path) -> None:
    """Send events through this shell from now on, with the key that lies in the folder."""
    file, publish = folder / KEY_FILE, shell.display_pub.publish
    key = file.read_text(encoding="utf-8") if file.is_file() else ""
    file.unlink(missing_ok=True)
    _shells[:], _publish[:] = [shell], [lambda event: publish({MIME: {**event, "key": key}})]


def guard_by(guard: Callable[[str], None]) -> None:
    """Have each event looked at before it is sent."""
    _guards[:] = [guard]


def emit(kind: str, **fields: Any) -> None:
    """Send one event, or nothing where there is no kernel to send it from."""
    for guard in _guards:
        guard(kind)
    send(kind, **fields)


def send(kind: str, **fields: Any) -> None:
    """Send one event without a look at who sends it."""
    for publish in _publish:
        publish({"kind": kind, **fields})


def fingerprint(plain: Mapping[str, Any]) -> str:
    """Compute the digest by which an event names a record, from what stands in the file."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def announce(name: str, sha256: str) -> None:
    """Tell the host of a file before it is there, and wait for the message to leave: the kernel may die soon."""
    emit("written", name=name, sha256=sha256)
    for kernel in (shell.kernel for shell in _shells if hasattr(shell, "kernel")):
        sent = threading.Event()
        kernel.iopub_thread.schedule(sent.set)
        sent.wait(ON_THE_WAY_S)
