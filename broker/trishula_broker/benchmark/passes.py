"""Tokens for agents that are made for a load or a trial: short-lived, in no list, revoked by
nobody."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Final

from trishula_broker.auth import key_file, tokens
from trishula_broker.auth.errors import KeysError
from trishula_broker.auth.identity import Identity

SPARE_SECONDS: Final = 600.0
"""How much longer than the load a token lasts: agents come before it and go after it."""


class Passes:
    """Makes them with a hub's own key.

    Args:
        path: the key file.
        seconds: how long the load lasts.
        issuer: as the hub's ``auth.issuer``.
        audience: as the hub's ``auth.audience``.
        namespace: where the agents are.

    Raises:
        AuthError: the keys cannot be read, or do not sign.
    """

    def __init__(
        self,
        path: Path,
        seconds: float,
        issuer: str = "trishula",
        audience: str = "trishula",
        namespace: str = "default",
    ) -> None:
        keys = key_file.load(path)
        if keys.signing is None:
            raise KeysError(str(path), "has public halves only; run where the key is that signs")
        self._key = keys.signing
        self._lasts_ms = int((seconds + SPARE_SECONDS) * 1000)
        self._issuer = issuer
        self._audience = audience
        self._namespace = namespace

    def token(self, agent: str) -> str:
        """One that lets ``agent`` in, and do everything an agent may."""
        now = time.time_ns() // 1_000_000
        identity = Identity(
            subject=agent,
            namespace=self._namespace,
            role="agent",
            token_id=secrets.token_hex(10),
            issued_at=now,
            expires_at=now + self._lasts_ms,
        )
        return tokens.create(identity, self._key, self._issuer, self._audience)
