"""The hub's own mail: ERRORs about messages it had accepted.

They are messages like any other (docs/protocol.md §5): stored, delivered, settled; never the
cause of another.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from trishula_broker.store.base import FullNotice, Message, Notice
from trishula_protocol.address import HUB
from trishula_protocol.codec import encode_json
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode


def notice(
    message: Message, agent: str, code: ErrorCode, text: str, reason: str, wall: int
) -> Notice | None:
    """What the sender of ``message`` is told about the copy of ``agent``.

    None when the hub itself sent it.
    """
    if message.sender == HUB:
        return None
    # The time sets a second life after `retry` apart from the first.
    notice_id = f"{code}.{message.seq}.{agent.lstrip('@')}.{wall}"
    body = _body(
        notice_id,
        to=message.sender,
        reply_to=message.id,
        thread=message.thread or message.id,
        payload={
            "code": str(code),
            "message": text,
            "retryable": False,
            "details": {"agents": [agent], "reason": reason},
        },
        wall=wall,
    )
    return Notice(message.sender, notice_id, message.thread or message.id, body)


_AGENTS: Final = b'"agents":[]'


def full_notice(
    sender: str, envelope_id: str, thread: str | None, to: str, wall: int
) -> FullNotice:
    """The frame of the ERROR about copies of a fan-out whose mailboxes were full."""
    digest = hashlib.sha256(f"{sender} {envelope_id}".encode()).hexdigest()[:32]
    notice_id = f"{ErrorCode.MAILBOX_FULL}.{digest}"
    body = _body(
        notice_id,
        to=sender,
        reply_to=envelope_id,
        thread=thread or envelope_id,
        payload={
            "code": str(ErrorCode.MAILBOX_FULL),
            "message": f"some mailboxes of {to} are full; the others have the message",
            "retryable": False,
            "details": {"agents": []},
        },
        wall=wall,
    )
    head, _, tail = body.rpartition(_AGENTS)
    return FullNotice(notice_id, head + b'"agents":', tail, thread or envelope_id)


def _body(
    notice_id: str, *, to: str, reply_to: str, thread: str, payload: dict[str, Any], wall: int
) -> bytes:
    return encode_json(
        Envelope(
            "ERROR",
            id=notice_id,
            sender=HUB,
            to=to,
            timestamp=wall,
            reply_to=reply_to,
            thread=thread,
            payload=payload,
        )
    )
