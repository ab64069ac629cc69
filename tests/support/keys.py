"""A key file of the tests' own, and tokens made with it."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

from trishula_broker.auth import key_file
from trishula_broker.auth.identity import Identity, Rights, Role
from trishula_broker.auth.ledger import Issued
from trishula_broker.auth.tokens import create

HOUR_MS = 3_600_000


class Keys:
    """Keys in ``folder``, made at once."""

    def __init__(self, folder: Path, alg: str = "HS256") -> None:
        self.path = folder / "keys.json"
        key_file.init(self.path, alg, _now())

    def identity(
        self,
        agent: str,
        *,
        namespace: str = "default",
        role: Role = "agent",
        lives_ms: int | None = HOUR_MS,
        **rights: Any,
    ) -> Identity:
        """What :meth:`token` proves."""
        now = _now()
        ends = None if lives_ms is None else now + lives_ms
        return Identity(agent, namespace, role, secrets.token_hex(8), now, ends, Rights(**rights))

    def token(self, agent: str, **options: Any) -> str:
        """A token; it is in the list beside the keys, as `broker token create` has it."""
        identity = self.identity(agent, **options)
        key = key_file.load(self.path).signing
        assert key is not None
        key_file.ledger_of(self.path).add(Issued.of(identity, key.kid))
        return create(identity, key, "trishula", "trishula")


def _now() -> int:
    return time.time_ns() // 1_000_000
