"""What the hub tells the API's sessions unasked: one thing, and what equal frames have of it."""

from __future__ import annotations

from trishula_protocol.envelope import Envelope


class News:
    """An envelope that was told unasked.

    Attributes:
        envelope: which.
        size: its bytes, about.
        shown: what whoever hands it on has made of it; made once for all that hear the same.
    """

    __slots__ = ("envelope", "shown", "size")

    def __init__(self, envelope: Envelope, size: int) -> None:
        self.envelope = envelope
        self.size = size
        self.shown: bytes | None = None


class Memo:
    """The last frame that had news only. Those who listen to the same are told in equal frames, one
    after the other: they are taken apart once."""

    __slots__ = ("frame", "news")

    def __init__(self) -> None:
        self.frame = b""
        self.news: list[News] = []
