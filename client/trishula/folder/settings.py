"""What an agent is told of its shared folder: checked before anything is read or written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from trishula_protocol.folder_key import Keyring


class FolderSettings(NamedTuple):
    """``fallback_after`` is in seconds."""

    root: Path
    fallback_after: float
    keyring: Keyring | None


def folder_settings(
    folder: str | os.PathLike[str] | None,
    fallback_after: float,
    key: str | os.PathLike[str] | None,
) -> FolderSettings | None:
    """The settings, None without a folder.

    Raises:
        ValueError: names the argument and the rule.
    """
    if folder is None:
        if key is not None:
            raise ValueError("folder_key: it signs files, and there is no shared_folder")
        return None
    if not fallback_after >= 0:
        raise ValueError(f"fallback_after: seconds, 0 or more, not {fallback_after!r}")
    return FolderSettings(Path(folder).expanduser().absolute(), fallback_after, read_keyring(key))


def read_keyring(path: str | os.PathLike[str] | None) -> Keyring | None:
    """The keys of the file ``path``, None without one.

    Raises:
        ValueError: it cannot be read, or holds no keys; never says what it holds.
    """
    if path is None:
        return None
    file = Path(path).expanduser()
    try:
        return Keyring.parse(file.read_text("ascii"))
    except OSError as error:
        raise ValueError(f"folder_key: {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"folder_key: {file}: it is not text") from None
    except ValueError as error:
        raise ValueError(f"folder_key: {file}: {error}") from None
