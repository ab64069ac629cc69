"""MessagePack by its reference package, typed."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]

Timestamp = msgpack.Timestamp
"""What the package writes as ext -1."""


def pack(value: Any) -> bytes:
    """``value`` as the package writes it."""
    packed = msgpack.packb(value)
    assert isinstance(packed, bytes)
    return packed


def unpack(data: bytes) -> Any:
    """``data`` as the package reads it."""
    return msgpack.unpackb(data)
