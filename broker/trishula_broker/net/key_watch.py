"""Follows the key files, and the list of tokens beside them, while the hub runs.

A new key file is taken within a second; one that cannot be used changes nothing. Of the list, the
agents that tokens were made for become known, and what was revoked is told to the store, and so to
every node. It knows no connections and decides nothing about tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from trishula_broker.auth.authenticator import Authenticator
from trishula_broker.auth.errors import AuthError
from trishula_broker.auth.key_file import ledger_of, load, load_trusted
from trishula_broker.auth.keys import KeyRing
from trishula_broker.auth.ledger import Entry, Issued, Revoked
from trishula_broker.net.ports import Log
from trishula_broker.store.base import Revocation

EVERY_S: Final = 1.0
"""Between two looks; a revocation has five seconds to be everywhere."""


class Hearer(Protocol):
    """Who has the cores hear of it."""

    def introduce(self, namespace: str, agent: str) -> None:
        """A token was made for ``agent``."""
        ...

    def revoke(self, namespace: str, what: Revocation) -> None:
        """Tokens were taken back."""
        ...


_Sign = tuple[int, ...] | None
"""By what a file that has changed is known; None when there is none."""


class _Found(NamedTuple):
    """What one look found."""

    keys: KeyRing | None
    trusted: KeyRing | None
    entries: list[Entry]
    problems: list[str]


class KeyWatch:
    """Looks every second, until it is closed.

    Args:
        keys: this project's key file; the list is beside it.
        trusted: another issuer's key file, if there is one.
        authenticator: goes by what is found.
        hearer: hears of new lines of the list.
        now: wall-clock milliseconds.
        log: told of what was taken, and why something was not.
    """

    def __init__(
        self,
        keys: Path,
        trusted: Path | None,
        authenticator: Authenticator,
        hearer: Hearer,
        now: Callable[[], int],
        log: Log,
    ) -> None:
        self._keys = keys
        self._trusted = trusted
        self._ledger = ledger_of(keys)
        self._authenticator = authenticator
        self._hearer = hearer
        self._now = now
        self._log = log
        self._signs: dict[Path, _Sign] = {}
        for path in (keys, trusted):
            if path is not None:
                self._signs[path] = _sign(path)
        self._offset = 0
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<KeyWatch {self._keys} list read to {self._offset}>"

    def start(self) -> None:
        """Read the list as it is, then look every second.

        Raises:
            LedgerError: it cannot be read.
            Unsafe: others may read or write it.
        """
        found = self._ledger.read()
        self._signs[self._ledger.path] = _sign(self._ledger.path)
        self._offset = found.offset
        self._hear(found.entries)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="key-watch")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                # In a thread: the files may be on a disk that hangs.
                self._take(await asyncio.to_thread(self._look))
            except Exception as error:
                self._log.error("bug", during="key_watch", exc_info=error)

    # --- in a thread ---

    def _look(self) -> _Found:
        problems: list[str] = []
        entries: list[Entry] = []
        keys = self._read(self._keys, load, problems)
        trusted = None
        if self._trusted is not None:
            trusted = self._read(self._trusted, load_trusted, problems)
        sign = _sign(self._ledger.path)
        if sign != self._signs.get(self._ledger.path):
            self._signs[self._ledger.path] = sign
            try:
                found = self._ledger.read(self._offset)
            except AuthError as error:
                problems.append(str(error))
            else:
                self._offset = found.offset
                entries = found.entries
        return _Found(keys, trusted, entries, problems)

    def _read(
        self, path: Path, read: Callable[[Path], KeyRing], problems: list[str]
    ) -> KeyRing | None:
        sign = _sign(path)
        if sign == self._signs[path]:
            return None
        self._signs[path] = sign
        try:
            return read(path)
        except AuthError as error:
            problems.append(str(error))
            return None

    # --- in the loop ---

    def _take(self, found: _Found) -> None:
        for problem in found.problems:
            self._log.error("keys_not_taken", why=problem, then="the keys of before go on")
        if found.keys is not None:
            self._authenticator.use(found.keys)
            self._log.info("keys_taken", kids=[key.kid for key in found.keys])
        if found.trusted is not None:
            self._authenticator.use_trusted(found.trusted)
            self._log.info("trusted_keys_taken", kids=[key.kid for key in found.trusted])
        self._hear(found.entries)

    def _hear(self, entries: Iterable[Entry]) -> None:
        """Tell of what still matters, each agent once."""
        now = self._now() - self._authenticator.leeway_ms
        revocations = self._authenticator.revocations
        agents: dict[tuple[str, str], None] = {}
        entries = list(entries)
        for entry in entries:
            if isinstance(entry, Revoked) and (entry.until is None or entry.until > now):
                if entry.jti is not None:
                    revocations.revoke_token(entry.ns, entry.jti, entry.until)
                if entry.agent is not None:
                    revocations.revoke_agent(entry.ns, entry.agent, entry.before, entry.until)
                what = Revocation(entry.jti or "", entry.agent or "", entry.before, entry.until)
                self._hearer.revoke(entry.ns, what)
        for entry in entries:
            if (
                isinstance(entry, Issued)
                and entry.role != "observer"  # it is no address: nothing would ever be read
                and (entry.exp is None or entry.exp > now)
                and not revocations.is_revoked(entry.identity())
            ):
                agents[entry.ns, entry.sub] = None
        for namespace, agent in agents:
            self._hearer.introduce(namespace, agent)


def _sign(path: Path) -> _Sign:
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return None
    # The mode too: a file that was open to others is looked at again once it is not.
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode)
