"""Trails made by hand, for tests and measurements of the audit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from trishula_broker.audit import blocks, chain, segment
from trishula_broker.audit.blocks import marked, with_block
from trishula_broker.audit.messages import single
from trishula_broker.audit.packing import Packer
from trishula_broker.audit.records import Records
from trishula_broker.audit.sealing import MAGIC, Sealer
from trishula_broker.audit.segment import TRAIL, ChainName, Segment
from trishula_broker.audit.settings import AuditSettings
from trishula_broker.audit.writer import ChainWriter
from trishula_broker.store import base
from trishula_broker.store.trail import Entry
from trishula_protocol.address import parse_address
from trishula_protocol.codec import encode_json
from trishula_protocol.envelope import Envelope

START = 1_700_000_000_000
NAME = ChainName(TRAIL, "default")
FULL = AuditSettings()


def accept(seq: int, payload: Any = None, **fields: Any) -> tuple[base.Accept, base.Accepted]:
    """The acceptance of message ``m<seq>`` from dc to agni."""
    envelope = Envelope(
        "COMMAND", f"m{seq}", "dc", "agni", START + seq, payload=payload or {"n": seq}, **fields
    )
    op = base.Accept(
        "dc",
        1,
        parse_address("agni"),
        f"m{seq}",
        "COMMAND",
        3,
        fields.get("thread"),
        None,
        False,
        None,
        encode_json(envelope),
    )
    return op, base.Accepted(seq, START + seq, ("agni",))


def settle(*seqs: int) -> tuple[base.Settle, base.Marked]:
    """agni is done with them."""
    at = tuple(START + seq + 1 for seq in seqs)
    return base.Settle("agni", 2, seqs, at), base.Marked(seqs, ())


def entries(count: int, each: int = 1, payload: Any = None, first: int = 1) -> Iterator[Entry]:
    """``count`` entries: ``each`` messages accepted, and done, in every one."""
    for pos in range(first, first + count):
        seqs = range((pos - 1) * each + 1, pos * each + 1)
        done = (*(accept(seq, payload) for seq in seqs), settle(*seqs))
        yield Entry(pos, START + pos * 1000, "n1", done)


class Clock:
    """Wall-clock milliseconds that stand still until they are moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


def writer(
    root: Path,
    settings: AuditSettings = FULL,
    sealer: Sealer | None = None,
    clock: Clock | None = None,
    name: ChainName = NAME,
) -> ChainWriter:
    """A chain that was opened."""
    made = ChainWriter(root, name, "n1", settings, sealer, clock or Clock())
    made.open()
    return made


def as_file(each: Segment, text: bytes, sealer: Sealer | None) -> bytes:
    """What a segment of these lines has to be."""
    if each.sealed:
        text = segment.compress(text)
    elif each.packed:
        text = b"".join(Packer().pack(text.splitlines(keepends=True)))
    if not each.encrypted:
        return text
    assert sealer is not None
    bound = each.bound_name(NAME)
    return sealer.file(text, bound) if each.sealed else MAGIC + sealer.seal(text, bound, 0)


def told(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """What records say, a message of its own each."""
    return [msgspec.json.decode(each) for line in lines for each in single(line)]


def archive(
    to: ChainWriter, some: list[Entry], settings: AuditSettings = FULL, sync: bool = True
) -> None:
    """Write entries as a follower does, all in one go; ``sync`` is on the disk at once."""
    records = Records(to.name.namespace, settings)
    to.make_room()
    mark = to.mark
    number = to.link.number - to.skip
    lines: list[bytes] = []
    for entry in some:
        mark = blocks.behind(mark, entry)
        lines += records.of(entry, number + len(lines) + 1)
        if mark.ended is not None and entry is not some[-1]:
            lines[-1] = with_block(lines[-1], mark)
    to.append(*chain.close(to.link, marked(lines[to.skip :], mark)), mark)
    if sync:
        to.sync()
