"""Whatever is done to an archive is found, and named."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.trails import NAME, START, Clock, archive, as_file, entries, writer
from trishula_broker.audit import blocks, segment
from trishula_broker.audit.heads import NodeKey
from trishula_broker.audit.sealing import Sealer
from trishula_broker.audit.settings import AuditSettings
from trishula_broker.audit.verify import ChainReport, Store, verify
from trishula_broker.audit.writer import ChainWriter
from trishula_broker.store.trail import ArchiveRecord

KEY = Sealer(bytes(range(32)))
SMALL = AuditSettings(segment_bytes=3_000)


class Made:
    """An archive of several segments, the last one open, and what the store has of it."""

    def __init__(
        self, root: Path, sealer: Sealer | None = None, count: int = 16, step: int = 2
    ) -> None:
        self.root = root
        self.sealer = sealer
        key = NodeKey.load_or_make(root / "node.key")
        one = writer(root / "audit", SMALL, sealer)
        for n in range(0, count, step):
            archive(one, list(entries(min(step, count - n), first=n + 1)), SMALL)
            one.tidy()
        self.last = one.link.number
        head = key.head("n1", "default", "trail", one.link, START)
        one.close()
        record = ArchiveRecord("n1", count, START, (head,), ())
        self.store = Store({"default": (record,)}, kid=key.kid)
        self.files = segment.segments(NAME.folder(root / "audit"))

    def copy(self, to: Path) -> Path:
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.root / "audit", to)
        return NAME.folder(to)

    def verify(self, root: Path, store: Store | None = None) -> ChainReport:
        [report] = verify(root, store or self.store, self.sealer)
        return report

    def lines(self, each: segment.Segment) -> list[bytes]:
        text = segment.read(each, NAME, self.sealer).text
        return text.splitlines(keepends=True)

    def rewrite(self, folder: Path, each: segment.Segment, lines: list[bytes]) -> None:
        """What somebody would do who has the files, and the key."""
        data = as_file(each, b"".join(lines), self.sealer)
        (folder / each.path.name).write_bytes(data)


@pytest.fixture(scope="module", params=[None, KEY], ids=["clear", "encrypted"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("made"), request.param)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work") / "audit"


def test_an_archive_that_nobody_touched_is_whole(made: Made) -> None:
    report = made.verify(made.root / "audit")
    assert (report.findings, report.notes) == ([], [])
    assert (report.first, report.last, report.node) == (1, made.last, "n1")
    assert report.segments == len(made.files) > 2
    assert report.records == made.last


@given(data=st.data())
def test_any_flipped_byte_is_found_in_its_file(made: Made, work: Path, data: st.DataObject) -> None:
    folder = made.copy(work)
    each = data.draw(st.sampled_from(made.files))
    content = bytearray(each.path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    (folder / each.path.name).write_bytes(content)
    report = made.verify(work)
    assert report.found
    assert each.path.name in {finding.segment for finding in report.findings}


@given(data=st.data())
def test_a_flipped_byte_in_clear_is_named_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, made: Made, work: Path, data: st.DataObject
) -> None:
    if made.sealer is not None:
        return
    folder = made.copy(work)
    each = made.files[-1]
    lines = made.lines(each)
    number = data.draw(st.integers(0, len(lines) - 2))
    line = bytearray(lines[number])
    at = data.draw(st.integers(0, len(line) - 2))
    line[at] ^= data.draw(st.integers(1, 255).filter(lambda bit: line[at] ^ bit != 10))
    made.rewrite(folder, each, [*lines[:number], bytes(line), *lines[number + 1 :]])
    assert number + 1 in {finding.line for finding in made.verify(work).findings}


def number_of(line: bytes) -> int:
    return int(line[5 : line.index(b",")])


@given(data=st.data())
def test_any_removed_record_is_found_and_named(made: Made, work: Path, data: st.DataObject) -> None:
    folder = made.copy(work)
    each = data.draw(st.sampled_from(made.files))
    lines = made.lines(each)
    at = data.draw(st.integers(1, len(lines) - 1))
    made.rewrite(folder, each, lines[:at] + lines[at + 1 :])
    report = made.verify(work)
    gone = number_of(lines[at])
    text = " ".join(map(str, report.findings))
    if gone == made.last:
        assert f"it ends with record {gone - 1}" in text
    else:
        assert f"record {gone} is missing" in text


@given(data=st.data())
def test_any_two_swapped_records_are_found_and_named(
    made: Made, work: Path, data: st.DataObject
) -> None:
    folder = made.copy(work)
    each = data.draw(st.sampled_from([each for each in made.files if len(made.lines(each)) > 2]))
    lines = made.lines(each)
    a = data.draw(st.integers(1, len(lines) - 2))
    b = data.draw(st.integers(a + 1, len(lines) - 1))
    lines[a], lines[b] = lines[b], lines[a]
    made.rewrite(folder, each, lines)
    named = {finding.record for finding in made.verify(work).findings}
    assert {number_of(lines[a]), number_of(lines[b])} <= named


@given(data=st.data())
def test_any_cut_tail_is_found_by_the_head(made: Made, work: Path, data: st.DataObject) -> None:
    folder = made.copy(work)
    kept = data.draw(st.integers(0, len(made.files) - 1))
    for each in made.files[kept + 1 :]:
        (folder / each.path.name).unlink()
    each = made.files[kept]
    content = each.path.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    (folder / each.path.name).write_bytes(content[:cut])
    report = made.verify(work)
    assert any(
        "cut off" in str(finding) and f"had {made.last}" in finding.what
        for finding in report.findings
    )


def test_an_archive_written_anew_is_found_by_the_head(made: Made, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    one = writer(work, SMALL, made.sealer)
    for n in range(0, 16, 2):
        archive(one, list(entries(2, payload={"forged": True}, first=n + 1)), SMALL)
        one.tidy()
    one.close()
    [finding, *_] = made.verify(work).findings
    assert "written anew" in finding.what
    assert finding.record == made.last
    # Without the store it looks whole, and that is said.
    report = made.verify(work, Store(None, "no store.db"))
    assert report.findings == []
    assert "would not be seen" in report.notes[0]
    assert "no store.db" in report.notes[0]


def test_another_nodes_name_does_not_hide_a_rewrite(made: Made, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    one = ChainWriter(work, NAME, "n9", SMALL, made.sealer, Clock())
    one.open()
    archive(one, list(entries(30, payload={"forged": True})), SMALL)
    one.close()
    assert any("written anew" in finding.what for finding in made.verify(work).findings)
    # Whose it was is known by the key alone: without that, the names say what was not looked at.
    archives = made.store.archives
    report = made.verify(work, Store(archives))
    assert any("node n9" in note and "n1" in note for note in report.notes)


def test_an_archive_that_is_gone_as_a_whole_is_found(made: Made, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    [report] = verify(work, made.store, made.sealer)
    assert "is not here" in report.findings[0].what


def test_a_chain_that_is_gone_is_found(made: Made, work: Path) -> None:
    made.copy(work)
    other = writer(work, name=segment.ChainName(segment.LOCAL))
    other.close()
    shutil.rmtree(NAME.folder(work))
    reports = verify(work, made.store, made.sealer)
    assert any("is not here" in str(f) for report in reports for f in report.findings)


def test_a_missing_segment_is_found(made: Made, work: Path) -> None:
    folder = made.copy(work)
    (folder / made.files[1].path.name).unlink()
    assert any("missing" in f.what for f in made.verify(work).findings)
    (folder / made.files[0].path.name).unlink()
    assert any("retention" in f.what for f in made.verify(work).findings)


def test_a_segment_cannot_stand_for_another(made: Made, work: Path) -> None:
    folder = made.copy(work)
    a, b = (made.files[n].path for n in (0, 1))
    shutil.copy(a, folder / b.name)
    assert b.name in {finding.segment for finding in made.verify(work).findings}


def test_what_is_not_encrypted_where_there_is_a_key_is_told(work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    for sealer in (None, KEY):
        one = writer(work, SMALL, sealer)
        archive(one, list(entries(1, first=one.mark.pos + 1)), SMALL)
        one.close()
    [report] = verify(work, Store(None), KEY)
    assert report.findings == []
    assert any("00000001.open.jsonl.zst: not encrypted" in note for note in report.notes)
    assert not any("00000002" in note for note in report.notes)


@pytest.mark.parametrize("what", ["signature", "kid", "number", "hash"])
def test_a_head_that_the_node_did_not_sign_is_found(made: Made, tmp_path: Path, what: str) -> None:
    assert made.store.archives is not None
    [record] = made.store.archives["default"]
    [head] = record.heads
    if what == "kid":
        key = NodeKey.load_or_make(tmp_path / "other.key")
        link = writer(made.root / "audit", SMALL, made.sealer)
        forged = key.head("n1", "default", "trail", link.link, START)
        link.close()
    elif what == "number":
        forged = msgspec.structs.replace(head, number=head.number - 1)
    elif what == "hash":
        forged = msgspec.structs.replace(head, hash="0" * 64)
    else:
        forged = msgspec.structs.replace(head, signature=head.signature[::-1])
    archives = {"default": (msgspec.structs.replace(record, heads=(forged,)),)}
    report = made.verify(made.root / "audit", Store(archives, kid=made.store.kid))
    assert any("sign" in finding.what for finding in report.findings)


def test_blocks_are_compared_with_another_nodes(tmp_path: Path) -> None:
    made = Made(tmp_path, count=1002, step=500)
    assert made.store.archives is not None
    [own] = made.store.archives["default"]
    for digest, differs in (("0" * 64, True), (None, False)):
        mark = blocks.Mark()
        for entry in entries(1000):
            mark = blocks.behind(mark, entry)
        assert mark.ended is not None
        theirs = (0, digest or mark.ended[1])
        other = ArchiveRecord("n2", 1002, START, (), (theirs,))
        store = Store({"default": (own, other)}, kid=made.store.kid)
        [report] = verify(tmp_path / "audit", store, None, "n2")
        assert bool(report.findings) is differs
        assert any("1 blocks of 1000" in note for note in report.notes)
