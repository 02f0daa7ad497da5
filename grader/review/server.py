"""Serves the page on this machine until somebody stops it."""

import secrets
import socket
from pathlib import Path
from typing import Final

import uvicorn

from grader.batch.decisions import name_author
from grader.errors import GraderError
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
    with _bind(port) as found:
        address = f"http://{HOST}:{found.getsockname()[1]}/?token={token}"
        print(f"Open {address}\nThe page is for this machine only. Ctrl-C ends it.", flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[found])


def _bind(port: int | None) -> socket.socket:
    """Open the socket to listen at."""
    for wanted in (PORT, 0) if port is None else (port,):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, wanted))
        except OSError as error:
            listening.close()
            if wanted == 0 or port is not None:
                raise GraderError(f"Cannot listen at port {wanted} ({error.strerror}); choose another one.") from error
        else:
            return listening
    raise AssertionError
