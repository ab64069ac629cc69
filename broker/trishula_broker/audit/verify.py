"""Verifies an archive: that nothing in it was changed, removed, moved, cut off or rewritten.

What the files alone show, their chain of hashes shows. A cut tail, and an archive that was written
anew as a whole, are shown by heads: what the node signed, kept where its files are not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from trishula_broker.audit import blocks, segment
from trishula_broker.audit.heads import is_signed
from trishula_broker.audit.scan import Finding, Progress, Scan
from trishula_broker.audit.sealing import Sealer
from trishula_broker.audit.segment import TRAIL, ChainName, Segment
from trishula_broker.audit.times import iso
from trishula_broker.store.trail import ArchiveRecord, Head

Known = Mapping[str, Sequence[ArchiveRecord]]
"""What a store knows of its archivers, by namespace."""
BLIND: Final = (
    "a cut tail, or an archive written anew as a whole, would not be seen: the signed heads in the "
    "store are out of reach"
)


class ChainReport(msgspec.Struct):
    """What was found in a chain."""

    chain: str
    node: str
    segments: int
    records: int
    first: int
    last: int
    """Numbers of its first and last record; 0 for none."""
    hash: str
    findings: list[Finding]
    found: int
    """How many there were; ``findings`` are the first of them."""
    notes: list[str]
    """What could not be seen, or is no fault."""


class Store(msgspec.Struct):
    """What is known beside the files."""

    archives: Known | None
    """None when the store is out of reach,"""
    why: str = ""
    """for this reason."""
    home: str = "default"
    """The namespace that has the heads of the local chain."""
    kid: str | None = None
    """The node's public key, where it is known."""


def verify(
    root: Path,
    store: Store,
    sealer: Sealer | None = None,
    against: str | None = None,
    progress: Progress = lambda _: None,
) -> list[ChainReport]:
    """Every chain of the archive in ``root``.

    Args:
        against: a node whose digests of blocks are compared with this archive's.
        progress: told bytes of files as they were read.

    Raises:
        OSError: a file cannot be read.
    """
    names = segment.chains(root)
    reports = [_verify_chain(root, name, store, sealer, against, progress) for name in names]
    if store.archives is not None:
        # A chain that is gone as a whole is the longest cut tail there is.
        here = {(name.kind, name.namespace) for name in names}
        nodes = {report.node for report in reports if report.node}
        for namespace, archivers in store.archives.items():
            for archiver in archivers:
                for head in archiver.heads:
                    place = (head.chain, namespace if head.chain == TRAIL else "")
                    its = archiver.node in nodes or _is_signed_with(archiver, store.kid)
                    if its and place not in here:
                        name = ChainName(*place)
                        what = f"the store knows {head.number} records of it, and it is not here"
                        finding = Finding(str(name), "", None, None, what)
                        reports.append(
                            ChainReport(str(name), archiver.node, 0, 0, 0, 0, "", [finding], 1, [])
                        )
                        here.add(place)
    return reports


def size(root: Path) -> int:
    """Bytes that :func:`verify` will read."""
    files = (each for name in segment.chains(root) for each in segment.segments(name.folder(root)))
    return sum(each.path.stat().st_size for each in files)


def _verify_chain(
    root: Path,
    name: ChainName,
    store: Store,
    sealer: Sealer | None,
    against: str | None,
    progress: Progress,
) -> ChainReport:
    namespace = name.namespace if name.kind == TRAIL else store.home
    archivers = () if store.archives is None else store.archives.get(namespace, ())
    wanted = frozenset(
        head.number for each in archivers for head in each.heads if head.chain == name.kind
    )
    scan = Scan(str(name), wanted)
    notes: list[str] = []
    found = segment.segments(name.folder(root))
    digests = _scan_files(scan, found, name, sealer, progress, notes)
    _note_events(scan, notes)
    clear = [each.path.name for each in found if not each.encrypted]
    if sealer is not None and clear:
        some = clear[0] if len(clear) == 1 else f"{clear[0]} to {clear[-1]}, {len(clear)} files"
        notes.append(f"{some}: not encrypted, so who has not the key could have written that too")
    node = next((told.node for told in reversed(scan.told) if told.node), "")
    scan.file = ""
    _check_files(scan, found, digests, notes)
    last = scan.number if scan.number is not None else scan.floor
    if store.archives is None:
        notes.append(f"{BLIND} ({store.why})")
    else:
        own = _own(archivers, node, store.kid)
        node = node or (own.node if own is not None else "")
        locked = sealer is None and bool(found) and found[-1].encrypted
        _check_heads(scan, own, name, archivers, node, last, found, store, notes, locked)
        if name.kind == TRAIL:
            _check_blocks(scan, own, archivers, against, notes)
    return ChainReport(
        str(name),
        node,
        len(found),
        scan.records,
        scan.first or 0,
        last,
        scan.hash,
        scan.findings,
        scan.count,
        notes,
    )


