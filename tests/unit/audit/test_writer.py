"""A chain on the disk goes on where it ended, whatever ended it."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.trails import NAME, START, Clock, archive, as_file, entries, told, writer
from trishula_broker.audit import segment
from trishula_broker.audit.chain import Link, digest_of, take_apart
from trishula_broker.audit.sealing import Sealer, UnusableKey, parse_key
from trishula_broker.audit.settings import AuditSettings
from trishula_broker.audit.writer import ChainWriter, Damaged

KEY = Sealer(bytes(range(32)))
SEALERS = pytest.mark.parametrize("sealer", [None, KEY], ids=["clear", "encrypted"])
SMALL = AuditSettings(segment_bytes=2_000)


def texts(root: Path, sealer: Sealer | None = None) -> list[bytes]:
    """All lines, in order; the files are whole."""
    found: list[bytes] = []
    for each in segment.segments(NAME.folder(root)):
        held = segment.read(each, NAME, sealer)
        assert held.problem is None
        found += segment.lines(held.text)
    return found


def events(root: Path, sealer: Sealer | None = None) -> list[str]:
    return [each["event"] for each in told(texts(root, sealer))]


def assert_chained(root: Path, sealer: Sealer | None = None) -> None:
    before = Link()
    for line in texts(root, sealer):
        taken = take_apart(line)
        assert taken is not None
        assert taken.number == before.number + 1
        assert taken.digest == digest_of(before.digest, taken.hashed)
        before = Link(taken.number, taken.digest)


@SEALERS
def test_the_chain_goes_on_over_restarts_and_segments(
    tmp_path: Path, sealer: Sealer | None
) -> None:
    first = 1
    for _ in range(4):
        one = writer(tmp_path, SMALL, sealer)
        for some in range(3):
            archive(one, list(entries(2, first=first + 2 * some)), SMALL)
            one.tidy()
        first += 6
        one.close()
    assert_chained(tmp_path, sealer)
    assert events(tmp_path, sealer).count("accepted") == 24
    again = writer(tmp_path, SMALL, sealer)
    assert again.mark.pos == 24
    found = segment.segments(NAME.folder(tmp_path))
    assert len(found) > 3
    assert all(each.sealed for each in found[:-1])
    assert events(tmp_path, sealer).count("sealed") == len(found) - 1
    again.close()


@SEALERS
@given(data=st.data())
def test_a_crash_at_any_byte_loses_and_doubles_nothing(
    tmp_path_factory: pytest.TempPathFactory, sealer: Sealer | None, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("crash")
    all_entries = list(entries(6, each=2))
    one = writer(root, sealer=sealer)
    archive(one, all_entries[:2])
    path = segment.segments(NAME.folder(root))[-1].path
    synced = path.stat().st_size
    archive(one, all_entries[2:4], sync=False)
    archive(one, all_entries[4:5], sync=False)
    one.close()
    whole = path.read_bytes()
    cut = data.draw(st.integers(synced, len(whole)))
    path.write_bytes(whole[:cut])
    again = writer(root, sealer=sealer)
    assert again.mark.pos in (2, 4, 5)
    archive(again, all_entries[again.mark.pos :])
    again.close()
    assert_chained(root, sealer)
    assert events(root, sealer) == ["segment", *["accepted", "accepted", "done"] * 6]


@SEALERS
def test_a_crash_while_sealing_leaves_either_form(tmp_path: Path, sealer: Sealer | None) -> None:
    one = writer(tmp_path, SMALL, sealer)
    archive(one, list(entries(4)), SMALL)
    archive(one, list(entries(1, first=5)), SMALL)
    old = segment.segments(NAME.folder(tmp_path))[0].path
    content = old.read_bytes()
    one.tidy()
    one.close()
    old.write_bytes(content)  # sealed, and the open form not removed yet
    (old.parent / f"{old.name}.zst.tmp").write_bytes(b"half")
    again = writer(tmp_path, SMALL, sealer)
    again.close()
    assert not old.exists()
    assert not list(old.parent.glob("*.tmp"))
    assert_chained(tmp_path, sealer)


def test_a_segment_sealed_without_a_record_gets_one(tmp_path: Path) -> None:
    one = writer(tmp_path, SMALL)
    archive(one, list(entries(4)), SMALL)
    archive(one, list(entries(1, first=5)), SMALL)
    one._tidying.seal(segment.segments(NAME.folder(tmp_path))[0])  # and then the crash
    one.close()
    assert "sealed" not in events(tmp_path)
    again = writer(tmp_path, SMALL)
    again.tidy()
    again.close()
    assert events(tmp_path).count("sealed") == 1
    writer(tmp_path, SMALL).tidy()
    assert events(tmp_path).count("sealed") == 1


@SEALERS
def test_what_was_written_in_large_pieces_is_sealed_as_it_stands(
    tmp_path: Path, sealer: Sealer | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = AuditSettings(segment_bytes=100_000)
    one = writer(tmp_path, settings, sealer)
    archive(one, list(entries(3, each=300)), settings)
    one.make_room()
    [old, _] = segment.segments(NAME.folder(tmp_path))
    content = old.path.read_bytes()
    with monkeypatch.context() as patched:
        for name in ("read", "compressed", "compress", "digest_of"):
            patched.setattr(segment, name, None)
        one.tidy()
    [sealed, _] = segment.segments(NAME.folder(tmp_path))
    assert sealed.sealed
    data = sealed.path.read_bytes()
    assert data.startswith(content)
    assert (data == content) is (sealer is None)  # encrypted, it says that it is whole
    one.close()
    [record] = [each for each in told(texts(tmp_path, sealer)) if each["event"] == "sealed"]
    assert (record["bytes"], record["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert_chained(tmp_path, sealer)
    if sealer is not None:  # as a crash leaves it that came before its new name
        sealed.path.rename(old.path)
        assert segment.read(old, NAME, sealer).problem is None
        old.path.write_bytes(data[:-3])
        assert segment.read(old, NAME, sealer).torn


def test_what_was_written_in_small_pieces_is_compressed_anew(tmp_path: Path) -> None:
    one = writer(tmp_path)
    for n in range(1, 100):
        archive(one, list(entries(1, first=n)), sync=False)
    one._settings = SMALL
    one.make_room()
    [old, _] = segment.segments(NAME.folder(tmp_path))
    before = old.path.stat().st_size
    one.tidy()
    one.close()
    [sealed, _] = segment.segments(NAME.folder(tmp_path))
    assert sealed.path.stat().st_size < before / 2
    assert_chained(tmp_path)


@SEALERS
def test_a_segment_of_a_version_that_did_not_compress_it_is_sealed_and_gone_on_from(
    tmp_path: Path, sealer: Sealer | None
) -> None:
    one = writer(tmp_path, sealer=sealer)
    archive(one, list(entries(3)))
    one.close()
    [only] = segment.segments(NAME.folder(tmp_path))
    text = segment.read(only, NAME, sealer).text
    path = only.path.with_name(segment.file_name(1, False, only.encrypted, False))
    path.write_bytes(as_file(only._replace(path=path, packed=False), text, sealer))
    only.path.unlink()
    again = writer(tmp_path, sealer=sealer)
    assert again.mark.pos == 3
    archive(again, list(entries(1, first=4)))
    again.tidy()
    again.close()
    assert [each.sealed for each in segment.segments(NAME.folder(tmp_path))] == [True, False]
    assert not path.exists()
    assert_chained(tmp_path, sealer)
    assert events(tmp_path, sealer).count("accepted") == 4


@SEALERS
def test_a_chain_does_not_go_on_behind_half_a_line(tmp_path: Path, sealer: Sealer | None) -> None:
    one = writer(tmp_path, sealer=sealer)
    archive(one, list(entries(2)))
    one.close()
    [only] = segment.segments(NAME.folder(tmp_path))
    text = segment.read(only, NAME, sealer).text
    only.path.write_bytes(as_file(only, text[:-9], sealer))
    again = writer(tmp_path, sealer=sealer)
    archive(again, list(entries(1, first=again.mark.pos + 1)))
    again.tidy()
    again.close()
    assert len(segment.segments(NAME.folder(tmp_path))) == 2
    assert_chained(tmp_path, sealer)


def test_what_is_opened_at_the_second_try_says_once_what_it_sealed(tmp_path: Path) -> None:
    one = writer(tmp_path, SMALL)
    archive(one, list(entries(4)), SMALL)
    archive(one, list(entries(1, first=5)), SMALL)
    one.close()
    problems = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]

    def sync(file: int) -> None:
        if problems:
            raise problems.pop()
        os.fsync(file)

    again = ChainWriter(tmp_path, NAME, "n1", SMALL, KEY, Clock(), sync)
    with pytest.raises(OSError, match="No space"):
        again.open()
    again.open()
    again.tidy()
    again.close()
    sealed = [each for each in segment.segments(NAME.folder(tmp_path)) if each.sealed]
    assert len(sealed) > 1
    assert events(tmp_path, KEY).count("sealed") == len(sealed)


def test_an_empty_new_segment_is_begun_again(tmp_path: Path) -> None:
    one = writer(tmp_path)
    archive(one, list(entries(2)))
    one.close()
    (NAME.folder(tmp_path) / segment.file_name(2, False, False)).touch()
    again = writer(tmp_path)
    assert again.mark.pos == 2
    archive(again, list(entries(1, first=3)))
    again.close()
    assert_chained(tmp_path)


def test_segments_are_sealed_by_age_and_not_for_bookkeeping_alone(tmp_path: Path) -> None:
    clock = Clock()
    one = writer(tmp_path, clock=clock)
    archive(one, list(entries(1)))
    for _ in range(3):
        clock.now += 3_600_000
        one.tidy()
    assert len(segment.segments(NAME.folder(tmp_path))) == 2
    one.close()


@pytest.mark.parametrize(
    "settings",
    [
        AuditSettings(segment_bytes=2_000, max_bytes=4_000),
        AuditSettings(segment_bytes=2_000, max_age_s=3600),
    ],
    ids=["size", "age"],
)
def test_the_oldest_sealed_segments_go_and_the_chain_says_so(
    tmp_path: Path, settings: AuditSettings
) -> None:
    clock = Clock()
    one = writer(tmp_path, settings, clock=clock)
    for n in range(8):
        archive(one, list(entries(4, first=n * 4 + 1)), settings)
        one.tidy()
        for each in segment.segments(NAME.folder(tmp_path)):
            os.utime(each.path, (START / 1000 - n, START / 1000 - n))
    clock.now = START + 3_600_000
    one.tidy()
    one.close()
    assert events(tmp_path).count("removed") >= 1
    left = segment.segments(NAME.folder(tmp_path))
    assert left[0].number > 1
    removed = [msgspec.json.decode(line) for line in texts(tmp_path)]
    last = [each for each in removed if each["event"] == "removed"][-1]
    assert last["segment"] == left[0].number - 1
    header = msgspec.json.decode(next(segment.lines(segment.read(left[0], NAME, None).text)))
    assert (last["last"], last["last_hash"]) == (header["n"] - 1, header["prev"])


@SEALERS
def test_a_full_disk_leaves_the_chain_as_it_was(
    tmp_path: Path, sealer: Sealer | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = writer(tmp_path, sealer=sealer)
    archive(one, list(entries(1)))
    before = one.link
    room = [100]
    write = os.write

    def full(file: int, data: memoryview) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(file, data[: room[0]])
        room[0] -= written
        return written

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            archive(one, list(entries(3, first=2)))
    assert one.link == before
    archive(one, list(entries(3, first=2)))
    one.close()
    assert_chained(tmp_path, sealer)
    assert events(tmp_path, sealer).count("accepted") == 4


@SEALERS
def test_what_could_not_be_synced_counts_as_never_written(
    tmp_path: Path, sealer: Sealer | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = writer(tmp_path, sealer=sealer)
    archive(one, list(entries(2)))
    before = one.link
    archive(one, list(entries(2, first=3)), sync=False)
    assert (one.mark.pos, one.is_synced) == (4, False)

    def fails(file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(one, "_sync", fails)
        with pytest.raises(OSError, match="Input/output"):
            one.sync()
    assert (one.link, one.mark.pos, one.is_synced) == (before, 2, True)
    archive(one, list(entries(2, first=3)))
    one.close()
    assert_chained(tmp_path, sealer)
    assert events(tmp_path, sealer).count("accepted") == 4


@SEALERS
def test_a_segment_that_could_not_be_begun_leaves_the_chain_as_it_was(
    tmp_path: Path, sealer: Sealer | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = writer(tmp_path, SMALL, sealer)
    archive(one, list(entries(6)), SMALL)
    assert one.is_due
    before = one.link

    def fails(folder: Path) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(segment, "sync_folder", fails)
        with pytest.raises(OSError, match="Too many"):
            one.make_room()
    assert one.link == before
    archive(one, list(entries(3, first=7)), SMALL)
    one.close()
    assert_chained(tmp_path, sealer)


def test_an_encrypted_archive_is_not_continued_without_its_key(tmp_path: Path) -> None:
    one = writer(tmp_path, sealer=KEY)
    archive(one, list(entries(1)))
    one.close()
    for other in (None, Sealer(bytes(32))):
        with pytest.raises(Damaged, match="key"):
            writer(tmp_path, sealer=other)


def test_nothing_of_an_encrypted_archive_is_in_clear(tmp_path: Path) -> None:
    one = writer(tmp_path, SMALL, KEY)
    for n in range(6):
        archive(one, list(entries(2, payload={"secret": "swordfish"}, first=2 * n + 1)), SMALL)
        one.tidy()
    one.close()
    for path in NAME.folder(tmp_path).iterdir():
        assert path.name.endswith(".enc")
        assert b"swordfish" not in path.read_bytes()
        assert b"accepted" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


def test_what_is_damaged_is_left_and_the_chain_goes_on_behind_it(tmp_path: Path) -> None:
    one = writer(tmp_path, sealer=KEY)
    archive(one, list(entries(2)))
    archive(one, list(entries(2, first=3)))
    one.close()
    [only] = segment.segments(NAME.folder(tmp_path))
    data = bytearray(only.path.read_bytes())
    data[700] ^= 1
    only.path.write_bytes(data)
    again = writer(tmp_path, sealer=KEY)
    again.tidy()
    again.close()
    assert again.problem is not None
    assert only.path.read_bytes() == data
    assert len(segment.segments(NAME.folder(tmp_path))) == 2


@pytest.mark.parametrize("text", ["", "short", "00" * 31, "A" * 60, "zz" * 32])
def test_a_key_of_the_wrong_form_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(UnusableKey, match="32 bytes") as refused:
        parse_key(text, "audit.key")
    assert not text or text not in str(refused.value)


@pytest.mark.parametrize("text", ["ab" * 32, "q6ur" * 10 + "q6s=", " q6ur" * 10 + "q6s\n"])
def test_a_key_is_hexadecimal_or_base64(text: str) -> None:
    assert parse_key(text, "audit.key") == b"\xab" * 32


def test_a_namespace_cannot_leave_the_folder(tmp_path: Path) -> None:
    for namespace in ("..", "a/b", "x.y", "ü"):
        name = segment.ChainName(segment.TRAIL, namespace)
        assert name.folder(tmp_path).parent == tmp_path / "trail"
        ChainWriter(tmp_path, name, "n1", AuditSettings(), None, Clock()).open()
    assert {name.namespace for name in segment.chains(tmp_path)} == {"..", "a/b", "x.y", "ü"}
