"""What a record says of messages that were accepted: many in one, and taken apart again.

This is the hot path of an archive, so nothing is in a record twice: what the stored envelope says
itself stays in there, spliced in as it is, and who reads an archive looks it up (:func:`single`).
No files, no clock.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from trishula_broker.audit.redaction import Redactor
from trishula_broker.audit.settings import AuditSettings, Body
from trishula_broker.audit.times import iso
from trishula_broker.store.base import Accept, Accepted, Message
from trishula_protocol import limits

_encode: Final = msgspec.json.Encoder().encode
_sha256: Final = hashlib.sha256
_PAYLOAD: Final = b'"payload":'
_HEADERS: Final = b'"headers":'
_BEHIND_HEADERS: Final = b"}," + _PAYLOAD
_NULL: Final = b"null"


def payload_of(body: bytes) -> bytes:
    """The payload of a stored envelope, as it stands there."""
    # It is the last field. Before it there are names, which hold no quotation marks, and headers,
    # one of which may be called payload: behind their object it is what follows at once. Inside a
    # string neither can be, for its quotation marks are escaped.
    at = body.find(_PAYLOAD)
    if at < 0:
        return _NULL
    if body.find(_HEADERS, 0, at) >= 0:
        at = body.find(_BEHIND_HEADERS) + 2
        if at < 2:
            return _NULL
    return body[at + len(_PAYLOAD) : -1]


class _Told(msgspec.Struct, omit_defaults=True):
    """A message in a record. What is None there is not so, or is in the body."""

    seq: int
    id: str | None = None
    sender: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    recipients: tuple[str, ...] | None = None
    type: str | None = None
    priority: int | None = None
    size: int | None = None
    thread: str | None = None
    reply_to: str | None = None
    expires_at: str | None = None
    full: tuple[str, ...] | None = None
    pool: str | None = None
    sha256: str | None = None
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Envelope(msgspec.Struct):
    """What is looked for in a stored envelope."""

    type: str | None = None
    id: str | None = None
    sender: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    priority: int = limits.PRIORITY_DEFAULT
    reply_to: str | None = None
    thread: str | None = None


_envelope: Final = msgspec.json.Decoder(_Envelope).decode


class Messages:
    """Messages of one commit, as they are to stand in its next record.

    Args:
        settings: what becomes of bodies.
    """

    def __init__(self, settings: AuditSettings) -> None:
        self._body: Body = settings.body
        self._redact = Redactor(settings.redact) if settings.redact else None
        self._as_it_is = settings.body == "full" and self._redact is None
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.count = 0
        self.size = 0
        """Of their bodies as they are stored, in bytes."""
        self._pieces: list[bytes] = []

    def add(self, op: Accept, outcome: Accepted) -> None:
        """One that was accepted."""
        body, recipients = op.body, outcome.recipients
        if not (self._as_it_is and body):
            self._add(self._in_full(op, outcome), body)
            return
        more = "" if op.ttl is None else f'"expires_at":"{iso(outcome.accepted_at + op.ttl)}",'
        if outcome.full:  # they got no copy, for their mailbox was full
            more += f'"full":[{_names(outcome.full)}],'
        if outcome.pool is not None:  # the capability that it waits for
            more += f'"pool":"{outcome.pool}",'
        names = f'"{recipients[0]}"' if len(recipients) == 1 else _names(recipients)
        # Written out, for an encoder takes longer. Names hold nothing that JSON escapes.
        text = f'{{"seq":{outcome.seq},"recipients":[{names}],{more}"body":'
        self._pieces += (text.encode(), body, b"},")
        self.count += 1
        self.size += len(body)

    def add_notice(self, message: Message) -> None:
        """The hub's own mail."""
        reply_to = _envelope(message.body).reply_to if message.body else None
        told = _Told(
            message.seq,
            message.id,
            message.sender,
            message.to,
            (message.to,),
            message.type,
            message.priority,
            len(message.body),
            message.thread,
            reply_to,
        )
        self._add(told, message.body)

    def take(self, number: int, head: bytes) -> bytes:
        """All that were added, as record ``number``; there must be one.

        Args:
            head: what all records of the commit begin with.
        """
        pieces = self._pieces
        self.clear()
        pieces[-1] = b"}]"
        return b'{"n":%d,%b,"event":"accepted","messages":[%b' % (number, head, b"".join(pieces))

    def _in_full(self, op: Accept, outcome: Accepted) -> _Told:
        return _Told(
            outcome.seq,
            op.id,
            op.sender,
            str(op.address),
            outcome.recipients,
            op.type,
            op.priority,
            len(op.body),
            op.thread,
            op.reply_to,
            None if op.ttl is None else iso(outcome.accepted_at + op.ttl),
            outcome.full or None,
            outcome.pool,
        )

    def _add(self, told: _Told, body: bytes) -> None:
        if body and self._body != "none":
            told.sha256 = _sha256(payload_of(body)).hexdigest()
            if self._body == "full":
                told.body = msgspec.Raw(body if self._redact is None else self._redact(body))
        self._pieces += (_encode(told)[:-1], b"},")
        self.count += 1
        self.size += len(body)


def _names(names: tuple[str, ...]) -> str:
    return f'"{names[0]}"' if len(names) == 1 else ",".join([f'"{name}"' for name in names])


# --- for readers ---


class _Together(msgspec.Struct):
    hash: str
    messages: list[_Told]
    block: str | None = None


_together: Final = msgspec.json.Decoder(_Together).decode
_TEXT: Final = rb'"(?:[^"\\]|\\.)*"'
_BEGIN: Final = re.compile(
    rb'\{"n":[0-9]+,"pos":[0-9]+,"at":%b,"node":%b,"ns":%b,"event":"accepted",(?="messages":)'
    % (_TEXT, _TEXT, _TEXT)
)


def single(line: bytes) -> Iterator[bytes]:
    """A record, without its end; one of several messages as one of each, with all that is known of
    it and with the number and hash that they have together. One that is damaged is left out."""
    begin = _BEGIN.match(line)
    if begin is None:
        yield line
        return
    try:
        together = _together(line)
        end = f',"hash":"{together.hash}"}}'.encode()
        last = b"" if together.block is None else f',"block":"{together.block}"'.encode()
        for n, told in enumerate(together.messages, 1):
            block = last if n == len(together.messages) else b""
            yield b"".join((begin[0], _encode(_filled(told))[1:-1], block, end))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return


def _filled(told: _Told) -> _Told:
    """With what its body says."""
    if told.id is not None or told.body is msgspec.UNSET:
        return told
    body = bytes(told.body)
    envelope = _envelope(body)
    told.id, told.sender, told.to = envelope.id, envelope.sender, envelope.to
    told.type, told.priority, told.reply_to = envelope.type, envelope.priority, envelope.reply_to
    told.thread = envelope.thread if envelope.thread != envelope.id else None
    told.size = len(body)
    told.sha256 = _sha256(payload_of(body)).hexdigest()
    return told
