"""The door to the HTTP side: every request is judged before the application hears of it.

An ASGI application around another one. It knows no routes but those that are always open.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from trishula_broker.net.admission import Admission, Guest
from trishula_broker.net.denied import Denied
from trishula_broker.net.peers import host_of, is_address, is_loopback
from trishula_broker.net.problem import problem
from trishula_broker.net.refusals import Refusals

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS: Final = frozenset({"/health/live", "/health/ready", "/"})
"""Answered whoever asks, with a good token, a bad one or none."""
CONSOLE_PREFIX: Final = "/console/"
"""The console's files: anybody may load them, for a page cannot sign in before it is there."""
GUEST: Final = "guest"
"""Where the application finds the :class:`.admission.Guest`, in the scope's ``state``."""


class Door:
    """Asks :class:`.admission.Admission` and passes on whom it lets in.

    Args:
        app: what is behind the door.
        admission: who may come in.
        refusals: told of those who may not.
    """

    def __init__(self, app: App, admission: Admission, refusals: Refusals) -> None:
        self._app = app
        self._admission = admission
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        client = scope.get("client")
        peer = f"{client[0]}:{client[1]}" if client else "unknown"
        try:
            guest = self._admission.look(headers, peer)
            peer = guest.peer
            if not is_open(scope["path"]):
                query = scope["query_string"].decode("latin-1")
                guest = self._admission.ask(guest, headers, query)
        except Denied as denied:
            self._refusals.note("http", denied.reason, peer, denied.status)
            answer = problem(denied.status, denied.text, dict(denied.headers))
            await answer(scope, receive, send)
            return
        scope.setdefault("state", {})[GUEST] = guest
        await self._app(scope, receive, send)


def is_open(path: str) -> bool:
    """Whether nobody is asked there who they are."""
    return path in OPEN_PATHS or path.startswith(CONSOLE_PREFIX)


def is_trusted(scope: Scope) -> bool:
    """Whether who asks may hear all about the hub: somebody on its own host, or who proves to be
    an operator or an observer.

    What came through a proxy on the same host came from anywhere. And a name other than localhost
    may be led here by a page in a browser of this host (DNS rebinding), unless TLS has checked it.
    """
    guest: Guest = scope["state"][GUEST]
    if guest.identity is not None:
        return guest.identity.role != "agent"
    if guest.forwarded:
        return False
    server = scope.get("server")
    host = host_of(guest.peer)
    if not (is_loopback(host) or (server and host == server[0])):
        return False
    named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    names = [host_of(each) for each in named]
    return scope["scheme"] == "https" or all(is_loopback(n) or is_address(n) for n in names)
