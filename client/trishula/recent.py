"""A bounded memory of what was last."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The keys added last, each with a value.

    Two generations: when the younger holds half of the limit the older is forgotten. So adding
    costs the same however full it is, and between half and all of the limit is remembered.
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._young or key in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __getitem__(self, key: K) -> V:
        return self._young[key] if key in self._young else self._old[key]

    def add(self, key: K, value: V) -> None:
        """Remember ``key``, and forget the oldest when there are too many."""
        if len(self._young) >= self._half:
            self._old = self._young
            self._young = {}
        self._young[key] = value
