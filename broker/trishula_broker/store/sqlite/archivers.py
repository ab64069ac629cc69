"""What a SQLite store knows of its archivers, read from its file, whether or not a hub has it open.

What the hub has committed in the last second may be in its journal only, and is not seen.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from trishula_broker.store.base import StoreError
from trishula_broker.store.sqlite.schema import FILE
from trishula_broker.store.trail import ArchiveRecord, Head

_heads: Final = msgspec.json.Decoder(tuple[Head, ...]).decode
_ARCHIVERS: Final = """
SELECT s.name, a.node, a.upto, a.at, a.heads, a.dropped
FROM archivers AS a JOIN spaces AS s ON s.id = a.space ORDER BY s.name, a.node
"""
_DIGESTS: Final = """
SELECT d.number, d.digest
FROM digests AS d JOIN spaces AS s ON s.id = d.space
WHERE s.name = ? AND d.node = ? ORDER BY d.number
"""


def archivers_in(directory: Path) -> dict[str, tuple[ArchiveRecord, ...]]:
    """By namespace, the archivers that the store in ``directory`` knows.

    Raises:
        StoreError: there is none, or it cannot be read.
    """
    path = directory / FILE
    if not path.exists():
        raise StoreError(f"there is no {path}")
    found: dict[str, tuple[ArchiveRecord, ...]] = {}
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            for space, node, upto, at, heads, dropped in db.execute(_ARCHIVERS).fetchall():
                digests = tuple(db.execute(_DIGESTS, (space, node)).fetchall())
                record = ArchiveRecord(node, upto, at, _heads(heads), digests, bool(dropped))
                found[space] = (*found.get(space, ()), record)
        finally:
            db.close()
    except (sqlite3.Error, msgspec.DecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    return found
