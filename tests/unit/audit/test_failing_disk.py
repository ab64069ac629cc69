"""Whatever call a disk refuses, and for how long: the chain goes on, and has everything once."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.trails import NAME, START, archive, entries, told, writer
from trishula_broker.audit import segment
from trishula_broker.audit.heads import NodeKey
from trishula_broker.audit.sealing import Sealer
from trishula_broker.audit.settings import AuditSettings
from trishula_broker.audit.verify import Store, verify
from trishula_broker.audit.writer import ChainWriter
from trishula_broker.store.trail import ArchiveRecord

SMALL = AuditSettings(segment_bytes=2_000)
CALLS = ("write", "open", "fsync", "fdatasync", "ftruncate", "replace", "rename", "unlink")
LAST = 12


class Disk:
    """Refuses calls ``first`` to ``last`` of those that change something."""

    def __init__(self, patched: pytest.MonkeyPatch, root: Path, first: int, last: int) -> None:
        self.calls = 0
        self._refused = range(first, last)
        for name in CALLS:
            patched.setattr(os, name, self._or_refuse(getattr(os, name)))

    def _or_refuse(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def tried(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls in self._refused:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*args, **kwargs)

        return tried


@pytest.mark.parametrize("sealer", [None, Sealer(bytes(32))], ids=["clear", "encrypted"])
@given(
    first=st.integers(1, 150),
    count=st.integers(1, 6),
    dies=st.booleans(),
    every=st.integers(1, 4),
)
def test_a_disk_that_refuses_a_call_costs_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    sealer: Sealer | None,
    first: int,
    count: int,
    dies: bool,
    every: int,
) -> None:
    root = tmp_path_factory.mktemp("failing")
    key = NodeKey.load_or_make(root / "node.key")
    one = writer(root / "audit", SMALL, sealer)
    with pytest.MonkeyPatch.context() as patched:
        Disk(patched, root, first, first + count)
        for n in range(1, 60):
            if one.mark.pos == LAST and one.is_synced:
                break
            try:
                if not one.is_open:
                    one.open()
                if one.mark.pos < LAST:
                    some = list(entries(2, first=one.mark.pos + 1))
                    archive(one, some, SMALL, sync=False)
                if n % every == 0:
                    one.sync()
                one.tidy()
            except OSError:
                if dies:
                    one.close()
                    one = again(root / "audit", sealer)
    assert one.mark.pos == LAST
    one.tidy()
    link = one.link
    one.close()
    record = ArchiveRecord(
        "n1", LAST, START, (key.head("n1", "default", "trail", link, START),), ()
    )
    [report] = verify(root / "audit", Store({"default": (record,)}, kid=key.kid), sealer)
    assert report.findings == []
    ids = [
        record["id"]
        for each in segment.segments(NAME.folder(root / "audit"))
        for record in told(segment.lines(segment.read(each, NAME, sealer).text))
        if record["event"] == "accepted"
    ]
    assert ids == [f"m{n}" for n in range(1, LAST + 1)]


def again(root: Path, sealer: Sealer | None) -> ChainWriter:
    """As after ``kill -9``; not opened yet."""
    return ChainWriter(root, NAME, "n1", SMALL, sealer, lambda: START)
