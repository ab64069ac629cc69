"""What an identity may do: pure functions, asked for every envelope.

An identity of None is anybody on a hub without keys, who may do everything. Patterns are those of
:class:`~trishula_broker.auth.identity.Rights`: an address, or the beginning of one with ``*``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from trishula_broker.auth.identity import Identity
from trishula_protocol import limits
from trishula_protocol.address import BROADCAST, HUB, parse_address
from trishula_protocol.envelope import STORED_TYPES
from trishula_protocol.errors import ProtocolError

ANY: Final = "*"
"""Every address, of any kind."""
SHOWN: Final = 12
"""Of a list in a text for people: a refusal must stay one line."""
_BEGINNING: Final = re.compile(
    rf"[#@]?(?:[a-z0-9](?:[a-z0-9_-]|\.(?!\.)){{0,{limits.AGENT_LENGTH - 1}}})?\*\Z"
)
"""A sign, what a name may begin with, and ``*``."""


def may_send(identity: Identity | None, to: str) -> bool:
    """Whether it may send to an address. Everybody may ask the hub; an observer sends nothing."""
    if identity is None:
        return True
    if identity.role == "observer":
        return to == HUB
    return identity.rights.send is None or to == HUB or matches(identity.rights.send, to)


def may_join(identity: Identity | None, address: str) -> bool:
    """Whether it may be reached by ``#group`` or ``@capability``; ``broadcast`` reaches all."""
    if identity is None or identity.rights.receive is None:
        return True
    return matches(identity.rights.receive, address)


def may_type(identity: Identity | None, type_: str) -> bool:
    """Whether it may send messages of a type. HEARTBEAT and ACK are no messages."""
    if identity is None or identity.rights.types is None:
        return True
    return type_ in identity.rights.types or type_ not in STORED_TYPES


@lru_cache(maxsize=8192)
def matches(patterns: tuple[str, ...], address: str) -> bool:
    """Whether one of the patterns stands for ``address``.

    ``*`` alone is every address. A beginning stands for addresses of its own kind: ``b*`` is for
    agents and not for ``broadcast``, and only ``#*`` is for groups.
    """
    if address in patterns or ANY in patterns:
        return True
    if address == BROADCAST:
        return False
    return any(each[-1:] == "*" and address.startswith(each[:-1]) for each in patterns)


def pattern_fault(pattern: str) -> str | None:
    """Why a text cannot be a pattern for addresses, or None when it can."""
    if pattern == HUB:
        return "everybody may ask the hub: leave it out"
    if _BEGINNING.match(pattern):
        return None
    try:
        parse_address(pattern)
    except ProtocolError as error:
        text = error.message.removeprefix("to: ")
        return f"{text}; or the beginning of an address with * behind it"
    return None


def receive_fault(pattern: str) -> str | None:
    """The same of a pattern for what somebody may be reached by."""
    if pattern[:1] in ("#", "@") or pattern == ANY:
        return pattern_fault(pattern)
    return (
        "must be of #groups and @capabilities: by its own name, and by broadcast, an agent is "
        "always reached"
    )


def shown(patterns: Iterable[str] | None) -> str:
    """Patterns, or types, for people: what the token allows; of many the first ones."""
    if patterns is None:
        return "everything"
    listed = list(patterns)
    more = len(listed) - SHOWN
    text = ", ".join(listed[:SHOWN]) + (f" and {more} more" if more > 0 else "")
    return text or "nothing"
