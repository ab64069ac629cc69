"""What a run's messages are kept as: what is said of each, and their bodies one behind the other.

``lua/run.lua`` reads the same. Neither part passes through a script in any other form, for Redis
has Lua hash each byte of every string that is made. Knows nothing of who holds what.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

import msgspec

from trishula_broker.store import base

_Head = tuple[list[str], str | list[str], bool | list[bool]]
_encode: Final = msgspec.msgpack.Encoder().encode
_head: Final = msgspec.msgpack.Decoder(_Head).decode
_state: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_number: Final = msgspec.msgpack.Decoder(int).decode
_LENGTH: Final = struct.Struct(">I")
AT_HAND_BYTES: Final = 4 << 20
"""Of pages at hand, at most: the trail is read soon after they came."""
_LAST, _POS, _LEFT = 0, 6, 9
"""Places in a value of ``runs``, from 0."""


class Page(NamedTuple):
    """As Redis has it: ids, types and whether receipts are wanted, packed; and bodies."""

    head: bytes
    bodies: bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.head) + len(self.bodies)


def page_of(run: Sequence[base.Accept]) -> Page:
    """The page of a run."""
    first = run[0]
    kinds, receipts = [op.type for op in run], [op.receipt for op in run]
    kind = first.type if kinds.count(first.type) == len(run) else kinds
    receipt = first.receipt if receipts.count(first.receipt) == len(run) else receipts
    head = _encode(([op.id for op in run], kind, receipt))
    return Page(head, b"".join([op.body for op in run]))


def ends_of(run: Sequence[base.Accept]) -> bytes:
    """Where each of its bodies ends, four bytes each."""
    return struct.pack(f">{len(run)}I", *accumulate([len(op.body) for op in run]))


def kept(packed: bytes) -> Page:
    """A page that is kept for the trail alone."""
    (size,) = _LENGTH.unpack_from(packed)
    behind = _LENGTH.size + size
    return Page(packed[_LENGTH.size : behind], packed[behind:])


def parts(page: Page, ends: bytes | memoryview) -> list[tuple[str, str, bool, bytes]]:
    """Id, type, whether a receipt is wanted, and body of each."""
    ids, kind, receipt = _head(page.head)
    kinds = [kind] * len(ids) if isinstance(kind, str) else kind
    receipts = [receipt] * len(ids) if isinstance(receipt, bool) else receipt
    found: list[tuple[str, str, bool, bytes]] = []
    begin, bodies = 0, page.bodies
    sizes = struct.unpack(f">{len(ids)}I", ends)
    for id_, type_, wanted, end in zip(ids, kinds, receipts, sizes, strict=True):
        found.append((id_, type_, wanted, bodies[begin:end]))
        begin = end
    return found


class AtHand:
    """Pages that hints brought, by the seq of their first message, until the trail is read."""

    def __init__(self) -> None:
        self._pages: dict[int, Page] = {}
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<AtHand {len(self._pages)} pages, {self._bytes} bytes>"

    def add(self, first: int, page: Page) -> None:
        """Keep one; the oldest may go."""
        self.take(first)
        self._pages[first] = page
        self._bytes += page.size
        while self._bytes > AT_HAND_BYTES:
            self.take(next(iter(self._pages)))

    def take(self, first: int) -> Page | None:
        """The page, which is not kept any longer."""
        page = self._pages.pop(first, None)
        if page is not None:
            self._bytes -= page.size
        return page

    def clear(self) -> None:
        """A Redis that was set back may have others in their places."""
        self._pages.clear()
        self._bytes = 0


class Counted(NamedTuple):
    """How many messages a run has."""

    all: int
    waiting: int


def counted(first: bytes, run: bytes) -> Counted:
    """Of a field of ``runs`` and its value."""
    state = _state(run)
    last, left = (_number(state[at]) for at in (_LAST, _LEFT))
    return Counted(last - int(first) + 1, left)


def moved(run: bytes, by: int) -> bytes:
    """A value of ``runs`` whose entry in the trail is so much later than it was."""
    state = _state(run)
    if pos := _number(state[_POS]):
        state[_POS] = msgspec.Raw(_encode(pos + by))
    return _encode(state)
