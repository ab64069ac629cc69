"""Searches an archive for another process, which has more urgent things to do.

``python -m trishula_broker.audit.seek`` reads a :class:`Request` from standard input, writes the
records that fit, a line each, and then a :class:`Found`. It runs at low priority, and ends when
nobody reads what it writes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from trishula_broker.audit import chain
from trishula_broker.audit.reading import Archive, Record
from trishula_broker.audit.sealing import Sealer

NICE: Final = 10
"""Of 19: behind whatever serves."""
BYTES: Final = 4 << 20
"""Of records in an answer, but for the first: whoever asks has all of it in memory."""
_encode: Final = msgspec.json.Encoder().encode


class Request(msgspec.Struct, omit_defaults=True):
    """Which archive, and which of its records. Times are as records have them."""

    root: str
    namespace: str
    limit: int
    key: bytes | None = None
    """It is encrypted with this."""
    since: str = ""
    until: str = ""
    told: int = 0
    """How many records of the very moment ``since`` were told before."""
    text: str = ""
    event: str | None = None
    agent: str | None = None
    """Who did it, or to whose mailbox."""
    sender: str | None = None
    to: str | None = None
    thread: str | None = None
    type: str | None = None

    def __repr__(self) -> str:
        return f"<Request {self.root} {self.namespace}>"


class Found(msgspec.Struct):
    """The end. ``more``: there are more than the limit, or than :data:`BYTES` have room for;
    ``next`` is the time of the first of them, and ``told`` how many of that moment were told:
    those of one commit have the same. ``unread`` counts files of which something could not be
    read."""

    more: bool
    next: str
    told: int
    unread: int


def matching(archive: Archive, wanted: Request) -> Iterator[tuple[bytes, Record]]:
    """The records that fit, in the order of their times.

    Raises:
        OSError: a file cannot be read.
    """
    event = wanted.event
    if any(each is not None for each in (wanted.sender, wanted.to, wanted.thread, wanted.type)):
        event = event or "accepted"
    asked = (event, wanted.agent, wanted.sender, wanted.to, wanted.thread, wanted.type)
    needles = tuple(_encode(each)[1:-1] for each in asked if each is not None)
    # As JSON, or a piece of JSON as it stands.
    texts = (_encode(wanted.text)[1:-1], wanted.text.encode(errors="surrogatepass"))
    found = archive.timeline(wanted.namespace, wanted.since, wanted.until, needles)
    for line, record in found:
        if (
            (event is None or record.get("event") == event)
            and (wanted.agent is None or wanted.agent in _who(record))
            and (wanted.sender is None or record.get("from") == wanted.sender)
            and (wanted.to is None or _went_to(record, wanted.to))
            and (wanted.thread is None or wanted.thread in (record.get("thread"), record.get("id")))
            and (wanted.type is None or record.get("type") == wanted.type)
            and any(each in chain.said(line) for each in texts)
        ):
            yield line, record


def _went_to(record: Record, to: str) -> bool:
    return to == record.get("to") or to in record.get("recipients", ())


def _who(record: Record) -> tuple[Any, ...]:
    said = (record.get("agent"), record.get("from"), record.get("to"))
    return (*said, *record.get("agents", ()), *record.get("recipients", ()))


def answer(archive: Archive, wanted: Request) -> Iterator[bytes]:
    """What is to be written, line by line.

    Raises:
        OSError: a file cannot be read.
    """
    last, same = wanted.since, 0
    given = size = 0
    more = False
    for line, record in matching(archive, wanted):
        if record["at"] != last:
            last, same = record["at"], 0
        if last == wanted.since and same < wanted.told:
            same += 1
            continue
        size += len(line)
        if given == wanted.limit or (given and size > BYTES):
            more = True
            break
        given += 1
        same += 1
        yield line
    if not more:
        last, same = "", 0
    yield _encode(Found(more, last, same, archive.unread))


def main() -> None:
    """Answer one request."""
    os.nice(NICE)
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    sealer = None if wanted.key is None else Sealer(wanted.key)
    archive = Archive(Path(wanted.root), sealer, lambda text: None)
    out = sys.stdout.buffer
    for line in answer(archive, wanted):
        out.write(line + b"\n")
    out.flush()


if __name__ == "__main__":
    main()
