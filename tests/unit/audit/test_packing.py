"""Compressed pieces: what was written whole is read, and nothing that was changed."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard
from hypothesis import assume, given
from hypothesis import strategies as st

from trishula_broker.audit import packing
from trishula_broker.audit.packing import Packer, unpack
from trishula_broker.audit.sealing import Unreadable

LINES = st.lists(st.binary(max_size=60).map(lambda text: text.replace(b"\n", b"") + b"\n"))


def packed(writes: list[list[bytes]], least: int = packing.PIECE) -> list[bytes]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(packing, "PIECE", least)
        packer = Packer()
        return [piece for lines in writes for piece in packer.pack(lines)]


@given(st.lists(LINES, max_size=5), st.integers(1, 200))
def test_lines_come_out_as_they_went_in(writes: list[list[bytes]], least: int) -> None:
    pieces = packed(writes, least)
    text = b"".join(line for lines in writes for line in lines)
    for finished in (False, True):
        assert unpack(b"".join(pieces), finished) == (text, len(pieces))
    assert all(piece for piece in pieces)


@given(st.lists(LINES.filter(bool), min_size=1, max_size=5), st.data())
def test_of_a_file_that_ends_anywhere_all_whole_pieces_are_read(
    writes: list[list[bytes]], data: st.DataObject
) -> None:
    pieces = packed(writes)
    whole = b"".join(pieces)
    cut = data.draw(st.integers(0, len(whole) - 1))
    zeros = data.draw(st.integers(0, 100))  # as some file systems leave them
    assume(whole[cut] or not zeros)  # those may be its own
    ends = [len(b"".join(pieces[:n])) for n in range(len(pieces))]
    if cut in ends and not zeros:
        assert unpack(whole[:cut], False)[1] == ends.index(cut)
        return
    with pytest.raises(Unreadable) as raised:
        unpack(whole[:cut] + bytes(zeros), True)
    assert not raised.value.torn
    with pytest.raises(Unreadable) as raised:
        unpack(whole[:cut] + bytes(zeros), False)
    found = raised.value
    assert found.good == max(end for end in ends if end <= cut)
    assert found.chunks == ends.index(found.good)
    assert found.clear == b"".join(line for lines in writes[: found.chunks] for line in lines)
    assert found.torn


@given(st.lists(LINES.filter(bool), min_size=1, max_size=5), st.data())
def test_any_byte_that_was_changed_is_found(writes: list[list[bytes]], data: st.DataObject) -> None:
    changed = bytearray(b"".join(packed(writes)))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    for finished in (False, True):
        with pytest.raises(Unreadable):
            unpack(bytes(changed), finished)


def test_any_program_that_knows_zstd_reads_it(tmp_path: Path) -> None:
    writes = [[b"one\n", b"two\n"], [b"three\n"]]
    data = b"".join(packed(writes))
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
    assert reader.read() == b"one\ntwo\nthree\n"
    if shutil.which("zstd"):
        (tmp_path / "file.zst").write_bytes(data)
        done = subprocess.run(["zstd", "-dc", "file.zst"], cwd=tmp_path, capture_output=True)
        assert done.stdout == b"one\ntwo\nthree\n"
