"""What is sealed is what was written, in however many pieces."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.trails import NAME
from trishula_broker.audit import segment
from trishula_broker.audit.segment import Segment


@given(
    lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=12),
    torn=st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")),
    piece=st.integers(1, 50),
    together=st.integers(1, 50),
)
def test_a_segment_is_sealed_whole_in_pieces_of_any_size(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[bytes],
    torn: bytes,
    piece: int,
    together: int,
) -> None:
    folder = tmp_path_factory.mktemp("sealed")
    text = b"".join(line + b"\n" for line in lines)
    (folder / "open").write_bytes(text + torn)
    sealed = Segment(folder / segment.file_name(1, True, False), 1, True, False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(segment, "PIECE", piece)
        patched.setattr(segment, "TOGETHER", together)
        pieces = segment.compressed(segment.whole_lines(folder / "open"))
        told = segment.put_pieces(sealed.path, pieces)
        assert segment.digest_of(sealed.path) == told
    data = sealed.path.read_bytes()
    assert told == (len(data), hashlib.sha256(data).hexdigest())
    held = segment.read(sealed, NAME, None)
    assert (held.text, held.problem) == (text, None)


def test_what_cannot_be_read_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "00000001.jsonl.zst"
    with pytest.raises(FileNotFoundError):
        segment.put_pieces(path, segment.whole_lines(tmp_path / "none"))
    assert list(tmp_path.iterdir()) == []
