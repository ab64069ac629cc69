"""Of tokens."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from trishula_broker.api.shapes.base import Given, Shown, TokenId
from trishula_protocol.address import AGENT_PATTERN
from trishula_protocol.bodies import Name, Page


class TokensQuery(Given):
    """Whose; ``all`` shows those that have expired, too. A page begins behind the token
    ``after``."""

    agent: Name | None = None
    all: bool = False
    after: TokenId | None = None
    limit: Page = 100


class Token(Shown):
    """What a token says; the token itself is kept nowhere."""

    id: str
    agent: str
    namespace: str
    role: str
    made: int
    expires: int | None
    revoked: int | None
    state: Literal["valid", "revoked", "expired"]
    send: list[str] | None
    receive: list[str] | None
    types: list[str] | None


class Tokens(Shown):
    """A page, in the order of their making."""

    tokens: list[Token]
    next: str | None


class RevokeBody(Given):
    """One token by its id, or all that an agent was given until now."""

    token_id: TokenId | None = None
    agent: Annotated[str, msgspec.Meta(pattern=AGENT_PATTERN)] | None = None


class RevokedTokens(Shown):
    """How many sessions ended at this hub. ``listed``: the list of tokens says it too."""

    token_id: str | None
    agent: str | None
    sessions: int
    listed: bool = True
