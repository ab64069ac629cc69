"""The key file on the disk: made, read, rotated.

Rotation: a new first key signs from then on, and the one before goes on checking until no token of
it is left. So two keys sign or have signed at most; public halves that were put in are left alone.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from trishula_broker.auth.book import Book
from trishula_broker.auth.errors import KeysError
from trishula_broker.auth.keys import SIGNING, Key, KeyRing, make_key
from trishula_broker.auth.ledger import NAME as LEDGER_NAME
from trishula_broker.auth.ledger import Issued, Ledger
from trishula_broker.auth.private_files import (
    check_folder,
    locked,
    make_folder,
    read_private,
    write_private,
)

NAME: Final = "keys.json"
"""Of the key file in a data directory."""
FILE_BYTES: Final = 1 << 20
"""A larger file is not one of keys."""


class Rotated(NamedTuple):
    """What a rotation did."""

    new: Key
    dropped: tuple[Key, ...]


class Pruned(NamedTuple):
    """What became of the keys that do not sign any more; those kept, with why."""

    dropped: tuple[Key, ...]
    kept: tuple[tuple[Key, str], ...]


def load(path: Path) -> KeyRing:
    """This project's keys.

    Raises:
        KeysError: they cannot be used, or the file cannot be read.
        Unsafe: others may read the file, or write its folder.
    """
    return _load(path, foreign=False)


def load_trusted(path: Path) -> KeyRing:
    """Another issuer's public keys.

    Raises:
        KeysError: they cannot be used, or the file cannot be read.
        Unsafe: others may write the file.
    """
    return _load(path, foreign=True)


def init(path: Path, alg: str, now: int) -> Key:
    """Make the file, with one key.

    Raises:
        KeysError: there is one, or it cannot be written.
        Unsafe: others may write the folder.
    """
    key = make_key(alg, now, _day(now))
    try:
        make_folder(path.parent)
        write_private(path, _document([key]), new=True)
    except FileExistsError:
        raise KeysError(
            str(path),
            "is there already, and tokens are checked with it; `broker keys rotate` "
            "puts a new key in front",
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    return key


def rotate(path: Path, alg: str | None, now: int) -> Rotated:
    """Put a new key in front; of those behind it, the one that signed until now goes on checking.

    Args:
        path: the file.
        alg: of the new key; by default that of the one that signs now.
        now: wall-clock milliseconds.

    Raises:
        KeysError: a token needs a key that would have to go; says which. Or as :func:`load`.
        Unsafe: as :func:`load`.
        LedgerError: the list of tokens cannot be read.
    """
    with _changing(path) as keys:
        signing = [key for key in keys if key.signs]
        before = signing[1:]
        tokens = Book(ledger_of(path).read().entries).valid(now)
        for key in before:
            why = needed_by(key, tokens)
            if why:
                raise KeysError(
                    str(path),
                    f"{why}, so it cannot be dropped for a third one yet: wait, make those agents "
                    "new tokens and revoke the old ones, or `broker keys prune --force`",
                    key.kid,
                )
        if alg is None:
            alg = signing[0].alg if signing else SIGNING[0]
        new = make_key(alg, now, _day(now))
        _write(path, [new, *(key for key in keys if key not in before)])
    return Rotated(new, tuple(before))


def prune(path: Path, now: int, *, force: bool = False) -> Pruned:
    """Drop the keys that do not sign any more and that no token needs.

    Args:
        path: the file.
        now: wall-clock milliseconds.
        force: also those that tokens need, which are refused from then on.

    Raises:
        KeysError, Unsafe, LedgerError: as :func:`rotate`.
    """
    with _changing(path) as keys:
        before = [key for key in keys if key.signs][1:]
        tokens = Book(ledger_of(path).read().entries).valid(now)
        kept = [] if force else [(key, why) for key in before if (why := needed_by(key, tokens))]
        dropped = [key for key in before if key not in [each for each, _ in kept]]
        if dropped:
            _write(path, [key for key in keys if key not in dropped])
    return Pruned(tuple(dropped), tuple(kept))


def needed_by(key: Key, tokens: Iterable[Issued]) -> str:
    """Which of the tokens that are valid this key has signed, for people; empty if none."""
    ends = [each.exp for each in tokens if each.kid == key.kid]
    if not ends:
        return ""
    count = f"{len(ends)} token{'s' * (len(ends) > 1)}"
    last = max((end for end in ends if end is not None), default=None)
    if last is None or None in ends:
        return f"it checks {count}, and not all expire"
    when = datetime.fromtimestamp(last / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"it checks {count}, the last of which expires at {when}"


def ledger_of(path: Path) -> Ledger:
    """The list of what was made with the keys of a file."""
    return Ledger(path.with_name(LEDGER_NAME))


@contextmanager
def _changing(path: Path) -> Iterator[KeyRing]:
    """The keys of a file that no other command changes meanwhile."""
    load(path)  # what is wrong with it is told before its folder is touched
    with locked(path.parent):
        yield load(path)


def _load(path: Path, *, foreign: bool) -> KeyRing:
    try:
        check_folder(path.parent)
        text = read_private(path, secret=not foreign)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(text) > FILE_BYTES:
        raise KeysError(str(path), f"it has {len(text)} bytes; a key file has {FILE_BYTES} at most")
    return KeyRing.parse(text, str(path), foreign=foreign)


def _write(path: Path, keys: Iterable[Key]) -> None:
    try:
        write_private(path, _document(keys))
    except OSError as error:
        raise _unreadable(path, error) from None


def _document(keys: Iterable[Key]) -> bytes:
    return json.dumps({"keys": [key.document() for key in keys]}, indent=2).encode() + b"\n"


def _day(now: int) -> str:
    return datetime.fromtimestamp(now / 1000, UTC).strftime("%Y-%m-%d")


def _unreadable(path: Path, error: OSError) -> KeysError:
    if isinstance(error, FileNotFoundError):
        return KeysError(
            str(path),
            "there is no such file; name the hub's with --keys or --config, or "
            f"`broker keys init --keys {shlex.quote(str(path))}` makes one",
        )
    return KeysError(str(path), error.strerror or str(error))
