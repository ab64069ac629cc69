"""Makes a backup: copies the store and what belongs to it, and puts that into one file."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trishula_broker.backup import bundle, keys, sqlite
from trishula_broker.backup.errors import BackupError
from trishula_broker.backup.manifest import FORMAT, Manifest, Part
from trishula_broker.store.sqlite.schema import FILE

if TYPE_CHECKING:
    from trishula_broker.backup.redis import Source


class Made(NamedTuple):
    """A backup that was made."""

    manifest: Manifest
    stood_s: float
    """How long a Redis let nobody commit; 0 for SQLite, where nobody waits."""


def from_sqlite(path: Path, data: Path, key_file: Path | None, progress: bundle.Progress) -> Made:
    """Back the store in ``data`` up to ``path``.

    Args:
        key_file: with the keys beside it, where the backup is to have them.

    Raises:
        BackupError: it cannot be done; no file is left.
    """
    with _folder(path) as name:
        folder = Path(name)
        copied = sqlite.copy(data, folder, progress)
        files = {**_keys(key_file, data, folder), FILE: folder / FILE}
        manifest = Manifest(
            format=FORMAT,
            version=importlib.metadata.version("trishula"),
            store="sqlite",
            schema=copied.schema,
            moment=copied.moment,
            where=str(data),
            namespaces=copied.namespaces,
            parts=_parts(files),
        )
        bundle.write(path, manifest, files, progress)
        return Made(manifest, 0.0)


def from_redis(
    path: Path,
    source: Source,
    namespaces: Sequence[str],
    data: Path,
    key_file: Path | None,
    progress: bundle.Progress,
) -> Made:
    """Back ``namespaces`` of a Redis up to ``path``; all of them, when none is named.

    Raises:
        BackupError: it cannot be done; no file is left.
    """
    with _folder(path) as name:
        folder = Path(name)
        copied = asyncio.run(source.copy(folder, namespaces, progress))
        files = {**_keys(key_file, data, folder), **copied.files}
        manifest = Manifest(
            format=FORMAT,
            version=importlib.metadata.version("trishula"),
            store="redis",
            schema=copied.schema,
            moment=copied.moment,
            where=source.where,
            namespaces=copied.namespaces,
            parts=_parts(files, copied.of),
        )
        bundle.write(path, manifest, files, progress)
        return Made(manifest, copied.stood_s)


def _keys(key_file: Path | None, data: Path, folder: Path) -> dict[str, Path]:
    """The keys go first, so that whether they may be put back is known before anything is."""
    return {} if key_file is None else keys.copy(key_file, data, folder)


def _parts(files: dict[str, Path], of: dict[str, str] | None = None) -> tuple[Part, ...]:
    return tuple(
        bundle.part_of(name, file, (of or {}).get(name, "")) for name, file in files.items()
    )


def _folder(path: Path) -> tempfile.TemporaryDirectory[str]:
    """Where the parts are until the file is made: beside it, for that is where there is room."""
    if os.path.lexists(path):
        raise BackupError(path, "it is there already: name another file, or remove it")
    try:
        return tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise BackupError(
            path, f"cannot be made in that folder ({error.strerror}): make it, or name another"
        ) from None
