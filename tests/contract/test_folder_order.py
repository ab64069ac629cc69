"""All agents of a namespace are ordered to their shared folder, and back."""

from __future__ import annotations

from collections.abc import Callable

from tests.contract.world import World
from trishula_broker.store import base

BEAT = base.Beat("n1", "life", "primary", "", 3_000)


async def ordered(world: World) -> base.FolderOrder | None:
    """What a node hears with its beat."""
    return (await world.get(base.Beating, BEAT)).folder


async def test_an_order_is_told_with_every_beat_until_it_is_taken_back(world: World) -> None:
    assert await ordered(world) is None
    order = base.FolderOrder("höchste Zeit", world.now)
    told = await world.do(base.OrderFolder(True, "höchste Zeit"), BEAT)
    assert told[0] == base.FolderOrdered(True, order)
    assert told[1].folder == order
    assert await ordered(world) == order
    assert await world.do(base.OrderFolder(False)) == [base.FolderOrdered(True, None)]
    assert await ordered(world) is None


async def test_it_outlasts_a_restart(world: World) -> None:
    await world.do(base.OrderFolder(True, "two words"))
    since = world.now
    world.now += 60_000
    await world.restart()
    assert await ordered(world) == base.FolderOrder("two words", since)


async def test_ordered_twice_the_last_reason_counts_and_the_first_time(world: World) -> None:
    since = world.now
    await world.do(base.OrderFolder(True, "a"))
    world.now += 1_000
    again = await world.do(base.OrderFolder(True, "a"), base.OrderFolder(True, "b"))
    assert again == [
        base.FolderOrdered(False, base.FolderOrder("a", since)),
        base.FolderOrdered(True, base.FolderOrder("b", since)),
    ]
    off = await world.do(base.OrderFolder(False), base.OrderFolder(False, "c"))
    assert off == [base.FolderOrdered(True, None), base.FolderOrdered(False, None)]


async def test_it_is_of_one_namespace(world: World) -> None:
    await world.do(base.OrderFolder(True))
    world.namespace = "other"
    assert await ordered(world) is None


async def test_every_node_hears_of_it(make_nodes: Callable[[str], base.Store]) -> None:
    stores = [make_nodes("n1"), make_nodes("n2")]
    for store in stores:
        await store.open()
    await stores[0].commit(1_000, [base.Batch("default", [base.OrderFolder(True, "why")])])
    beat = base.Beat("n2", "life", "failover", "", 3_000)
    [[beating]] = await stores[1].commit(2_000, [base.Batch("default", [beat])])
    assert isinstance(beating, base.Beating)
    assert beating.folder == base.FolderOrder("why", 1_000)


async def test_the_directory_tells_who_has_a_folder(world: World) -> None:
    def come(receive: bool, folder: bool) -> base.Register:
        return base.Register("ada", "n1", "s", receive, False, 30_000, None, None, folder=folder)

    await world.do(come(True, True))
    assert (await world.agent("ada")).folder
    await world.do(come(False, False))  # of a side session nothing is known
    await world.restart()
    assert (await world.agent("ada")).folder
    await world.do(come(True, False))
    assert not (await world.agent("ada")).folder


async def test_the_trail_tells_what_changed_and_nothing_else(world: World) -> None:
    await world.do(base.Archive("n1", 0))
    on, off = base.OrderFolder(True, "why"), base.OrderFolder(False)
    for op in (off, on, on, off, off):
        await world.do(op)
    entries = await world.ask(base.Trail(0, 100))
    order = base.FolderOrder("why", world.now)
    assert [each for entry in entries for each in entry.done] == [
        (on, base.FolderOrdered(True, order)),
        (off, base.FolderOrdered(True, None)),
    ]
