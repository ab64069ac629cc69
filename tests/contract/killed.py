"""The child of test_sqlite_kill: commits for ever and prints what it was told is durable."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "protocol"), str(ROOT / "broker")]

from tests.contract.world import World  # noqa: E402
from trishula_broker.store import base  # noqa: E402
from trishula_broker.store.sqlite import SqliteStore, pending  # noqa: E402


async def main() -> None:
    """Send to a group in small batches; settle every other message everywhere."""
    pending.FOLD_AT = 50  # type: ignore[misc]  # often
    world = World(lambda: SqliteStore(Path(sys.argv[1])))
    await world.store.open()
    await world.come("ada")
    names = [f"bob{n}" for n in range(5)]
    for name in names:
        await world.come(name, groups=("all",))
    for start in range(0, 10_000, 7):
        ids = [f"m{n:08}" for n in range(start, start + 7)]
        outcomes = await world.do(*(world.mail("ada", "#all", id_, size=300) for id_ in ids))
        assert all(isinstance(outcome, base.Accepted) for outcome in outcomes)
        print(*(f"accepted {id_}" for id_ in ids), sep="\n", flush=True)
        seqs = [outcome.seq for outcome in outcomes[::2]]
        await world.do(*(world.settle(name, *seqs) for name in names))
        print(*(f"settled {id_}" for id_ in ids[::2]), sep="\n", flush=True)


asyncio.run(main())
