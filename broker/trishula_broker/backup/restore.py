"""Puts a backup back: everything is compared first, and nobody's store is replaced unasked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trishula_broker.backup import bundle, keys, sqlite
from trishula_broker.backup.errors import BackupError
from trishula_broker.backup.manifest import Manifest, Part
from trishula_broker.store.base import StoreError
from trishula_broker.store.sqlite.lock import NAME as LOCK
from trishula_broker.store.sqlite.lock import DirectoryLock
from trishula_broker.store.sqlite.schema import FILE, make_directory

if TYPE_CHECKING:
    from trishula_broker.backup.redis import Source

Content = tuple[Part, Iterator[bytes]]
"""A part, and what is in it, a piece at a time."""
_NAMES: Final = {"sqlite": "SQLite", "redis": "Redis"}
_SHOWN: Final = 3
"""Files of a folder that a refusal names."""


def to_sqlite(
    path: Path,
    data: Path,
    key_file: Path | None,
    progress: bundle.Progress,
    *,
    force: bool = False,
) -> Manifest:
    """Put the backup in ``path`` into the data directory ``data``.

    Args:
        key_file: where the backup's keys are to go; None leaves them in the backup.
        force: replace what is there.

    Raises:
        BackupError: it is refused; what was there is as it was.
    """
    manifest = _verified(path, "sqlite", sqlite.known_schema(), key_file, progress)
    try:
        make_directory(data)
        lock = DirectoryLock(data, "restore")
        lock.acquire()
    except StoreError as error:
        raise BackupError(data, str(error)) from None
    new = data / f".{FILE}.restored"
    try:
        if not force:
            _refuse_full(data)
        with bundle.opened(path, progress) as found:
            secrets, rest = _secrets(found, key_file, data, force)
            for part, content in rest:
                _extract(part, content, new, progress)
        sqlite.put(new, data, path)
        if key_file is not None:
            keys.put(secrets, key_file, data)
    except OSError as error:
        raise BackupError(data, f"cannot be written ({error.strerror or error})") from None
    finally:
        for left in (new, *(new.with_name(f"{new.name}{end}") for end in ("-wal", "-journal"))):
            left.unlink(missing_ok=True)
        lock.release()
    return manifest


def to_redis(
    path: Path,
    source: Source,
    data: Path,
    key_file: Path | None,
    progress: bundle.Progress,
    *,
    force: bool = False,
) -> Manifest:
    """Put the namespaces of the backup in ``path`` into a Redis.

    Raises:
        BackupError: it is refused, or Redis failed meanwhile; then no hub starts there before
            it was done again.
    """
    from trishula_broker.store.redis.link import SCHEMA

    manifest = _verified(path, "redis", SCHEMA, key_file, progress)
    with bundle.opened(path, progress) as found:
        secrets, rest = _secrets(found, key_file, data, force)
        asyncio.run(source.put(manifest, rest, progress, force=force))
    if key_file is not None:
        keys.put(secrets, key_file, data)
    return manifest


def _secrets(
    found: bundle.Bundle, key_file: Path | None, data: Path, force: bool
) -> tuple[dict[str, bytes], Iterator[Content]]:
    """The keys, which come first, and what follows them."""
    secrets: dict[str, bytes] = {}
    parts = found.parts()
    for part, content in parts:
        if not part.name.startswith(keys.FOLDER):
            parts = chain([(part, content)], parts)
            break
        secrets[part.name] = b"".join(content)
    if key_file is not None and not force:
        keys.check(secrets, key_file, data)
    return secrets, parts


def _verified(
    path: Path, store: str, schema: int, key_file: Path | None, progress: bundle.Progress
) -> Manifest:
    manifest = bundle.verify(path, progress)
    if manifest.store != store:
        todo = "name one with --redis" if manifest.store == "redis" else "leave --redis out"
        raise BackupError(path, f"is of a {_NAMES[manifest.store]} store: {todo}")
    if manifest.schema > schema:
        raise BackupError(
            path,
            f"has schema {manifest.schema}, and this version knows {schema}: use version "
            f"{manifest.version}",
        )
    if key_file is not None and not any(p.name.startswith(keys.FOLDER) for p in manifest.parts):
        raise BackupError(path, "has no keys in it: leave --keys out")
    return manifest


def _refuse_full(data: Path) -> None:
    there = sorted(each.name for each in data.iterdir() if each.name != LOCK)
    if there:
        more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
        raise BackupError(
            data,
            f"is not empty ({', '.join(there[:_SHOWN])}{more}): name an empty or a new folder with "
            "--data, or replace the store that is there with --force",
        )


def _extract(part: Part, content: Iterator[bytes], path: Path, progress: bundle.Progress) -> None:
    done = 0
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(file, "wb") as out:  # noqa: PTH123
        for data in content:
            out.write(data)
            done += len(data)
            progress("restoring", done, part.bytes)