def _scan_files(
    scan: Scan,
    found: Sequence[Segment],
    name: ChainName,
    sealer: Sealer | None,
    progress: Progress,
    notes: list[str],
) -> dict[int, tuple[Segment, str]]:
    """Scan every segment, in order; the SHA-256 of the files of those that are sealed."""
    digests: dict[int, tuple[Segment, str]] = {}
    for before, each in zip((None, *found), found, strict=False):
        if before is not None and each.number != before.number + 1:
            scan.file = each.path.name
            scan.find(f"segments {before.number + 1} to {each.number - 1} are missing")
        data, each = _read(each)
        progress(len(data))
        if each.sealed:
            digests[each.number] = (each, hashlib.sha256(data).hexdigest())
        held = segment.content(data, each, name, sealer)
        scan.segment(each.path.name, each.number, held.text)
        if held.problem is not None:
            torn = held.torn and each is found[-1]
            if torn:
                notes.append(f"{each.path.name}: {held.problem}: a crash, or a write under way")
            else:
                scan.find(
                    f"{held.problem}; the last record that could be read is {scan.number}",
                    record=scan.number,
                )
                scan.lost()
        elif scan.torn:
            if each is found[-1] and not each.sealed:
                notes.append(
                    f"{each.path.name}: line {scan.torn} is not whole: a crash, or a write under "
                    "way"
                )
            else:
                scan.find("its last line is not whole", scan.torn)
        scan.torn = 0
    return digests


def _note_events(scan: Scan, notes: list[str]) -> None:
    """What the chain says of what happened to it."""
    for told in scan.told:
        if told.event == "gap":
            first, to = told.missing
            away = "the node was silent for too long, or a backup was restored, before"
            why = away if first > 1 else "it began with"
            notes.append(f"entries {first} to {to} were never here: {why} record {told.n}")
        elif told.event == "altered":
            scan.file = ""
            scan.find(f"the hub found this at its start at {told.at}: {told.what}", None, told.n)
        elif told.event == "rewound":
            notes.append(
                f"before record {told.n} the store was set back from entry {told.had} to {told.to}"
            )


def _own(archivers: Sequence[ArchiveRecord], node: str, kid: str | None) -> ArchiveRecord | None:
    """The archiver whose archive this is, also when nothing is left that says so."""
    for each in archivers:
        if each.node == node:
            return each
    for each in archivers:  # what the archive says of itself may be forged
        if _is_signed_with(each, kid):
            return each
    return archivers[0] if not node and len(archivers) == 1 else None


def _is_signed_with(archiver: ArchiveRecord, kid: str | None) -> bool:
    """Whether it signs with the key of the node whose archive is looked at."""
    return any(head.kid == kid for head in archiver.heads)


def _read(each: Segment) -> tuple[bytes, Segment]:
    try:
        return each.path.read_bytes(), each
    except FileNotFoundError:  # sealed at this moment
        for other in segment.segments(each.path.parent):
            if other.number == each.number:
                return other.path.read_bytes(), other
        raise


