"""Tokens in, identities out: the keys in force now, and what was revoked."""

from __future__ import annotations

from collections.abc import Callable

from trishula_broker.auth.errors import TokenRefused
from trishula_broker.auth.identity import Identity
from trishula_broker.auth.keys import KeyRing
from trishula_broker.auth.revocations import Revocations
from trishula_broker.auth.tokens import FOREIGN_TYP, LEEWAY_MS, OWN_TYP, Issuer, verify


class Authenticator:
    """One a hub; the handshake and ``renew`` ask it.

    Args:
        keys: this project's keys.
        revocations: what was revoked; whoever hears of more tells it there.
        now: wall-clock milliseconds.
        issuer: the ``iss`` of own tokens.
        audience: the ``aud`` of all tokens.
        leeway_ms: how far clocks may be apart.
        trusted_issuer: the ``iss`` of another issuer's tokens; empty for none.
        trusted: its public keys.
    """

    def __init__(
        self,
        keys: KeyRing,
        revocations: Revocations,
        now: Callable[[], int],
        *,
        issuer: str = "trishula",
        audience: str = "trishula",
        leeway_ms: int = LEEWAY_MS,
        trusted_issuer: str = "",
        trusted: KeyRing | None = None,
    ) -> None:
        self.revocations = revocations
        self.leeway_ms = leeway_ms
        self._now = now
        self._audience = audience
        self._issuers = {OWN_TYP: Issuer(issuer, keys)}
        if trusted is not None:
            self._issuers[FOREIGN_TYP] = Issuer(trusted_issuer, trusted)

    def __repr__(self) -> str:
        return f"<Authenticator {' '.join(repr(each.keys) for each in self._issuers.values())}>"

    def use(self, keys: KeyRing) -> None:
        """Go by these own keys from now on."""
        self._issuers[OWN_TYP] = self._issuers[OWN_TYP]._replace(keys=keys)

    def use_trusted(self, keys: KeyRing) -> None:
        """Go by these keys of the other issuer from now on."""
        self._issuers[FOREIGN_TYP] = self._issuers[FOREIGN_TYP]._replace(keys=keys)

    def identify(self, token: str) -> Identity:
        """Who the token proves somebody to be.

        Raises:
            TokenRefused: it proves nothing; its text does not have the token.
        """
        identity = verify(token, self._issuers, self._audience, self._now(), self.leeway_ms)
        if self.revocations.is_revoked(identity):
            raise TokenRefused("revoked", "it was revoked; get a new one")
        return identity
