"""Security: whose requests are answered, and what a browser may do with the answers."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wordsight.viewer.listener import Listener

READING = frozenset({"GET", "HEAD", "OPTIONS"})
START_POLICY = (  # the start page runs its own scripts, and asks nobody else
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": START_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Security:
    """Refuses requests by a foreign name or from a page of another site; adds HEADERS to every answer that
    does not set them itself.
    """

    def __init__(self, app: ASGIApp, listener: Listener) -> None:
        self._app, self._listener = app, listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> JSONResponse | None:
        host, url = headers.get("host", ""), self._listener.url
        if not self._listener.is_known_as(_name(f"//{host}")):
            return JSONResponse({"error": f"this server is not {host[:80]!r}; open {url}"}, 421)
        origin = headers.get("origin", f"http://{host}")
        is_foreign = headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        if method not in READING and (is_foreign or origin != f"http://{host}"):
            return JSONResponse(
                {"error": f"a page of {origin[:80]!r} may not ask questions here; open {url}"},
                403,
            )
        return None


def _name(url: str) -> str:
    """The host that a URL names, in lower case; empty if it names none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
