"""The keys that a backup may have as well: the key file, its list of tokens, the node's own key.

Whoever reads them can make any token and sign for this node's archive: they are in the backup only
when that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trishula_broker.audit.heads import FILE as NODE_KEY
from trishula_broker.auth.errors import AuthError
from trishula_broker.auth.ledger import NAME as LEDGER
from trishula_broker.auth.private_files import make_folder, read_private, write_private
from trishula_broker.backup.errors import BackupError

FOLDER: Final = "keys/"
"""With what the names of these parts begin."""
KEYS: Final = "keys.json"
"""What the key file is called in a backup, wherever it was."""


def places(key_file: Path, data: Path) -> dict[str, Path]:
    """By part, where each is, or would be."""
    return {
        f"{FOLDER}{KEYS}": key_file,
        f"{FOLDER}{LEDGER}": key_file.with_name(LEDGER),
        f"{FOLDER}{NODE_KEY}": data / NODE_KEY,
    }


def copy(key_file: Path, data: Path, folder: Path) -> dict[str, Path]:
    """Copy those that are there into ``folder``; by part, where the copy is.

    Raises:
        BackupError: there are none, or one cannot be read, or others can read it.
    """
    found: dict[str, Path] = {}
    for name, path in places(key_file, data).items():
        content = _read(path)
        if content is not None:
            found[name] = folder / Path(name).name
            try:
                write_private(found[name], content)
            except OSError as error:
                raise BackupError(
                    folder.parent, f"cannot be written ({error.strerror}): make room there"
                ) from None
    if not found:
        raise BackupError(
            key_file, f"is not there, nor is {data / NODE_KEY}: leave --keys out, or name its file"
        )
    return found


def check(new: Mapping[str, bytes], key_file: Path, data: Path) -> None:
    """Whether :func:`put` would replace other keys.

    Raises:
        BackupError: it would.
    """
    for name, path in places(key_file, data).items():
        there = _read(path)
        if there is not None and name in new and there != new[name]:
            raise BackupError(
                path, "is there and is another one than the backup's: --force replaces it"
            )


def put(new: Mapping[str, bytes], key_file: Path, data: Path) -> None:
    """Write them to where a hub looks for them, 0600.

    Raises:
        BackupError: one cannot be written.
    """
    for name, path in places(key_file, data).items():
        if name in new:
            try:
                make_folder(path.parent)
                write_private(path, new[name])
            except AuthError as error:
                raise BackupError(path, str(error).removeprefix(f"{path}: ")) from None
            except OSError as error:
                raise BackupError(path, f"cannot be written ({error.strerror})") from None


def _read(path: Path) -> bytes | None:
    try:
        return read_private(path)
    except FileNotFoundError:
        return None
    except AuthError as error:
        raise BackupError(path, str(error).removeprefix(f"{path}: ")) from None
    except OSError as error:
        raise BackupError(path, f"cannot be read ({error.strerror})") from None
