"""The records that figures are made of, in the order of their times, from one archive or several.

Bodies are passed over, and a segment of each chain is in memory at a time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from trishula_broker.audit.events import PULSE
from trishula_broker.audit.messages import single
from trishula_broker.audit.reading import Archive
from trishula_broker.audit.segment import LOCAL, ChainName
from trishula_broker.audit.times import iso, parse
from trishula_broker.report.uptime import PATIENCE_MS

_PULSE: Final = f'"event":"{PULSE}"'.encode()


class Line(msgspec.Struct, gc=False):
    """What matters here of a record; fields that another event has otherwise are of any type."""

    at: str
    event: str
    node: str = ""
    ns: str = ""
    sender: Any = msgspec.field(default=None, name="from")
    recipients: Any = ()
    type: Any = None
    size: Any = 0
    agent: Any = None
    seqs: Any = ()
    reason: Any = None
    code: Any = None
    what: Any = None
    why: Any = None
    peer: Any = None
    session: Any = None
    receive: Any = None
    count: Any = 1
    ms: Any = 0
    well_ms: Any = 0
    accept_s: Any = None
    delivery_s: Any = None


_line: Final = msgspec.json.Decoder(Line).decode


def lines(
    archives: Iterable[Archive], namespace: str | None, since: str, until: str
) -> Iterator[Line]:
    """What happened in between, and the pulses just behind the end.

    Of the second archive and those behind it only what their nodes alone saw: a trail is the same
    in all of them.

    Raises:
        OSError: a file cannot be read.
    """
    beyond = iso(parse(until) + PATIENCE_MS)
    chains = [
        _chain(archive, name, since)
        for number, archive in enumerate(archives)
        for name in archive.chains(namespace)
        if not number or name.kind == LOCAL
    ]
    for line in heapq.merge(*chains, key=lambda line: line.at):
        end = beyond if line.event == PULSE else until
        if since <= line.at < end and (namespace is None or not line.ns or line.ns == namespace):
            yield line


def _chain(archive: Archive, name: ChainName, since: str) -> Iterator[Line]:
    for text in archive.lines(name, since):
        for each in single(text):
            try:
                yield _line(each)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # what is damaged is for `broker audit verify`


def told_since(archives: Iterable[Archive]) -> str | None:
    """When the first pulse of all was: before it nobody can tell whether a hub was well.

    Raises:
        OSError: a file cannot be read.
    """
    found: list[str] = []
    for archive in archives:
        for name in archive.chains():
            if name.kind != LOCAL:
                continue
            for text in archive.lines(name):
                if _PULSE in text:
                    try:
                        found.append(_line(text).at)
                    except (msgspec.DecodeError, UnicodeDecodeError):
                        continue
                    break
    return min(found, default=None)
