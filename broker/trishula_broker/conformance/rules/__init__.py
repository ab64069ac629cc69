"""The rules that are tried, a file a section of docs/protocol.md; all of them are :data:`ALL`."""

from __future__ import annotations

from typing import Final

from trishula_broker.conformance.rules import (
    addresses,
    connection,
    envelope,
    operations,
    payload,
    promises,
    settling,
    transport,
)

CHAPTERS: Final = (
    transport.CHAPTER,
    envelope.CHAPTER,
    payload.CHAPTER,
    connection.CHAPTER,
    addresses.CHAPTER,
    promises.CHAPTER,
    settling.CHAPTER,
    operations.CHAPTER,
)
ALL: Final = tuple(rule for chapter in CHAPTERS for rule in chapter.rules)
"""In the order of the document."""
