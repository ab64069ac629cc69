"""A store as an earlier version leaves it: ``python -m tests.contract.earlier`` writes it down.

The history below is played to the version that is checked out, which is killed at its end. What it
leaves are its database as SQL and the pieces of its journal in hexadecimal, in ``earlier/``, so
that later versions are tested with what was really written.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import tempfile
from pathlib import Path

from tests.contract.generated import LIMITS
from tests.contract.world import World
from trishula_broker.store import base
from trishula_broker.store.sqlite import SqliteStore

FOLDER = Path(__file__).parent / "earlier"
DAY = 24 * 3600 * 1000
_PIECE = re.compile(rb"[^\0](?:(?!\0{64}).)*", re.DOTALL)
"""What lies between long stretches of zeros, of which a journal has many."""
SHORT = base.Retention(max_age_ms=40 * DAY, max_bytes=150, dedup_ms=DAY)


def read_journal(text: str, size: int) -> bytes:
    """The bytes of a journal: each line has the place of a piece and its bytes, all else is 0."""
    journal = bytearray(size)
    for line in text.splitlines():
        at, _, piece = line.partition(" ")
        journal[int(at) : int(at) + len(piece) // 2] = bytes.fromhex(piece)
    return bytes(journal)


async def play(world: World) -> None:
    """A history with everything in it that a log can have."""
    await world.do(base.Archive("n1", 0))
    await world.come("ada", groups=("ops",))
    await world.come("bob", groups=("ops", "web"))
    await world.come("cyd", caps=("plan",))
    await world.come("dee")
    old = await world.send("ada", "bob", "id0")
    await world.do(world.settle("bob", old.seq, at=world.now))
    fan = await world.send("bob", "#ops", "id1", thread="talk")
    await world.do(world.settle("ada", fan.seq))
    await world.waiting("bob")  # folds
    world.now += DAY
    assert await world.store.trim(world.now, SHORT) == 0
    for n in range(2, 5):
        sent = await world.send("ada", "bob", f"id{n}", size=60, thread="id2")
        await world.do(world.settle("bob", sent.seq, at=world.now + 3))
    assert await world.store.trim(world.now, SHORT) > 0  # one is gone, others have no body
    await world.do(base.Archive("n1", 0))  # the trail was given up
    taken = await world.send("bob", "@plan", "id5", thread="talk")
    await world.do(world.read("cyd", taken.seq))
    await world.go("cyd", taken.seq)
    await world.send("ada", "@plan", "id6")
    await world.send("cyd", "broadcast", "id7", ttl=1_000)
    dead = await world.send("ada", "dee", "id8")
    notice = base.Notice("ada", "id9", "id8", b'{"type":"ERROR"}')
    await world.do(world.discard("dee", dead.seq, "dead", notice))
    await world.waiting("bob")  # folds; what follows is in the journal alone
    asked = await world.send("ada", "dee", "id10", priority=1)
    await world.do(world.mail("dee", "ada", "id11", thread="id10", settles=asked.seq))
    await world.send("dee", "#ops", "id12", thread="id10")
    late = await world.send("dee", "bob", "id13")
    await world.do(world.read("bob", late.seq), world.settle("bob", late.seq))


async def _leave() -> None:
    folder = Path(tempfile.mkdtemp())
    left = Path(tempfile.mkdtemp())
    world = World(lambda: SqliteStore(folder, LIMITS))
    await world.store.open()
    await play(world)
    for name in ("store.db", "store.db-wal", "store.journal"):
        shutil.copy(folder / name, left)
    await world.store.close()
    db = sqlite3.connect(left / "store.db")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    FOLDER.mkdir(exist_ok=True)
    script = "\n".join([*db.iterdump(), f"PRAGMA user_version = {version};"])
    (FOLDER / f"{version}.sql").write_text(script + "\n")
    db.close()
    journal = (left / "store.journal").read_bytes()
    lines = [f"{piece.start()} {piece[0].hex()}\n" for piece in _PIECE.finditer(journal)]
    (FOLDER / f"{version}.journal").write_text("".join(lines))


if __name__ == "__main__":
    asyncio.run(_leave())
