"""How stored things look in an operation's answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trishula_broker.store import base

PAGE_BYTES: Final = 1 << 20
"""Bytes of bodies in one page at most, so that the answer fits a frame; one message at least."""


def fitting(messages: Sequence[base.Message]) -> int:
    """How many of ``messages`` one page holds."""
    size = 0
    for n, message in enumerate(messages):
        size += len(message.body)
        if n and size > PAGE_BYTES:
            return n
    return len(messages)


def envelope_of(message: base.Message) -> dict[str, Any]:
    """A logged message as an envelope with its ``seq``; ``trimmed`` when its body is gone."""
    if not message.body:
        return {
            "type": message.type,
            "id": message.id,
            "from": message.sender,
            "to": message.to,
            "priority": message.priority,
            "thread": message.thread or message.id,
            "seq": message.seq,
            "accepted_at": message.accepted_at,
            "trimmed": True,
        }
    shown: dict[str, Any] = msgspec.json.decode(message.body)
    shown["thread"] = message.thread or message.id
    shown["seq"] = message.seq
    shown["accepted_at"] = message.accepted_at
    return shown


def summary_of(message: base.Message) -> dict[str, Any]:
    """A logged message without its payload."""
    shown = envelope_of(message)
    shown.pop("payload", None)
    shown["size"] = len(message.body)
    return shown