def _check_files(
    scan: Scan,
    found: Sequence[Segment],
    digests: Mapping[int, tuple[Segment, str]],
    notes: list[str],
) -> None:
    """What the chain says of its own files."""
    sealed = {told.segment: told for told in scan.told if told.event == "sealed"}
    for number, (each, digest) in digests.items():
        told = sealed.get(number)
        if told is None:
            notes.append(f"{each.path.name}: no record says yet how it was sealed")
        elif told.sha256 != digest:
            scan.file = each.path.name
            scan.find("its file is not as it was when it was sealed")
    scan.file = ""
    if found and found[0].number > 1:
        removed = [told for told in scan.told if told.event == "removed"]
        last = next((t for t in removed if t.segment == found[0].number - 1), None)
        header = next((told for told in scan.told if told.event == "segment"), None)
        if last is None:
            scan.file = found[0].path.name
            scan.find(
                f"segments 1 to {found[0].number - 1} are missing, and no record says that "
                "retention removed them"
            )
        elif header is not None and (last.last, last.last_hash) != (header.n - 1, header.prev):
            scan.file = found[0].path.name
            scan.find(
                f"it does not continue segment {last.segment}, which retention removed", 1, header.n
            )
        else:
            notes.append(f"records 1 to {last.last} were removed by retention")
    scan.file = ""


def _check_heads(
    scan: Scan,
    own: ArchiveRecord | None,
    name: ChainName,
    archivers: Sequence[ArchiveRecord],
    node: str,
    last: int,
    found: Sequence[Segment],
    store: Store,
    notes: list[str],
    locked: bool,
) -> None:
    """What the node signed; ``locked``: the end is encrypted, and there is no key."""
    namespace = name.namespace if name.kind == TRAIL else store.home
    head = None
    if own is not None:
        head = next((each for each in own.heads if each.chain == name.kind), None)
    if head is None:
        others = ", ".join(each.node for each in archivers) or "nobody"
        notes.append(
            f"the store has no head of it by node {node or '?'}, but by {others}: "
            f"{BLIND.partition(':')[0]}"
        )
        return
    assert own is not None
    when = iso(head.at)
    if not is_signed(head, own.node, namespace):
        scan.find(f"the head of {when} in the store is not signed with the key that it names")
    elif store.kid is None:
        notes.append("the node's own key is not at hand: who signed the head is not known")
    elif head.kid != store.kid:
        scan.find(f"the head of {when} in the store was signed with another key than the node's")
    if head.number > last and locked:
        notes.append(f"its end cannot be read: whether it has {head.number} records is not known")
    elif head.number > last:
        scan.file = found[-1].path.name if found else ""
        scan.find(
            f"its end was cut off: it ends with record {last}, and by the head of {when} it had "
            f"{head.number}",
            record=last,
        )
        scan.file = ""
    elif scan.first is not None and head.number < scan.first:
        notes.append(f"the head of {when} is of a record that retention has removed")
    elif scan.hashes.get(head.number) != head.hash:
        what = "" if scan.count else ", and the archive was written anew from there or before"
        scan.find(f"it is not what the node signed at {when}{what}", record=head.number)
    elif last > head.number:
        more = last - head.number
        what = "1 record" if more == 1 else f"{more} records"
        notes.append(f"only the chain holds {what} that came after the head of {when}")


def _check_blocks(
    scan: Scan,
    own: ArchiveRecord | None,
    archivers: Sequence[ArchiveRecord],
    against: str | None,
    notes: list[str],
) -> None:
    """What other nodes archived."""
    for number, digest in own.digests if own is not None else ():
        if scan.blocks.get(number, digest) != digest:
            scan.find(f"block {number} is not what this node told the store of it")
    if against is None:
        return
    other = next((each for each in archivers if each.node == against), None)
    if other is None:
        nodes = ", ".join(each.node for each in archivers) or "nobody"
        notes.append(f"{against} archives nothing of it; {nodes} does")
        return
    theirs = dict(other.digests)
    common = sorted(theirs.keys() & scan.blocks.keys())
    for number in common:
        if theirs[number] != scan.blocks[number]:
            some = f"{number * blocks.SIZE + 1} to {(number + 1) * blocks.SIZE}"
            scan.find(f"entries {some} (block {number}) differ from what {against} archived")
    if common:
        notes.append(f"{len(common)} blocks of {blocks.SIZE} entries are compared with {against}'s")
    else:
        notes.append(f"no whole block of {blocks.SIZE} entries is both here and at {against}")


__all__ = ["BLIND", "ChainReport", "Head", "Known", "Store", "size", "verify"]
