"""How full mailboxes are, asked of the store now and then."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.contract.world import World
from trishula_broker.net.depths import EVERY_S, SHARE, Depth, Depths
from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore


class Slow(MemoryStore):
    """Each question takes a while, and is counted."""

    now = 0.0
    takes_s = 0.0
    asked = 0
    lost = False

    async def query(self, namespace: str, query: base.Query) -> Any:
        self.asked += 1
        self.now += self.takes_s
        if self.lost:
            raise base.StoreError("gone")
        return await super().query(namespace, query)


async def test_it_tells_how_full_they_are_and_whose_is_the_fullest() -> None:
    store = Slow()
    world = World(lambda: store)
    await store.open()
    for name in ("agni", "dc", "vayu"):
        await world.come(name)
    for n in range(5):
        await world.send("agni", "dc" if n < 3 else "vayu", f"m{n}")
    await world.do(base.Pause("vayu", True, "a look"))
    depths = Depths(store, lambda: store.now)
    await depths.look(["default", "empty"])
    assert depths.known == {
        "default": Depth(known=3, paused=1, messages=5, largest=3, waiting=2, fullest="dc"),
        "empty": Depth(),
    }


@pytest.mark.parametrize(("takes_s", "every_s"), [(0.0, EVERY_S), (1.0, SHARE), (0.1, EVERY_S)])
async def test_it_asks_seldom_and_the_more_seldom_the_longer_that_takes(
    takes_s: float, every_s: float
) -> None:
    store = Slow()
    await store.open()
    store.takes_s = takes_s
    depths = Depths(store, lambda: store.now)
    times = []
    for second in range(1_000):
        store.now = max(store.now, float(second))
        before = store.asked, store.now
        await depths.look(["default"])
        if store.asked > before[0]:
            times.append(before[1])
    assert {b - a for a, b in pairwise(times)} == {every_s}


async def test_a_store_that_does_not_answer_leaves_what_was_known() -> None:
    store = Slow()
    await store.open()
    depths = Depths(store, lambda: store.now)
    await depths.look(["default"])
    store.now, store.lost = EVERY_S, True
    with pytest.raises(base.StoreError):
        await depths.look(["default"])
    assert depths.known == {"default": Depth()}
    store.lost = False
    await depths.look(["default"])
    assert store.asked == 3
