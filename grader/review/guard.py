"""Keeps everybody else out: other machines, other users of this one, and other pages in the same browser.

The server listens on 127.0.0.1 only. Every user of the machine can reach that, so an address holds a random token, as
Jupyter's do; a cookie replaces it after the first page. A page of another site could send requests here from the same
browser: the name of the host has to be a name of this machine (a name that points here, but belongs to somebody else,
is refused), and whatever changes something has to come from a page of this server.
"""

import hashlib
import hmac
from typing import Final
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
READING: Final = frozenset({"GET", "HEAD"})
HEADERS: Final = {
    # Only files of this server; pictures stand in the page itself, and nothing of a student's is a file here.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, a browser would not say where a form comes from
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets requests through that come from whoever has the token, and adds the headers above to all answers."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token
        # Cookies do not know ports: the name keeps two servers of one machine apart.
        self.cookie = f"review-{hashlib.sha256(token.encode()).hexdigest()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            answer = self._stop(HTTPConnection(scope), scope["method"]) or self.app
            await answer(scope, receive, _add_headers(send))

    def _stop(self, request: HTTPConnection, method: str) -> Response | None:
        """Return the answer to a request that goes no further."""
        host = request.headers.get("host", "")
        if _find_host_name(host) not in HOSTS:
            return PlainTextResponse("This page is for this machine only.", 403)
        if method not in READING and request.headers.get("origin", "") not in (f"http://{host}", f"https://{host}"):
            return PlainTextResponse("This did not come from the review page.", 403)
        given = request.query_params.get("token", "")
        if given and self._fits(given):
            return self._welcome(request)
        if not self._fits(request.cookies.get(self.cookie, "")):
            return PlainTextResponse("Open the address that `make review` has printed: it holds the token.", 403)
        return None

    def _fits(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def _welcome(self, request: HTTPConnection) -> Response:
        """Replace the token in the address by a cookie."""
        rest = urlencode([pair for pair in request.query_params.multi_items() if pair[0] != "token"])
        path = f"/{request.url.path.lstrip('/')}"  # two slashes would begin the name of another host
        answer = RedirectResponse(f"{path}{'?' * bool(rest)}{rest}", 303)
        answer.set_cookie(self.cookie, self.token, httponly=True, samesite="lax", path="/")
        return answer


def _find_host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _add_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return send_with_headers
