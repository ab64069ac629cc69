"""Who may come in: judged by a request's headers and where it came from.

Both ways in ask here, the upgrade to a WebSocket and HTTP. It touches no sockets and knows no
routes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from trishula_broker.auth.identity import Identity
from trishula_broker.net.bearer import Bearers, token_of, unauthorized
from trishula_broker.net.denied import Denied
from trishula_broker.net.peers import address_of, host_of, is_address, is_loopback
from trishula_broker.net.ports import Authenticator
from trishula_broker.net.settings import NetSettings

FORWARDED: Final = frozenset({"forwarded", "via", "x-real-ip"})
"""With everything that begins with :data:`FORWARDED_PREFIX`, what proxies add to a request."""
FORWARDED_PREFIX: Final = "x-forwarded-"

Headers = Mapping[str, Sequence[str]]
"""Values by name in lower case."""


class Guest(NamedTuple):
    """Somebody who may come in."""

    identity: Identity | None
    """Who was proven to be there; None without keys, and for HTTP without a token."""
    peer: str
    """Where it came from: behind a proxy that is listed, what that says."""
    forwarded: bool
    """It came through a proxy."""


class Admission:
    """Judges requests.

    Args:
        settings: origins, proxies.
        authenticator: who checks tokens; None on a hub without keys.
        seconds: a clock that never jumps.
    """

    def __init__(
        self,
        settings: NetSettings,
        authenticator: Authenticator | None,
        seconds: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._bearers: Bearers | None = None
        if authenticator is not None:
            self._bearers = Bearers(authenticator, seconds, shared_addresses(settings))

    @property
    def keyless(self) -> bool:
        """Whether nobody has to prove anything."""
        return self._bearers is None

    def look(self, headers: Headers, peer: str) -> Guest:
        """Where a request came from, by a way that is allowed; nobody is proven yet.

        Raises:
            Denied: 403, it came through a proxy to a hub without keys.
        """
        forwarded = any(name in FORWARDED or name.startswith(FORWARDED_PREFIX) for name in headers)
        if forwarded and self.keyless:
            raise Denied(
                HTTPStatus.FORBIDDEN,
                "forwarded",
                "a hub without keys takes nobody through a proxy, which would open it to others: "
                "make keys with `broker keys init`, then start it again",
            )
        if forwarded and host_of(peer) in self._settings.proxies:
            # The last entry is the proxy's own; what stands before it the client may have made up.
            said = ",".join(headers.get("x-forwarded-for", ())).rpartition(",")[2].strip()
            peer = said if is_address(said) else peer
        return Guest(None, peer, forwarded)

    def enter(self, guest: Guest, headers: Headers, query: str) -> Guest:
        """Who wants to upgrade.

        Raises:
            Denied: 403, not from this page; 401 or 429, nobody is proven.
        """
        hosts = headers.get("host", ())
        if any(not self.may_come_from(origin, hosts) for origin in headers.get("origin", ())):
            raise Denied(
                HTTPStatus.FORBIDDEN,
                "origin",
                "pages of this origin may not connect; see websocket.origins",
            )
        if self._bearers is None:
            return guest
        token = token_of(headers, query)
        if token is None:
            raise unauthorized(
                "missing",
                "this hub wants a token: Authorization: Bearer, or ?token= from a browser; "
                "`broker token create AGENT` makes one",
            )
        return guest._replace(identity=self._bearers.identify(token, address_of(guest.peer)))

    def ask(self, guest: Guest, headers: Headers, query: str) -> Guest:
        """Who asks over HTTP; a token is not needed, but a bad one is refused.

        Raises:
            Denied: 401 or 429, nobody is proven.
        """
        token = None if self._bearers is None else token_of(headers, query)
        if self._bearers is None or token is None:
            return guest
        return guest._replace(identity=self._bearers.identify(token, address_of(guest.peer)))

    def may_come_from(self, origin: str, hosts: Sequence[str]) -> bool:
        """Whether a page of ``origin`` may connect: this host's own, and those configured.

        Without it any page in a browser on this machine could speak as any agent. Without keys a
        page's own host must be a name of this machine: any other name may be led here by whoever
        owns it (DNS rebinding).
        """
        allowed = self._settings.origins
        if "*" in allowed or origin in allowed:
            return True
        try:
            own = urlsplit(origin)
            if own.netloc not in hosts:
                return False
            return not self.keyless or is_loopback(own.hostname or "")
        except ValueError:  # brackets without an address, letters no host has
            return False


def shared_addresses(settings: NetSettings) -> frozenset[str]:
    """Addresses that many others are behind, as :func:`.peers.address_of` has them."""
    return frozenset(map(address_of, settings.proxies))
