"""Reads an archive for people: no hub is asked, and none is disturbed."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from trishula_broker.audit import segment
from trishula_broker.audit.messages import single
from trishula_broker.audit.sealing import Sealer
from trishula_broker.audit.segment import LOCAL, ChainName

_decode: Final = msgspec.json.Decoder().decode
Record = dict[str, Any]


class _Begin(msgspec.Struct):
    at: str


_begin: Final = msgspec.json.Decoder(_Begin).decode


class Archive:
    """The files in ``root``.

    Args:
        warn: told once of each segment of which something cannot be read.
    """

    def __init__(self, root: Path, sealer: Sealer | None, warn: Callable[[str], None]) -> None:
        self.root = root
        self.unread = 0
        """Segments of which something could not be read, so far."""
        self._sealer = sealer
        self._warn = warn

    def chains(self, namespace: str | None = None) -> list[ChainName]:
        """All of them, or those that have records of ``namespace``."""
        return [
            name
            for name in segment.chains(self.root)
            if namespace is None or name.kind == LOCAL or name.namespace == namespace
        ]

    def lines(self, name: ChainName, since: str = "") -> Iterator[bytes]:
        """The lines of a chain in order; of those before ``since`` (as records have it) whole
        segments are left out.

        Raises:
            OSError: a file cannot be read.
        """
        found = segment.segments(name.folder(self.root))
        texts = self._texts(name, found)
        if not since:
            for text in texts:
                yield from segment.lines(text)
            return
        before: bytes | None = None
        for text in texts:
            # A segment whose follower begins before ``since`` has nothing of interest.
            if before is not None and self._begins(text) >= since:
                yield from segment.lines(before)
            before = text
        if before is not None:
            yield from segment.lines(before)

    def _texts(self, name: ChainName, found: list[segment.Segment]) -> Iterator[bytes]:
        for each in found:
            try:
                held = segment.read(each, name, self._sealer)
            except FileNotFoundError:
                continue  # retention has just removed it
            if held.problem is not None and not held.torn:
                self.unread += 1
                self._warn(f"{each.path}: {held.problem}")
            yield held.text

    @staticmethod
    def _begins(text: bytes) -> str:
        try:
            return _begin(text[: text.find(b"\n")]).at
        except (msgspec.DecodeError, UnicodeDecodeError):
            return "~"  # behind every time: what it follows is looked at

    def records(
        self,
        namespace: str | None = None,
        since: str = "",
        until: str = "",
        needles: tuple[bytes, ...] = (),
        chain: str | None = None,
    ) -> Iterator[tuple[bytes, Record]]:
        """Lines with what they say, whose ``at`` is in between; with all of ``needles`` in them.
        Chain after chain, each in its order. Each message that was accepted has one of its own.

        Raises:
            OSError: a file cannot be read.
        """
        for name in self.chains(namespace):
            if chain is None or name.kind == chain:
                yield from self._records(name, namespace, since, until, needles)

    def timeline(
        self,
        namespace: str | None = None,
        since: str = "",
        until: str = "",
        needles: tuple[bytes, ...] = (),
    ) -> Iterator[tuple[bytes, Record]]:
        """As :meth:`records`, of all chains together by their time; what is of one chain stays in
        its order, whatever a clock did. A segment of each chain is in memory.

        Raises:
            OSError: a file cannot be read.
        """
        chains = self.chains(namespace)
        found = [self._records(name, namespace, since, until, needles) for name in chains]
        return heapq.merge(*found, key=_at)

    def _records(
        self,
        name: ChainName,
        namespace: str | None,
        since: str,
        until: str,
        needles: tuple[bytes, ...],
    ) -> Iterator[tuple[bytes, Record]]:
        for line in self.lines(name, since):
            if any(needle not in line for needle in needles):
                continue
            for each in single(line):
                if each is not line and any(needle not in each for needle in needles):
                    continue
                try:
                    record = _decode(each)
                    at = record["at"]
                except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
                    continue  # what is damaged is for `broker audit verify`
                if not isinstance(at, str) or at < since or (until and at > until):
                    continue
                if namespace is not None and record.get("ns") != namespace:
                    continue
                yield each, record


def _at(found: tuple[bytes, Record]) -> str:
    at: str = found[1]["at"]
    return at
