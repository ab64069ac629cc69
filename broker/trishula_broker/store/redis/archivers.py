"""What a Redis store knows of its archivers, asked by a program that is no node of it."""

from __future__ import annotations

from msgspec.structs import replace

from trishula_broker.store.redis.link import Link
from trishula_broker.store.redis.places import Place
from trishula_broker.store.redis.space import Epochs, Settings, Space, prefix
from trishula_broker.store.trail import ArchiveRecord, Archives


async def archivers_in(
    place: Place, settings: Settings, home: str
) -> dict[str, tuple[ArchiveRecord, ...]]:
    """By namespace, the archivers that the store at ``place`` knows.

    Args:
        settings: as of a store; its node does not count.
        home: with what the keys that are no namespace's begin.

    Raises:
        StoreError: it cannot be asked.
    """
    found: dict[str, tuple[ArchiveRecord, ...]] = {}
    link = Link(place, home, settings.timeout)
    try:
        (names,) = await link.call(("SMEMBERS", f"{home}namespaces"))
        for name in sorted(each.decode() for each in names):
            there = Link(place, prefix(name), settings.timeout) if place.sharded else link
            try:
                space = Space(
                    name, there, there, replace(settings, node=""), Epochs(), lambda *_: None
                )
                found[name] = await space.query(Archives())
            finally:
                if there is not link:
                    await there.close()
    finally:
        await link.close()
    return found
