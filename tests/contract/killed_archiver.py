"""The child of test_trail_kill: commits and archives for ever, and prints what it may rely on.

``accepted id`` and ``settled id``: it was told so. ``entry pos ids``: it has read that entry, and
what it accepts; ``archived pos`` that it is about to say that it has all up to there.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "protocol"), str(ROOT / "broker")]

from tests.contract.world import World  # noqa: E402
from trishula_broker.store import base  # noqa: E402
from trishula_broker.store.redis import RedisStore  # noqa: E402
from trishula_broker.store.sqlite import SqliteStore, pending  # noqa: E402


def make(where: str) -> base.Store:
    """The store at a Redis URL, or in a directory."""
    if where.startswith("redis:"):
        return RedisStore(where, timeout=60, node="n1")
    return SqliteStore(Path(where), node="n1")


def ids(entry: base.Entry) -> list[str]:
    """What an entry accepts."""
    return [op.id for op, _ in entry.done if isinstance(op, base.Accept)]


async def main() -> None:
    """Send in small batches, settle, and archive every fifth time."""
    pending.FOLD_AT = 50  # type: ignore[misc]  # often
    world = World(lambda: make(sys.argv[1]))
    await world.store.open()
    await world.do(base.Archive("n1", 0))
    await world.come("ada")
    await world.come("bob")
    pos = 0
    for start in range(0, 100_000, 7):
        mine = [f"m{n:08}" for n in range(start, start + 7)]
        outcomes = await world.do(*(world.mail("ada", "bob", id_, size=300) for id_ in mine))
        print(*(f"accepted {id_}" for id_ in mine), sep="\n", flush=True)
        await world.do(world.settle("bob", *(outcome.seq for outcome in outcomes)))
        print(*(f"settled {id_}" for id_ in mine), sep="\n", flush=True)
        if start % 5 == 0:
            for entry in await world.ask(base.Trail(pos, 100)):
                print("entry", entry.pos, *ids(entry), flush=True)
                pos = entry.pos
            print("archived", pos, flush=True)
            await world.do(base.Archive("n1", pos))


if __name__ == "__main__":
    asyncio.run(main())
