"""The token of a request, and whom it proves.

Knows neither sockets nor keys: who can check tokens is handed in. No text from here has a token in
it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Container, Mapping, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from trishula_broker.auth.errors import TokenRefused
from trishula_broker.auth.identity import Identity
from trishula_broker.net.denied import Denied
from trishula_broker.net.ports import Authenticator
from trishula_broker.net.shares import ADDRESSES

REALM: Final = "trishula"
FORGED_A_SECOND: Final = 5.0
"""Refused tokens an address may show, in the long run; after a deploy with an old token all agents
of a host try again at about this rate together."""
FORGED_AT_ONCE: Final = 50.0
"""... and at once."""
GOOD: Final = 4096
"""Tokens remembered as good, by their digest."""
RETRY_S: Final = 1
"""Seconds an address that showed too many is told to wait."""


def token_of(headers: Mapping[str, Sequence[str]], query: str) -> str | None:
    """The token of a request: ``Authorization: Bearer …``, or ``?token=…`` from a browser.

    Args:
        headers: values by name in lower case.
        query: what is behind the path's ``?``.

    Raises:
        Denied: 401, there are several or it is none.
    """
    given = headers.get("authorization", ())
    in_query = parse_qs(query, keep_blank_values=True).get("token", [])
    if not given and not in_query:
        return None
    if len(given) + len(in_query) > 1:
        raise unauthorized("malformed", "a request has one token: the header's or the query's")
    if in_query:
        return in_query[0]
    scheme, _, token = given[0].strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise unauthorized("malformed", "the header must be Authorization: Bearer and a token")
    return token.strip()


def unauthorized(reason: str, text: str) -> Denied:
    """401, with what RFC 6750 wants to be said; ``text`` is plain ASCII without quotes."""
    said = "".join(each if each.isascii() and each.isprintable() else " " for each in text)
    said = said.replace("\\", "/").replace('"', "'")
    challenge = f'Bearer realm="{REALM}"'
    if reason != "missing":  # who shows no token is told of no error (RFC 6750 §3.1)
        challenge += f', error="invalid_token", error_description="{said}"'
    return Denied(HTTPStatus.UNAUTHORIZED, reason, text, (("WWW-Authenticate", challenge),))


class Bearers:
    """Asks whom tokens prove, and has addresses that show many forged ones wait.

    A token that was good lately is always checked, so that nobody is kept out by others who come
    from the same address.

    Args:
        authenticator: who can check tokens.
        seconds: a clock that never jumps.
        proxies: addresses that many others are behind.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        seconds: Callable[[], float],
        proxies: Container[str] = (),
    ) -> None:
        self._authenticator = authenticator
        self._seconds = seconds
        self._proxies = proxies
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._forged: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By address: how many it may still show, and when that was so."""

    def __repr__(self) -> str:
        return f"<Bearers good={len(self._good)} forged from {len(self._forged)} addresses>"

    def __len__(self) -> int:
        """What is remembered."""
        return len(self._good) + len(self._forged)

    def identify(self, token: str, address: str) -> Identity:
        """Whom ``token`` proves.

        Raises:
            Denied: 401, it proves nobody; 429, ``address`` has shown too many of these.
        """
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        if digest not in self._good and self._left(address) < 1:
            raise Denied(
                HTTPStatus.TOO_MANY_REQUESTS,
                "rate",
                "too many refused tokens from this address; wait, then try again",
                (("Retry-After", str(RETRY_S)),),
            )
        try:
            identity = self._authenticator.identify(token)
        except TokenRefused as refused:
            self._good.pop(digest, None)
            self._count(address)
            raise unauthorized(refused.reason, refused.text) from None
        self._good[digest] = None
        self._good.move_to_end(digest)
        if len(self._good) > GOOD:
            self._good.popitem(last=False)
        return identity

    def _left(self, address: str) -> float:
        left, at = self._forged.get(address, (FORGED_AT_ONCE, 0.0))
        return min(FORGED_AT_ONCE, left + (self._seconds() - at) * FORGED_A_SECOND)

    def _count(self, address: str) -> None:
        if address in self._proxies:
            return
        self._forged[address] = max(0.0, self._left(address) - 1), self._seconds()
        self._forged.move_to_end(address)
        if len(self._forged) > ADDRESSES:
            self._forged.popitem(last=False)
