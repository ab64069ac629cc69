"""What every HTTP answer says to browsers: security headers, and which other origins may read it.

An ASGI application around all others, refusals included. It knows no routes but where the API is.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from trishula_broker.net.door import App, Receive, Scope, Send

API: Final = "/api/"
"""What other origins may ask, where they are listed."""
METHODS: Final = "GET, HEAD, POST, DELETE"
ALLOWED: Final = "authorization, content-type"
EXPOSED: Final = "retry-after"
PREFLIGHT_S: Final = 600
"""How long a browser may remember what it may ask."""
SECURITY: Final = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""Unless an answer has its own: a page has another policy for what it loads."""
HSTS: Final = "max-age=31536000"


class Hardening:
    """Adds the headers, and answers preflights.

    Args:
        app: all that answers.
        origins: pages of other hosts that may ask, as ``https://host[:port]``; ``*`` is any.
    """

    def __init__(self, app: App, origins: tuple[str, ...]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        headers = Headers(scope=scope)
        asks = scope["path"].startswith(API)
        origin = headers.get("origin", "") if asks and self._origins else ""
        listed = bool(origin) and ("*" in self._origins or origin in self._origins)

        async def hardened(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    answer.setdefault(name, value)
                if scope["scheme"] == "https":
                    answer.setdefault("strict-transport-security", HSTS)
                if asks and self._origins:
                    answer.add_vary_header("origin")
                if listed:
                    answer["access-control-allow-origin"] = origin
                    answer["access-control-expose-headers"] = EXPOSED
                    answer["cross-origin-resource-policy"] = "cross-origin"
            await send(message)

        if listed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            preflight = Response(
                status_code=204,
                headers={
                    "access-control-allow-methods": METHODS,
                    "access-control-allow-headers": ALLOWED,
                    "access-control-max-age": str(PREFLIGHT_S),
                },
            )
            await preflight(scope, receive, hardened)
            return
        await self._app(scope, receive, hardened)
