"""Log lines about what may happen often."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trishula_broker.net import often
from trishula_broker.net.often import Often


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.told = asyncio.Event()

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))
        self.told.set()

    warning = error = info


async def test_the_first_is_told_at_once_and_the_others_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(often, "EVERY_S", 0.01)
    log = Lines()
    told = Often(log)
    for n in range(5):
        told.info("refused", "a", n=n)
    told.info("refused", "b", n=9)
    assert log.lines == [("refused", {"n": 0}), ("refused", {"n": 9})]
    log.told.clear()
    async with asyncio.timeout(60):
        await log.told.wait()
    assert log.lines[2:] == [("refused", {"n": 4, "count": 4})]
    told._again()  # nothing came since: it is forgotten
    told.info("refused", "a", n=5)
    assert log.lines[3:] == [("refused", {"n": 5})]
    told.close()


async def test_what_is_left_is_told_at_the_end() -> None:
    log = Lines()
    told = Often(log)
    for n in range(3):
        told.info("refused", "a", n=n)
    told.close()
    told.close()
    assert log.lines == [("refused", {"n": 0}), ("refused", {"n": 2, "count": 2})]


async def test_kinds_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(often, "KINDS", 3)
    log = Lines()
    told = Often(log)
    for n in range(10):
        told.info("refused", n, n=n)
    assert log.lines == [("refused", {"n": n}) for n in range(3)] + [("refused", {})]
    told.close()
    assert log.lines[4:] == [("refused", {"count": 6})]
