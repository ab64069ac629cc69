"""What a backup says of itself, in ``manifest.json``, the first of its parts."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

FORMAT: Final = 1
"""Of the file; a newer one is refused."""
NAME: Final = "manifest.json"


class Part(msgspec.Struct, frozen=True):
    """A file in the backup."""

    name: str
    bytes: int
    sha256: str
    namespace: str = ""
    """Whose keys it has; empty where it is not one namespace's."""


class Namespace(msgspec.Struct, frozen=True):
    """What a namespace had at the moment of the backup."""

    name: str
    agents: int
    """That are known."""
    messages: int
    """In the log; of those whose bodies were trimmed, their ids alone."""
    waiting: int
    """Copies that are not settled."""
    seq: int
    """The last place in the log that was used: what was accepted later is not in the backup."""
    entry: int
    """The last position of its trail (docs/audit.md)."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. Times are wall-clock milliseconds."""

    format: int
    version: str
    """Of what made it."""
    store: Literal["sqlite", "redis"]
    schema: int
    """Of the store's data."""
    moment: int
    """When the store was as it is in here; a Redis says that by its own clock."""
    where: str
    """The data directory, or the Redis without its password."""
    namespaces: tuple[Namespace, ...]
    parts: tuple[Part, ...]


def encode(manifest: Manifest) -> bytes:
    """As it is written, for people too."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(data: bytes) -> Manifest:
    """What :func:`encode` made.

    Raises:
        ValueError: it is none that this version can read; says why.
    """
    try:
        found = msgspec.json.decode(data, type=_Format)
        if found.format > FORMAT:
            raise ValueError(
                f"it has format {found.format}, and this version knows {FORMAT}: use version "
                f"{found.version or 'of the program that made it'}"
            )
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise ValueError(f"its {NAME} is not as a backup has it ({error})") from None


class _Format(msgspec.Struct):
    format: int
    version: str = ""
