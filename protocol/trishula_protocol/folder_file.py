"""Version 2 files of the shared folder: their bytes and their names (docs/protocol.md §8).

Pure: who reads and writes them is ``trishula.folder``.

A file is ``trishula/2 <bytes> <sha256> [<kid> <signature>]``, a newline, and the envelope's JSON.
Its name is ``<microseconds>-<sender>-<id>.msg``, sender and id in lower-case base32 (the extended
hex alphabet), so that it sorts by time and is the same name on every file system. An id too long
for that stands as ``w`` and its SHA-256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final, NamedTuple

from trishula_protocol import limits
from trishula_protocol.address import HUB, agent_fault, parse_address
from trishula_protocol.codec import JSON, encode_json
from trishula_protocol.envelope import STORED_TYPES, Envelope
from trishula_protocol.errors import ProtocolError
from trishula_protocol.folder_key import Key
from trishula_protocol.payload import payload_fault

SUFFIX: Final = ".msg"
HEAD_BYTES: Final = 512
"""Of the header line at most; 15 + 10 + 64 + 64 + 64 and spaces fit well."""
FILE_BYTES: Final = HEAD_BYTES + limits.CLIENT_FRAME_BYTES
"""Of a whole file at most: what every client must take from a hub, it takes from a file."""
ID_PART: Final = 80
"""Characters of a name's last part at most. With the longest sender a name has 205 then, which
leaves room for what copying tools add to one (Syncthing: 40), within 255."""

_HEAD = re.compile(
    rb"trishula/2 (?P<size>[0-9]{1,10}) (?P<sha>[0-9a-f]{64})"
    rb"(?: (?P<kid>[A-Za-z0-9._-]{1,64}) (?P<signature>[0-9a-f]{64}))?\Z"
)
_NAME = re.compile(r"(?P<stamp>[0-9]{16})-(?P<who>(?P<sender>[0-9a-v]+)-(?P<id>w?[0-9a-v]+))\.msg")


class NotWhole(Exception):
    """No version 2 file, or not all of one yet: it is left alone. The text says why."""


class NotValid(Exception):
    """A whole file whose envelope breaks a rule. The text names the field and the rule."""


class Parsed(NamedTuple):
    """A whole file's parts; ``body`` is the envelope's JSON."""

    body: bytes
    kid: str | None
    signature: str | None


class Name(NamedTuple):
    """What a name says. ``who`` stands for sender and id; ``id`` is None where it is a digest."""

    stamp: int
    who: str
    sender: str
    id: str | None


def pack(envelope: Envelope, key: Key | None = None) -> bytes:
    """The file of an envelope that has ``from``, signed when there is a key."""
    body = encode_json(envelope)
    signed = f" {key.kid} {key.sign(body)}" if key is not None else ""
    head = f"trishula/2 {len(body)} {hashlib.sha256(body).hexdigest()}{signed}\n"
    return head.encode() + body


def parse(data: bytes) -> Parsed:
    """The parts of a file, if it is whole.

    Raises:
        NotWhole: it is not, or is something else.
    """
    head, newline, body = data.partition(b"\n")
    found = _HEAD.match(head)
    if found is None or not newline:
        raise NotWhole("it does not begin with the line of a version 2 file")
    if len(body) != int(found["size"]):
        raise NotWhole(f"it holds {len(body)} bytes of an envelope of {int(found['size'])}")
    if hashlib.sha256(body).hexdigest().encode() != found["sha"]:
        raise NotWhole("its SHA-256 is not the one its first line gives")
    kid, signature = found["kid"], found["signature"]
    if kid is None:
        return Parsed(body, None, None)
    return Parsed(body, kid.decode(), signature.decode())


def open_envelope(body: bytes) -> Envelope:
    """The envelope of a whole file, without what only a hub may say.

    Raises:
        NotValid: it breaks a rule; nobody may be handed it.
    """
    try:
        items = JSON.decode(body)
    except ProtocolError as error:
        raise NotValid(error.message) from error
    item = items[0]
    if isinstance(item, ProtocolError):
        raise NotValid(item.message) from item
    if len(items) != 1 or body[:1] != b"{":
        raise NotValid("envelope: a file holds one, not an array")
    fault = envelope_fault(item) or payload_fault(item.payload, body)
    if fault is not None:
        raise NotValid(fault)
    item.settles = item.seq = item.attempt = item.expires_in = None
    return item


def envelope_fault(envelope: Envelope) -> str | None:
    """Why ``envelope`` cannot be a file's, its payload aside; None when it can."""
    if envelope.type not in STORED_TYPES:
        return f"type: {envelope.type} is not kept in files"
    if envelope.sender is None or envelope.to is None:
        return f"{'from' if envelope.sender is None else 'to'}: required in a file"
    if envelope.sender != HUB:
        fault = agent_fault(envelope.sender)
        if fault is not None:
            return f"from: agent {envelope.sender!r} {fault}"
    try:
        parse_address(envelope.to)
    except ProtocolError as error:
        return error.message
    return "to: 'hub' has no folder" if envelope.to == HUB else None


# --- names -----------------------------------------------------------------------------------


def file_name(stamp: int, sender: str, id: str) -> str:
    """The name of a file written at ``stamp``, microseconds since the epoch."""
    return f"{min(max(stamp, 0), 10**16 - 1):016d}-{who(sender, id)}{SUFFIX}"


def who(sender: str, id: str) -> str:
    """The part of a name that says whose message it is."""
    last = _base32(id.encode())
    if len(last) > ID_PART:
        last = "w" + _base32(hashlib.sha256(id.encode()).digest())
    return f"{_base32(sender.encode())}-{last}"


def parse_name(name: str) -> Name | None:
    """What ``name`` says; None when it is no version 2 file's, a conflict copy's for one."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        sender = _from_base32(found["sender"])
        id = None if found["id"].startswith("w") else _from_base32(found["id"])
    except ValueError:
        return None
    return Name(int(found["stamp"]), found["who"], sender, id)


def _base32(data: bytes) -> str:
    return base64.b32hexencode(data).decode().rstrip("=").lower()


def _from_base32(text: str) -> str:
    try:
        data = base64.b32hexdecode(text.upper() + "=" * (-len(text) % 8))
        if _base32(data) == text:
            return data.decode()
    except (binascii.Error, UnicodeDecodeError):
        pass
    raise ValueError(f"{text!r} is not base32")
