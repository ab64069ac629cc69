"""Pages of what a search finds: each record once, whatever a page has room for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.trails import START, accept, archive, writer
from trishula_broker.audit import seek
from trishula_broker.audit.reading import Archive
from trishula_broker.audit.seek import Found, Request
from trishula_broker.store.trail import Entry


def written(root: Path, commits: list[int], payload: str = "x") -> list[int]:
    """An archive of so many messages a commit; their seqs."""
    one = writer(root)
    seq = 0
    entries: list[Entry] = []
    for pos, count in enumerate(commits, 1):
        seqs = range(seq + 1, seq + count + 1)
        seq += count
        entries.append(Entry(pos, START + pos, "n1", tuple(accept(n, payload) for n in seqs)))
    archive(one, entries)
    one.close()
    return list(range(1, seq + 1))


def pages(root: Path, limit: int) -> list[list[int]]:
    found: list[list[int]] = []
    since, told = "", 0
    while True:
        wanted = Request(str(root), "default", limit, since=since, told=told, event="accepted")
        *lines, last = seek.answer(Archive(root, None, pytest.fail), wanted)
        found.append([msgspec.json.decode(line)["seq"] for line in lines])
        end = msgspec.json.decode(last, type=Found)
        if not end.more:
            return found
        since, told = end.next, end.told


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 12))
def test_pages_have_each_record_once_though_many_are_of_one_moment(
    tmp_path_factory: pytest.TempPathFactory, commits: list[int], limit: int
) -> None:
    root = tmp_path_factory.mktemp("audit")
    seqs = written(root, commits)
    found = pages(root, limit)
    assert [seq for page in found for seq in page] == seqs
    assert all(len(page) == limit for page in found[:-1])


def test_a_text_is_looked_for_in_what_records_say_and_not_in_their_hashes(tmp_path: Path) -> None:
    one = writer(tmp_path)
    entry = Entry(1, START, "n1", (accept(1, "café"), accept(2, "c0ffee")))
    archive(one, [entry])
    one.close()
    everything = Request(str(tmp_path), "default", 9, event="accepted")
    *lines, _ = seek.answer(Archive(tmp_path, None, pytest.fail), everything)
    records = [msgspec.json.decode(line) for line in lines]
    assert "block" in records[-1]
    digests = [record[name] for record in records for name in ("hash", "block") if name in record]
    for text, count in (("c0ffee", 1), ("café", 1), *((each, 0) for each in digests)):
        wanted = Request(str(tmp_path), "default", 9, text=text)
        *found, _ = seek.answer(Archive(tmp_path, None, pytest.fail), wanted)
        assert len(found) == count, text


def test_a_page_has_so_many_bytes_and_one_record_at_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seqs = written(tmp_path, [3, 4], "x" * 1000)
    monkeypatch.setattr(seek, "BYTES", 3500)
    assert [len(page) for page in pages(tmp_path, 100)] == [2, 2, 2, 1]
    monkeypatch.setattr(seek, "BYTES", 1)
    assert pages(tmp_path, 100) == [[seq] for seq in seqs]
