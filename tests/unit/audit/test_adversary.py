"""Somebody who has the archive's files, and tries everything: what reads otherwise is found.

Edits of bytes, of files and of records, one or several at once; records also with all hashes and
digests made to fit again, as who knows the form would do. Only the store's heads are out of reach.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.trails import NAME, START, archive, as_file, entries, writer
from trishula_broker.audit import chain, segment
from trishula_broker.audit.chain import Link
from trishula_broker.audit.heads import NodeKey
from trishula_broker.audit.sealing import MAGIC, Sealer
from trishula_broker.audit.segment import Segment
from trishula_broker.audit.settings import AuditSettings
from trishula_broker.audit.verify import Store, verify
from trishula_broker.audit.writer import Damaged
from trishula_broker.store.trail import ArchiveRecord

KEY = Sealer(bytes(range(32)))
SMALL = AuditSettings(segment_bytes=3_000)
SEALED = re.compile(
    rb'"event":"sealed","segment":([0-9]+),"bytes":[0-9]+,"sha256":"([0-9a-f]{64})"'
)


class Archive:
    """One of several segments, and a copy of it to spoil."""

    def __init__(self, root: Path, sealer: Sealer | None) -> None:
        self.sealer = sealer
        self.whole, self.work = root / "whole", root / "work"
        key = NodeKey.load_or_make(root / "node.key")
        one = writer(self.whole, SMALL, sealer)
        for n in range(0, 12, 2):
            archive(one, list(entries(2, first=n + 1)), SMALL)
            one.tidy()
            if n == 4:  # an earlier state, for replays
                shutil.copytree(self.whole, root / "earlier")
        head = key.head("n1", "default", "trail", one.link, START)
        one.close()
        self.earlier = NAME.folder(root / "earlier")
        record = ArchiveRecord("n1", 12, START, (head,), ())
        self.store = Store({"default": (record,)}, kid=key.kid)
        self.head = head
        self.before = self.read(self.whole)

    @property
    def folder(self) -> Path:
        return NAME.folder(self.work)

    @property
    def files(self) -> list[Segment]:
        return segment.segments(self.folder)

    def fresh(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.whole, self.work)

    def read(self, root: Path) -> list[bytes]:
        """All that a reader is shown."""
        found: list[bytes] = []
        for each in segment.segments(NAME.folder(root)):
            found += segment.lines(segment.read(each, NAME, self.sealer).text)
        return found

    def lines(self, each: Segment) -> list[bytes]:
        return list(segment.lines(segment.read(each, NAME, self.sealer).text))

    def put(self, each: Segment, lines: list[bytes]) -> None:
        data = b"".join(line + b"\n" for line in lines)
        each.path.write_bytes(as_file(each, data, self.sealer))

    def fit(self) -> None:
        """Make every number, hash and digest fit again."""
        link, digests = Link(), dict[bytes, bytes]()
        for each in self.files:
            records = []
            for line in self.lines(each):
                if chain.take_apart(line) is None:
                    continue
                record = line[line.index(b",") + 1 : -chain.TAIL]
                told = SEALED.search(record)
                if told is not None and told[1] in digests:
                    record = record.replace(told[2], digests[told[1]])
                if b'"event":"segment"' in record:
                    prev = b'"prev":"' + link.hash.encode()
                    record = re.sub(rb'"prev":"[0-9a-f]{64}', prev, record)
                records.append(record)
            link, made = chain.extend(link, records)
            self.put(each, [line[:-1] for line in made])
            digest = hashlib.sha256(each.path.read_bytes()).hexdigest()
            digests[b"%d" % each.number] = digest.encode()


@pytest.fixture(scope="module", params=[None, KEY], ids=["clear", "encrypted"])
def spoiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive(tmp_path_factory.mktemp("adversary"), request.param)


Edit = Callable[[Archive, Random], Any]


def _file(change: Callable[[bytes, Random], bytes]) -> Edit:
    def edit(it: Archive, random: Random) -> None:
        path = random.choice(it.files).path
        path.write_bytes(change(path.read_bytes(), random))

    return edit


def _records(change: Callable[[list[bytes], Random], Any]) -> Edit:
    def edit(it: Archive, random: Random) -> None:
        each = random.choice(it.files)
        lines = it.lines(each)
        if lines:
            change(lines, random)
            it.put(each, lines)

    return edit


def _in_line(change: Callable[[bytes, Random], bytes]) -> Edit:
    def inside(lines: list[bytes], random: Random) -> None:
        at = random.randrange(len(lines))
        lines[at] = change(lines[at], random)

    return _records(inside)


def _at(data: bytes, random: Random) -> int:
    return random.randrange(len(data) + 1)


def _swap_names(it: Archive, random: Random) -> None:
    one, two = (random.choice(it.files).path for _ in range(2))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def _other_form(it: Archive, random: Random) -> None:
    """Sealed for open, compressed or not, encrypted for clear, or the other way round."""
    each = random.choice(it.files)
    lines = it.lines(each)
    encrypted = it.sealer is not None and random.random() < 0.5
    sealed = random.random() < 0.5
    packed = sealed or random.random() < 0.5
    path = it.folder / segment.file_name(each.number, sealed, encrypted, packed)
    each.path.unlink()
    it.put(Segment(path, each.number, sealed, encrypted, packed), lines)


def _renumber(it: Archive, random: Random) -> None:
    each = random.choice(it.files)
    name = segment.file_name(random.randrange(20), each.sealed, each.encrypted, each.packed)
    each.path.rename(it.folder / name)


def _replay(it: Archive, random: Random) -> None:
    """Files as they were at an earlier time, some or all."""
    for path in it.earlier.iterdir():
        if random.random() < 0.7:
            number = path.name[:8]
            for now in it.folder.glob(f"{number}*"):
                now.unlink()
            shutil.copy(path, it.folder / path.name)


def _chunks(data: bytes, random: Random) -> bytes:
    """Chunks of an encrypted file, mixed and left out."""
    at, chunks = len(MAGIC), []
    while data.startswith(MAGIC) and at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        chunks.append(data[at:end])
        at = end
    random.shuffle(chunks)
    return data[: len(MAGIC)] + b"".join(chunks[random.randrange(2) :]) if chunks else data


def _drop_tail(it: Archive, random: Random) -> None:
    for each in it.files[random.randrange(len(it.files)) :]:
        each.path.unlink()


def _drop_beginning(it: Archive, random: Random) -> None:
    for each in it.files[: random.randrange(1, len(it.files) + 1)]:
        each.path.unlink()


EDITS: dict[str, Edit] = {
    "flip a bit": _file(
        lambda data, random: (
            data
            and bytes(
                [
                    *data[: (at := random.randrange(len(data)))],
                    data[at] ^ (1 << random.randrange(8)),
                ]
            )
            + data[at + 1 :]
        )
    ),
    "cut a file": _file(lambda data, random: data[: _at(data, random)]),
    "cut its beginning": _file(lambda data, random: data[_at(data, random) :]),
    "cut out": _file(lambda data, random: data[: _at(data, random)] + data[_at(data, random) :]),
    "put in": _file(
        lambda data, random: data[: (at := _at(data, random))] + random.randbytes(9) + data[at:]
    ),
    "empty it": _file(lambda data, random: b""),
    "double it": _file(lambda data, random: data + data),
    "zeros behind": _file(lambda data, random: data + bytes(100)),
    "a line behind": _file(lambda data, random: data + b'{"n":1,"event":"x"}\n'),
    "chunks": _file(_chunks),
    "remove a file": lambda it, random: random.choice(it.files).path.unlink(),
    "swap files": _swap_names,
    "another form": _other_form,
    "another number": _renumber,
    "replay": _replay,
    "remove the end": _drop_tail,
    "remove the beginning": _drop_beginning,
    "remove a record": _records(lambda lines, random: lines.pop(random.randrange(len(lines)))),
    "double a record": _records(
        lambda lines, random: lines.insert(random.randrange(len(lines)), random.choice(lines))
    ),
    "mix records": _records(lambda lines, random: random.shuffle(lines)),
    "cut records": _records(lambda lines, random: lines.__delitem__(slice(_at(b"12", random), 5))),
    "another sender": _in_line(lambda line, random: line.replace(b'"from":"dc"', b'"from":"xx"')),
    "another body": _in_line(lambda line, random: line.replace(b'"n":', b'"m":', 2)),
    "another time": _in_line(lambda line, random: line.replace(b"2023", b"2022", 1)),
    "another node": _in_line(lambda line, random: line.replace(b'"node":"n1"', b'"node":"n2"')),
    "another place": _in_line(lambda line, random: line.replace(b'"pos":', b'"pos":1', 1)),
    "another number of a record": _in_line(
        lambda line, random: re.sub(rb'"n":[0-9]+', b'"n":%d' % random.randrange(99), line, count=1)
    ),
    "another hash": _in_line(lambda line, random: line[:-20] + b"0" * 18 + line[-2:]),
    "another event": _in_line(
        lambda line, random: line.replace(
            b'"event":"accepted"', random.choice([b'"event":"gap"', b'"event":"rewound"'])
        )
    ),
    "no segment": _in_line(lambda line, random: line.replace(b'"segment"', b'"sediment"', 1)),
    "another segment's number": _in_line(
        lambda line, random: re.sub(
            rb'"segment":[0-9]+', b'"segment":%d' % _at(b"12", random), line
        )
    ),
}


@given(
    kinds=st.lists(st.sampled_from(sorted(EDITS)), min_size=1, max_size=3),
    fits=st.booleans(),
    seed=st.integers(0, 1 << 32),
)
@settings(max_examples=200)
def test_what_reads_otherwise_than_it_was_written_is_found(
    spoiled: Archive, kinds: list[str], fits: bool, seed: int
) -> None:
    spoiled.fresh()
    random = Random(seed)
    for kind in kinds:
        if spoiled.files:
            EDITS[kind](spoiled, random)
    if fits:
        spoiled.fit()
    reports = verify(spoiled.work, spoiled.store, spoiled.sealer)
    found = [finding for report in reports for finding in report.findings]
    now, before = spoiled.read(spoiled.work), spoiled.before
    if not found and now != before:  # what was added behind the last head: that is said
        assert now[: len(before)] == before
        assert any("came after the head" in note for report in reports for note in report.notes)
    if not found:
        return
    # Without the heads the chain shows what does not fit; what does is said to be out of sight.
    [blind] = verify(spoiled.work, Store(None, "no store.db"), spoiled.sealer)
    assert blind.findings or any("would not be seen" in note for note in blind.notes)


@given(
    kinds=st.lists(st.sampled_from(sorted(EDITS)), min_size=1, max_size=3),
    fits=st.booleans(),
    seed=st.integers(0, 1 << 32),
)
@settings(max_examples=100)
def test_a_hub_goes_on_behind_it_or_says_why_not_and_makes_nothing_good(
    spoiled: Archive, kinds: list[str], fits: bool, seed: int
) -> None:
    spoiled.fresh()
    random = Random(seed)
    for kind in kinds:
        if spoiled.files:
            EDITS[kind](spoiled, random)
    if fits:
        spoiled.fit()
    found = [
        each for it in verify(spoiled.work, spoiled.store, spoiled.sealer) for each in it.findings
    ]
    head = spoiled.head
    try:
        one = writer(spoiled.work, SMALL, spoiled.sealer)
    except Damaged:
        assert found
        return
    told = one.contradicts(head.number, head.hash, "then")
    archive(one, list(entries(2, first=one.mark.pos + 1)), SMALL)
    one.tidy()
    one.close()
    if found and told is None:
        assert verify(spoiled.work, Store(None), spoiled.sealer)[0].findings
