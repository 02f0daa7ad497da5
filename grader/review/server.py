"""Serves the page on this machine until somebody stops it."""

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import uvicorn

from grader.batch.decisions import name_author
from grader.errors import GraderError
from grader.reporting.cohort.review_link import REVIEW_LINK, render_review_link
from grader.review.app import build_app

HOST: Final = "127.0.0.1"
PORT: Final = 8470


def serve(folder: Path, port: int | None = None) -> None:
    """Serve the page of a class, and print its address. Ends with ctrl-C. Raises GraderError.

    Args:
        port: of this machine; by default `PORT`, or any other where that is taken.
    """
    token = secrets.token_urlsafe(24)
    app = build_app(folder, token, name_author())
    with open_socket(port) as found:
        address = f"http://{HOST}:{found.getsockname()[1]}/?token={token}"
        with _lead_from_dashboard(folder, address):
            print(f"Open {address}\nThe page is for this machine only. Ctrl-C ends it.", flush=True)
            config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
            with suppress(KeyboardInterrupt):  # the way to end it, and no failure
                uvicorn.Server(config).run(sockets=[found])


@contextmanager
def _lead_from_dashboard(folder: Path, address: str) -> Iterator[None]:
    """Let the dashboard lead here while the page runs. The file holds the token: it is for its owner only."""
    path = folder / REVIEW_LINK
    with suppress(OSError):  # a folder that cannot be written can be read all the same
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(render_review_link(str(folder), address), encoding="utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            path.write_text(render_review_link(str(folder)), encoding="utf-8")


def open_socket(port: int | None) -> socket.socket:
    """Open the socket to listen at, by default at `PORT` or else anywhere. Raises GraderError."""
    for wanted in (PORT, 0) if port is None else (port,):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, wanted))
            listening.listen()  # the address is printed next: who opens it at once waits, and is not refused
        except OSError as error:
            listening.close()
            if wanted == 0 or port is not None:
                raise GraderError(f"Cannot listen at port {wanted} ({error.strerror}); choose another one.") from error
        else:
            return listening
    raise AssertionError
