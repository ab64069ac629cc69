"""What a token proves: who somebody is, and what they may do.

Pure data: the core is handed one with each connection and knows nothing of tokens or keys.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Role = Literal["agent", "operator", "observer"]
"""``agent`` sends and receives; ``operator`` may also ask the operators' operations;
``observer`` asks those that change nothing, and sends nothing."""


class Rights(msgspec.Struct, frozen=True):
    """What a token allows. None is no limit; addresses are as in ``to``, and ``*`` at the end of
    one stands for whatever follows: ``build-*``, ``#*``."""

    send: tuple[str, ...] | None = None
    """Addresses it may send to."""
    receive: tuple[str, ...] | None = None
    """Groups and capabilities it may be reached by, beside its own name and ``broadcast``."""
    types: tuple[str, ...] | None = None
    """Message types it may send."""


class Identity(msgspec.Struct, frozen=True):
    """Who a connection was proven to be. Times are wall-clock milliseconds."""

    subject: str
    """The agent: the only name it may register."""
    namespace: str
    role: Role
    token_id: str
    """The token's ``jti``."""
    issued_at: int
    expires_at: int | None
    rights: Rights = Rights()


ANYBODY: Final = None
"""What a hub without keys knows of those who connect: they may be whom they say, and may all."""
