"""An archive as people read it: one timeline over its chains."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trishula_broker.audit.chain import Link, extend
from trishula_broker.audit.reading import Archive
from trishula_broker.audit.segment import LOCAL, TRAIL, ChainName, file_name
from trishula_broker.audit.times import iso

NAMES = (ChainName(TRAIL, "default"), ChainName(TRAIL, "other"), ChainName(LOCAL))
START = 1_700_000_000_000


def write(root: Path, chains: list[list[int]]) -> None:
    for name, times in zip(NAMES, chains, strict=True):
        folder = name.folder(root)
        folder.mkdir(parents=True, exist_ok=True)
        records = [
            b'"at":"%b","ns":"%b","event":"read"' % (iso(START + at).encode(), str(name).encode())
            for at in times
        ]
        (folder / file_name(1, False, False, False)).write_bytes(
            b"".join(extend(Link(), records)[1])
        )


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 5000), max_size=8), min_size=3, max_size=3))
def test_all_chains_are_one_timeline(
    tmp_path_factory: pytest.TempPathFactory, chains: list[list[int]]
) -> None:
    root = tmp_path_factory.mktemp("audit")
    write(root, [sorted(times) for times in chains])
    found = [record["at"] for _, record in Archive(root, None, print).timeline()]
    assert found == sorted(iso(START + at) for times in chains for at in times)


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 5000), max_size=8), min_size=3, max_size=3))
def test_a_clock_that_was_set_back_loses_nothing_and_leaves_each_chain_in_order(
    tmp_path_factory: pytest.TempPathFactory, chains: list[list[int]]
) -> None:
    root = tmp_path_factory.mktemp("audit")
    write(root, chains)
    found = [record for _, record in Archive(root, None, print).timeline()]
    for name, times in zip(NAMES, chains, strict=True):
        mine = [record["at"] for record in found if record["ns"] == str(name)]
        assert mine == [iso(START + at) for at in times]
