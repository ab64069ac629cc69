"""What an archive needs of others: a store, and a thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from trishula_broker.store.trail import Archive, Archives, Trail


class Port(NamedTuple):
    """The store, as an archiver needs it."""

    submit: Callable[[str, Archive], Awaitable[Any]]
    """``(namespace, operation)``: commit it; its outcome."""
    query: Callable[[str, Trail | Archives], Awaitable[Any]]
    """``(namespace, question)``: ask it."""


InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Has something blocking done elsewhere."""
