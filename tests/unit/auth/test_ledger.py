"""The list of tokens: only added to, and read on from where one was."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.auth.making import NOW, identity
from trishula_broker.auth.errors import LedgerError, Unsafe
from trishula_broker.auth.ledger import Issued, Ledger, Revoked

ISSUED = Issued.of(identity(role="operator", send=("agni", "#ops"), types=()), "k1")
REVOKED = Revoked(at=NOW, ns="default", jti="t1", until=NOW + 60_000)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "tokens.jsonl")


def test_a_list_that_is_not_there_is_empty(ledger: Ledger) -> None:
    assert ledger.read() == ([], 0, 0)


def test_what_was_added_is_read_once_by_whoever_follows(ledger: Ledger) -> None:
    ledger.add(ISSUED)
    first = ledger.read()
    assert first.entries == [ISSUED]
    assert ledger.read(first.offset) == ([], first.offset, 0)
    ledger.add(REVOKED)
    second = ledger.read(first.offset)
    assert second.entries == [REVOKED]
    assert ledger.read().entries == [ISSUED, REVOKED]
    assert stat.S_IMODE(ledger.path.stat().st_mode) == 0o600


def test_a_line_proves_what_its_token_does(ledger: Ledger) -> None:
    who = identity("agni", "other", "observer", "t9", NOW - 5, None, receive=("#ops",))
    ledger.add(Issued.of(who, "k1"))
    (found,) = ledger.read().entries
    assert isinstance(found, Issued)
    assert (found.identity(), found.kid) == (who, "k1")


@given(cut=st.integers(1, 400), data=st.data())
def test_a_torn_last_line_counts_for_nothing(
    tmp_path_factory: pytest.TempPathFactory, cut: int, data: st.DataObject
) -> None:
    """Wherever a crash cuts it: what came before stays, and what comes after is not hurt."""
    ledger = Ledger(tmp_path_factory.mktemp("torn") / "tokens.jsonl")
    ledger.add(ISSUED)
    whole = ledger.path.stat().st_size
    ledger.add(REVOKED)
    end = ledger.path.stat().st_size
    torn = ledger.path.read_bytes()[: max(whole, end - cut)]
    ledger.path.write_bytes(torn)
    read = ledger.read()
    assert tuple(read) == ([ISSUED], whole, 0), "it may still be under way"
    ledger.add(ISSUED)
    after = ledger.read(read.offset)
    # A line that lacks nothing but its end is whole again.
    assert after.entries in ([ISSUED], [REVOKED, ISSUED])
    assert after.unreadable == (1 if len(torn) not in (whole, end - 1) else 0)


def test_a_list_that_became_shorter_is_read_from_its_beginning(ledger: Ledger) -> None:
    ledger.add(ISSUED)
    ledger.add(ISSUED)
    offset = ledger.read().offset
    ledger.path.unlink()
    ledger.add(REVOKED)
    assert ledger.read(offset).entries == [REVOKED]


@given(st.binary(max_size=200))
def test_lines_that_are_none_are_counted(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("garbage") / "tokens.jsonl")
    ledger.add(ISSUED)
    with ledger.path.open("ab") as file:
        file.write(garbage)
    ledger.add(REVOKED)
    read = ledger.read()
    assert read.entries == [ISSUED, REVOKED]
    assert read.offset == ledger.path.stat().st_size


def test_several_writers_at_once_do_not_mix_their_lines(ledger: Ledger) -> None:
    def add_many(name: str) -> None:
        for number in range(50):
            ledger.add(Revoked(at=number, ns="default", jti=name))

    with ThreadPoolExecutor() as pool:  # each addition opens and locks the file for itself
        list(pool.map(add_many, "abc"))
    read = ledger.read()
    assert read.unreadable == 0
    for name in "abc":
        mine = [each for each in read.entries if isinstance(each, Revoked) and each.jti == name]
        assert [each.at for each in mine] == list(range(50))


def test_others_must_not_read_it(ledger: Ledger) -> None:
    ledger.add(ISSUED)
    ledger.path.chmod(0o644)
    with pytest.raises(Unsafe, match="chmod 600"):
        ledger.read()
    with pytest.raises(Unsafe, match="chmod 600"):
        ledger.add(ISSUED)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"tokens\.jsonl: No such file or directory"):
        Ledger(tmp_path / "none" / "tokens.jsonl").add(ISSUED)
    (tmp_path / "tokens.jsonl").mkdir()
    with pytest.raises((LedgerError, Unsafe)):
        Ledger(tmp_path / "tokens.jsonl").read()
