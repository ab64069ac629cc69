"""This node's archive beside those of others: whether they say the same of the same entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from trishula_broker.audit import blocks
from trishula_broker.store.trail import ArchiveRecord

KEPT: Final = 10_000
"""Blocks of this node's whose digests are kept to compare others' with: the newest."""


class Others:
    """Those of one namespace.

    Args:
        node: this one.
        alarm: told what an operator must know, once each.

    Attributes:
        mismatches: ``(node, block)`` whose digest differs from this node's, with what was said.
    """

    def __init__(self, node: str, namespace: str, alarm: Callable[[str], None]) -> None:
        self.mismatches: dict[tuple[str, int], str] = {}
        self._node = node
        self._namespace = namespace
        self._alarm = alarm
        self._known: dict[int, str] = {}
        """Of recent blocks."""

    def ended(self, digests: Iterable[tuple[int, str]]) -> None:
        """Blocks of this node's ended, with these digests."""
        self._known |= dict(digests)

    def forget_from(self, number: int) -> None:
        """Blocks from ``number`` on are no more."""
        self._known = {each: digest for each, digest in self._known.items() if each < number}

    def compare(self, archives: Sequence[ArchiveRecord]) -> None:
        """See what the store has of all of them."""
        mine = dict(self._known)
        for archive in archives:
            if archive.node == self._node:
                mine = dict(archive.digests) | mine
        for archive in archives:
            if archive.node == self._node:
                continue
            for number, digest in archive.digests:
                place = (archive.node, number)
                if mine.get(number, digest) != digest and place not in self.mismatches:
                    self.mismatches[place] = text = self._differs(archive.node, number)
                    self._alarm(text)
        for number in sorted(self._known)[:-KEPT]:
            del self._known[number]

    def _differs(self, node: str, number: int) -> str:
        first = number * blocks.SIZE + 1
        return (
            f"the archives of {self._node} and {node} differ in block {number} of "
            f"{self._namespace} (entries {first} to {first + blocks.SIZE - 1}): run "
            "`broker audit verify` on both; hubs of two versions may differ while they share a "
            "store"
        )
