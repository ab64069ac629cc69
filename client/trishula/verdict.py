"""What ends an agent for good, rather than until it is connected again; and the token it shows.

Knows no sockets and no time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from trishula.errors import RegistrationRefused, TakenOver, Unauthorized
from trishula.events import Lost
from trishula.websocket import ConnectFailed
from trishula_protocol.errors import CloseCode, ErrorCode

Token = str | Callable[[], str] | None
"""A token, or what makes a fresh one: for every attempt to connect, and before one expires."""


class Verdict:
    """Over one agent's attempts and connections.

    Args:
        agent: its id.
        hubs: how many there are.
        token: what it shows them.
    """

    def __init__(self, agent: str, hubs: int, token: Token) -> None:
        self._agent = agent
        self._hubs = hubs
        self._token = token
        self._shown: str | None = None
        self._refused: str | None = None
        self._no_hubs: set[int] = set()
        self._refusing: set[str] = set()
        """Hubs whose last word was that the token does not do."""
        self._was_active = False

    def token(self) -> str | None:
        """What to show the next hub."""
        self._shown = self._token() if callable(self._token) else self._token
        return self._shown

    def on_active(self) -> None:
        """A hub has let it in."""
        self._was_active = True
        self._refused = None
        self._refusing.clear()

    def on_failed(self, index: int, name: str, error: ConnectFailed) -> bool:
        """There was no connection to a hub; whether the reason is that none is there.

        Later the same may be a proxy that is being set up anew: an agent that has worked is not
        ended by it.

        Raises:
            Unauthorized: no other token is to be had.
        """
        self._refusing.discard(name)
        if error.refused:
            self._token_refused(name, error.reason)
        if not error.final or self._was_active:
            self._no_hubs.discard(index)
            return False
        self._no_hubs.add(index)
        return True

    @property
    def hopeless(self) -> bool:
        """Whether waiting is of no use: under none of the URLs is a hub."""
        return len(self._no_hubs) == self._hubs

    def refused_by(self, names: Collection[str]) -> bool:
        """Whether all of these hubs, and there are some, last refused the token."""
        return bool(names) and self._refusing.issuperset(names)

    def on_lost(self, name: str, lost: Lost) -> None:
        """A connection is over.

        Raises:
            TakenOver, RegistrationRefused: so is the agent.
            Unauthorized: no other token is to be had.
        """
        self._refusing.discard(name)
        if lost.code == CloseCode.TAKEN_OVER:
            raise TakenOver(self._agent)
        code = lost.error.code if lost.error else None
        if lost.code == CloseCode.TOKEN or code == ErrorCode.UNAUTHORIZED:
            self._token_refused(name, lost.reason)
        elif lost.error is not None and not lost.error.retryable:
            raise RegistrationRefused(
                lost.error.code, lost.error.message, details=lost.error.details
            )
        elif lost.code == CloseCode.FORBIDDEN:
            raise RegistrationRefused(ErrorCode.FORBIDDEN, lost.reason)

    def _token_refused(self, name: str, reason: str) -> None:
        """Try again only with another token than the one that was refused last."""
        self._refusing.add(name)
        if not callable(self._token) or self._shown == self._refused:
            raise Unauthorized(name, reason, shown=bool(self._shown))
        self._refused = self._shown
