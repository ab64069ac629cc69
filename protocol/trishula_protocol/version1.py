"""Version 1 messages, which agents exchanged as files, and what they are in version 2 (§8).

Pure. A version 1 message is a JSON object with ``id``, ``from``, ``to``, ``type``, ``priority``,
``subject``, ``body``, ``timestamp`` and ``reply_to``, of which scripts leave out what they like.
``headers.v1`` of the envelope keeps all but subject and body as they were, for the way back.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from trishula_protocol import limits
from trishula_protocol.address import is_id, is_reserved
from trishula_protocol.envelope import ANSWER_TYPES, Envelope, MessageType
from trishula_protocol.folder_file import NotValid, envelope_fault, who
from trishula_protocol.payload import find_fault, same_value
from trishula_protocol.refusals import DECODE_ERRORS

HEADER: Final = "v1"
"""The header of the original fields; what one cannot hold goes on in ``v1.1``, ``v1.2`` ..."""
HEADERS_MOST: Final = 30
"""Headers the original fields may take; two are left for tracing."""
FOREIGN_ID: Final = "v1."
"""Begins an id that is made of one with other characters: the rest is that one in base32."""

SUFFIX: Final = ".json"

_TEXT: Final = ("subject", "body")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}\Z(?<!\.)")
_TYPES: Final[dict[str, MessageType]] = {
    "task": "COMMAND",
    "response": "RESULT",
    "result": "RESULT",
    "error": "ERROR",
}
_PRIORITIES: Final = {"urgent": 1, "high": 2, "normal": 3, "low": 4}
_TYPE_NAMES: Final[dict[MessageType, str]] = {
    "COMMAND": "task",
    "RESULT": "response",
    "ERROR": "error",
    "STATUS": "status",
}
_PRIORITY_NAMES: Final = {1: "urgent", 2: "high", 3: "normal", 4: "low", 5: "low"}


# --- from version 1 ------------------------------------------------------------------------------


def decode(data: bytes, name: str = "") -> Envelope:
    """The envelope of a version 1 file; ``name``, without ``.json``, is its id if it has none.

    Raises:
        NotValid: it is no version 1 message, or cannot be carried; names the field and the rule.
    """
    try:
        message = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except DECODE_ERRORS as error:
        raise NotValid(f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise NotValid(f"a message is a JSON object, not {type(message).__name__}")
    return to_envelope(message, name)


def to_envelope(message: Mapping[str, Any], name: str = "") -> Envelope:
    """The envelope of a version 1 message. Raises as :func:`decode`."""
    fault = find_fault(message, "message", binary=False)
    if fault is not None:
        raise NotValid(fault)
    id = message.get("id")
    if id is None or id == "":
        id = name
    reply_to = message.get("reply_to")
    reply_to = None if reply_to in (None, "") else _id("reply_to", reply_to)
    kind = _type(message.get("type"), reply_to)
    envelope = Envelope(
        kind,
        id=_id("id", id),
        sender=_agent("from", message.get("from")),
        to=_agent("to", message.get("to")),
        timestamp=_timestamp(message.get("timestamp")),
        priority=_priority(message.get("priority")),
        reply_to=reply_to,
        headers=_headers(message),
        payload={key: message[key] for key in _TEXT if key in message},
    )
    fault = envelope_fault(envelope)
    if fault is not None:
        raise NotValid(fault)
    return envelope


def _type(type: Any, reply_to: str | None) -> MessageType:
    kind = _TYPES.get(type.strip().lower(), "STATUS") if isinstance(type, str) else "STATUS"
    return "STATUS" if kind in ANSWER_TYPES and reply_to is None else kind


def _agent(field: str, name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise NotValid(f"{field}: required, an agent's name")
    return name.strip().lower()


def _id(field: str, id: Any) -> str:
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)
    if not isinstance(id, str) or not id:
        raise NotValid(f"{field}: required, a string")
    if is_id(id) and not (id.startswith(FOREIGN_ID) and _original_id(id) != id):
        return id
    try:
        made = FOREIGN_ID + base64.b32hexencode(id.encode()).decode().rstrip("=").lower()
    except UnicodeEncodeError:  # the name of a file, in no encoding we know
        raise NotValid(f"{field}: not valid Unicode") from None
    if len(made) > limits.ID_LENGTH:
        raise NotValid(f"{field}: {id[:40]!r}... is too long for one with such characters")
    return made


def _timestamp(time: Any) -> int | None:
    """Milliseconds since the epoch; None for what is no time, which ``headers.v1`` still has."""
    if isinstance(time, str):
        try:
            moment = datetime.fromisoformat(time.strip())
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            return round(moment.timestamp() * 1000)
        except (ValueError, OverflowError):
            return None
    if isinstance(time, (int, float)) and not isinstance(time, bool) and abs(time) < 2**53:
        # Seconds, as of time.time(), or milliseconds already: those of 1973 and later.
        return round(time) if abs(time) >= 10**11 else round(time * 1000)
    return None


def _priority(priority: Any) -> int:
    if isinstance(priority, str):
        return _PRIORITIES.get(priority.strip().lower(), limits.PRIORITY_DEFAULT)
    number = isinstance(priority, int) and not isinstance(priority, bool)
    return priority if number and priority in _PRIORITY_NAMES else limits.PRIORITY_DEFAULT


def _headers(message: Mapping[str, Any]) -> dict[str, str]:
    kept = {key: value for key, value in message.items() if key not in _TEXT}
    text = msgspec.json.encode(kept).decode()
    size = limits.HEADER_LENGTH
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    if len(parts) > HEADERS_MOST:
        raise NotValid(
            f"fields other than subject and body: {HEADERS_MOST * size} characters at most, "
            f"not {len(text)}; put them into the body"
        )
    return {HEADER if n == 0 else f"{HEADER}.{n}": part for n, part in enumerate(parts)}


# --- to version 1 --------------------------------------------------------------------------------


def encode(envelope: Envelope) -> bytes:
    """The version 1 file of an envelope that has ``from``, indented as scripts write it."""
    return msgspec.json.format(msgspec.json.encode(from_envelope(envelope)), indent=2) + b"\n"


def file_name(envelope: Envelope) -> str:
    """``<id>.json``, as old scripts expect, where the id is safe as a name; else one made of it."""
    assert envelope.sender is not None
    assert envelope.id is not None
    id = _original_id(envelope.id)
    if _PLAIN_NAME.match(id) and not is_reserved(id.lower()):
        return id + SUFFIX
    return who(envelope.sender, envelope.id) + SUFFIX


def from_envelope(envelope: Envelope) -> dict[str, Any]:
    """The version 1 message of an envelope; the original one when it came from version 1."""
    original = _original(envelope)
    if original is not None:
        return original
    payload = envelope.payload
    if isinstance(payload, dict) and payload and payload.keys() <= {*_TEXT}:
        text = dict(payload)
    elif isinstance(payload, str):
        text = {"body": payload}
    else:
        text = {"body": msgspec.json.encode(payload).decode()}
    reply_to = envelope.reply_to
    return {
        "id": _original_id(envelope.id or ""),
        "from": envelope.sender,
        "to": envelope.to,
        "type": _TYPE_NAMES[envelope.type],
        "priority": _PRIORITY_NAMES[envelope.priority],
        "subject": text.get("subject", ""),
        "body": text.get("body", ""),
        "timestamp": "" if envelope.timestamp is None else _iso(envelope.timestamp),
        "reply_to": None if reply_to is None else _original_id(reply_to),
    }


def _original(envelope: Envelope) -> dict[str, Any] | None:
    """What ``headers.v1`` kept, if it is what this envelope was made of: a sender is proven, a
    header is not."""
    headers = envelope.headers
    if HEADER not in headers or not isinstance(envelope.payload, dict):
        return None
    parts = [headers[HEADER]]
    while (more := headers.get(f"{HEADER}.{len(parts)}")) is not None:
        parts.append(more)
    try:
        message = msgspec.json.decode("".join(parts))
        if not isinstance(message, dict):
            return None
        message |= {key: envelope.payload[key] for key in _TEXT if key in envelope.payload}
        again = to_envelope(message, envelope.id or "")
    except (*DECODE_ERRORS, NotValid):
        return None
    same = ("id", "sender", "to", "type", "priority", "reply_to")
    if any(getattr(again, field) != getattr(envelope, field) for field in same):
        return None
    return message if same_value(again.payload, envelope.payload) else None


def _original_id(id: str) -> str:
    if not id.startswith(FOREIGN_ID):
        return id
    text = id.removeprefix(FOREIGN_ID)
    try:
        original = base64.b32hexdecode(text.upper() + "=" * (-len(text) % 8)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return id
    again = base64.b32hexencode(original.encode()).decode().rstrip("=").lower()
    return original if original and again == text else id


def _iso(milliseconds: int) -> str:
    try:
        moment = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        return ""  # a sender's clock may say anything, and a year has four digits here
    fraction = milliseconds % 1000
    return moment.isoformat() + (f".{fraction:03d}Z" if fraction else "Z")
