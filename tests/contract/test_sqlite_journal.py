"""The journal file: what was appended is read again, whatever was torn or left behind."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trishula_broker.store.base import StoreError
from trishula_broker.store.sqlite.journal import Journal, make

SIZE = 4096
OWNER = 7

records = st.lists(st.binary(max_size=60), max_size=12)
rounds = st.lists(records, min_size=1, max_size=4)

pytestmark = pytest.mark.hypothesis


def made(path: Path, owner: int = OWNER) -> Journal:
    make(path, owner, SIZE)
    return Journal(path, owner)


def reopened(path: Path, after: int) -> list[bytes]:
    journal = Journal(path, OWNER)
    try:
        return journal.read(after)
    finally:
        journal.close()


@given(rounds=rounds)
def test_only_the_records_of_the_last_round_are_read(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[bytes]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    journal = made(path)
    stored = 0
    for n, written in enumerate(rounds):
        if n:
            journal.begin_anew()
            stored = journal.number
        for record in written:
            assert journal.has_room(len(record))
            journal.append(record)
    journal.close()
    assert reopened(path, stored) == rounds[-1]


@given(halves=st.lists(records, min_size=1, max_size=5), stored=st.integers(0, 1))
def test_the_records_of_both_halves_are_read_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, halves: list[list[bytes]], stored: int
) -> None:
    """``stored``: whether the effect of the last half but one is in the database already."""
    path = tmp_path_factory.mktemp("journal") / "j"
    journal = made(path)
    ends = [0]
    for n, written in enumerate(halves):
        if n:
            journal.turn()
        for record in written:
            assert journal.has_room(len(record))
            journal.append(record)
        ends.append(journal.number)
    journal.close()
    kept = halves[-1:] if stored else halves[-2:]
    after = ends[-1 - len(kept)]
    assert reopened(path, after) == [record for half in kept for record in half]


def test_a_file_of_before_it_had_halves_is_read(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = made(path)
    journal._end = SIZE
    written = [bytes([n]) * 150 for n in range(20)]
    for record in written:
        journal.append(record)
    journal.close()
    assert reopened(path, 0) == written
    assert reopened(path, 7) == written[7:]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=records, last=st.binary(min_size=1, max_size=60), data=st.data())
def test_a_torn_last_record_is_none_and_the_others_stand(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[bytes],
    last: bytes,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    journal = made(path)
    for record in before:
        journal.append(record)
    whole = path.read_bytes()
    journal.append(last)
    journal.close()
    changed = path.read_bytes()
    places = [at for at in range(SIZE) if whole[at] != changed[at]]
    lost = data.draw(st.sets(st.sampled_from(places), min_size=1))
    torn = bytearray(changed)
    for at in lost:  # these bytes did not reach the disk
        torn[at] = whole[at]
    path.write_bytes(torn)
    assert reopened(path, 0) == before


@given(written=records, after=st.integers(1, 5))
def test_writing_goes_on_behind_what_was_read(
    tmp_path_factory: pytest.TempPathFactory, written: list[bytes], after: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    journal = made(path)
    for record in written:
        journal.append(record)
    journal.close()
    journal = Journal(path, OWNER)
    assert journal.read(0) == written
    journal.append(b"more")
    journal.close()
    assert reopened(path, 0) == [*written, b"more"]
    assert reopened(path, len(written) + 1 + after) == []


def test_a_record_that_does_not_fit_is_known_beforehand(tmp_path: Path) -> None:
    journal = made(tmp_path / "j")
    assert not journal.has_room(SIZE)
    journal.append(b"x" * 1980)
    assert not journal.has_room(100)
    journal.begin_anew()
    assert journal.has_room(100)
    journal.close()


def test_a_half_is_filling_from_three_quarters_on_until_the_other_begins(tmp_path: Path) -> None:
    journal = made(tmp_path / "j")
    told: list[bool] = []
    for size in (1400, 200):
        journal.append(b"x" * size)
        told.append(journal.is_filling)
    journal.turn()
    told.append(journal.is_filling)
    journal.close()
    assert told == [False, True, False]


def test_on_macos_a_disk_that_knows_no_full_sync_gets_a_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = made(tmp_path / "j")
    asked: list[str] = []

    def full_sync(file: int, command: int) -> int:
        asked.append("full")
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    with monkeypatch.context() as patched:
        patched.setattr("trishula_broker.store.sqlite.journal._SYNCED", 0)
        patched.setattr(sys, "platform", "darwin")
        patched.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
        patched.setattr(fcntl, "fcntl", full_sync)
        patched.setattr(os, "fsync", lambda _: asked.append("plain"))
        journal.append(b"x")
    journal.close()
    assert asked == ["full", "plain"]


def test_a_journal_of_another_owner_or_a_later_time_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = made(path)
    for n in range(3):
        journal.append(b"%d" % n)
    journal.begin_anew()
    journal.append(b"3")
    journal.close()
    with pytest.raises(StoreError, match="another"):
        Journal(path, OWNER + 1)
    with pytest.raises(StoreError, match="later"):
        reopened(path, 2)
    assert reopened(path, 3) == [b"3"]
    assert reopened(path, 4) == []
    make(path, OWNER + 1, SIZE)
    journal = Journal(path, OWNER + 1)
    assert journal.read(3) == []  # the records of the other one are none
    journal.close()


@pytest.mark.parametrize("owner", range(1, 8))
def test_zeros_are_no_record_whatever_their_number(tmp_path: Path, owner: int) -> None:
    path = tmp_path / "j"
    journal = made(path, owner)
    for _ in range(owner):
        journal.append(b"x")
    # Of the last record's head its number alone has reached the disk.
    at = path.read_bytes().rindex(owner.to_bytes(8, "little"))
    with path.open("r+b") as file:
        file.seek(at - 8)
        file.write(bytes(8))
    assert len(journal.read(0)) == owner - 1
    journal.close()
