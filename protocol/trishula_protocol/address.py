"""Addresses: who gets a message (docs/protocol.md §4).

Pure text; whether an agent is known is the store's knowledge, not this module's.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

from trishula_protocol.errors import ErrorCode, ProtocolError

HUB: Final = "hub"
BROADCAST: Final = "broadcast"

AGENT_PATTERN: Final = r"^[a-z0-9](?:[a-z0-9_-]|\.(?!\.)){0,63}\Z(?<!\.)"
"""An agent's id. The same rule holds for groups and capabilities."""
MAILBOX_PATTERN: Final = AGENT_PATTERN.replace("^", "^@?", 1)
"""An agent's mailbox, or a capability's pool with its sign."""
ID_PATTERN: Final = r"^[A-Za-z0-9._:-]{1,128}\Z"
"""An envelope's id."""

_AGENT: Final = re.compile(AGENT_PATTERN)
_ID: Final = re.compile(ID_PATTERN)

# Names that Windows reserves for devices, with or without an extension; an agent's id is a
# folder's name in the shared folder (§8), so it must be a name everywhere.
_DEVICES: Final = frozenset(
    ["con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(10))]
)


class Kind(Enum):
    """The five kinds of address."""

    AGENT = "agent"
    BROADCAST = "broadcast"
    GROUP = "group"
    CAPABILITY = "capability"
    HUB = "hub"


class Address(NamedTuple):
    """A parsed ``to``. ``name`` is the agent, group or capability, without its sign."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return _SIGN.get(self.kind, "") + self.name

    @property
    def fans_out(self) -> bool:
        """Whether it may have more than one recipient."""
        return self.kind is Kind.BROADCAST or self.kind is Kind.GROUP


_SIGN: Final = {Kind.GROUP: "#", Kind.CAPABILITY: "@"}
_KIND: Final = {"#": Kind.GROUP, "@": Kind.CAPABILITY}


def agent_fault(name: str) -> str | None:
    """Why ``name`` cannot be an agent's id, or None when it can."""
    fault = tag_fault(name)
    if fault is not None:
        return fault
    if name in (HUB, BROADCAST):
        return f"{name!r} is taken by the protocol"
    if is_reserved(name):
        return f"{name!r} is a name some file systems reserve"
    return None


def is_reserved(name: str) -> bool:
    """Whether some file system takes ``name``, in lower case, for a device."""
    return name.partition(".")[0] in _DEVICES


def tag_fault(name: str) -> str | None:
    """Why ``name`` cannot be a group's or capability's name, or None when it can."""
    if _AGENT.match(name):
        return None
    return (
        "must be 1-64 characters of a-z 0-9 _ - and single dots, "
        "starting with a letter or digit and not ending in a dot"
    )


def is_id(text: str) -> bool:
    """Whether ``text`` can be an envelope's id."""
    return _ID.match(text) is not None


@lru_cache(maxsize=65536)
def parse_address(text: str) -> Address:
    """Parse a ``to``.

    Raises:
        ProtocolError: ``bad_message`` that names the rule.
    """
    if text == HUB:
        return Address(Kind.HUB, HUB)
    if text == BROADCAST:
        return Address(Kind.BROADCAST, BROADCAST)
    kind = _KIND.get(text[:1])
    name = text[1:] if kind else text
    fault = tag_fault(name) if kind else agent_fault(name)
    if fault:
        shown = text if len(text) <= 80 else text[:77] + "..."
        what = f"{kind.value} " if kind else "agent "
        raise ProtocolError(ErrorCode.BAD_MESSAGE, f"to: {what}{shown!r} {fault}")
    return Address(kind or Kind.AGENT, name)
