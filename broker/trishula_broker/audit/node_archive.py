"""The archive as the composition root has it: made by the configuration, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trishula_broker.audit.archiver import Archiver
from trishula_broker.audit.heads import FILE, KeyProblem, NodeKey
from trishula_broker.audit.lock import Held
from trishula_broker.audit.port import Port
from trishula_broker.audit.sealing import Sealer, UnusableKey, parse_key, read_key
from trishula_broker.audit.settings import AuditSettings
from trishula_broker.audit.writer import Damaged
from trishula_broker.config import AuditConfig, Config
from trishula_broker.net.driver import Driver
from trishula_broker.net.ports import Log
from trishula_broker.store.base import Archive, Store


class CannotArchive(Exception):
    """The archive cannot be written as it was asked for; one line says why and what to do."""


def folder(config: Config) -> Path:
    """Where the archive is."""
    given = config.audit.path
    return Path(given or Path(config.data) / "audit").expanduser()


def key_path(config: Config) -> Path:
    """Where the node's own key is."""
    return Path(config.data).expanduser() / FILE


def archive_key(config: AuditConfig) -> bytes | None:
    """What encrypts the archive, if it is to be.

    Raises:
        UnusableKey: there is a key, and it is none.
    """
    if config.key:
        return parse_key(config.key, "audit.key")
    if config.key_file:
        return read_key(Path(config.key_file).expanduser(), "audit.key_file")
    return None


def sealer(config: AuditConfig) -> Sealer | None:
    """Seals and opens with that key.

    Raises:
        UnusableKey: there is a key, and it is none.
    """
    key = archive_key(config)
    return None if key is None else Sealer(key)


def audit_settings(config: AuditConfig) -> AuditSettings:
    """What the archive's own modules need to know."""
    return AuditSettings(
        config.body,
        config.redact,
        config.segment_bytes,
        config.segment_age_s,
        config.max_age_s,
        config.max_bytes,
    )


class NodeArchive:
    """What the driver and the rest of a hub see of the archive, also while there is none.

    Args:
        home: the namespace that is always served.
        clock: wall-clock milliseconds.
    """

    def __init__(self, config: Config, home: str, clock: Callable[[], int], log: Log) -> None:
        self._config = config
        self._home = home
        self._clock = clock
        self._log = log
        self._archiver: Archiver | None = None
        self._driver: Driver | None = None

    async def open(self, driver: Driver, store: Store) -> None:
        """Begin to archive what ``driver`` commits to ``store``, both of which run.

        Raises:
            CannotArchive: it cannot be.
        """
        self._driver = driver
        config = self._config
        if not config.audit.enabled:
            return
        root = folder(config)
        try:
            key = NodeKey.load_or_make(key_path(config))
            archiver = Archiver(
                root,
                config.node,
                self._home,
                key,
                audit_settings(config.audit),
                Port(driver.submit, store.query),
                self._clock,
                self._log,
                driver.accepting,
                sealer=sealer(config.audit),
                several=bool(config.redis.url),
            )
            await archiver.open()
        except (Held, Damaged, KeyProblem, UnusableKey) as error:
            raise CannotArchive(str(error)) from error
        except OSError as error:
            where = error.filename or root
            raise CannotArchive(
                f"audit.path: cannot write {where}: {error.strerror or error}; name another with "
                "--audit, or do without with --no-audit"
            ) from error
        self._archiver = archiver

    def follow(self, namespace: str) -> None:
        """Archive what happens in ``namespace``, from its next commit on."""
        if self._archiver is not None:
            self._archiver.follow(namespace)
        elif self._driver is not None:
            # Nobody is to wait for an archive that this node once wrote.
            ends = self._driver.submit(namespace, Archive(self._config.node, 0, ends=True))
            ends.add_done_callback(lambda done: done.cancelled() or done.exception())

    def record(self, namespace: str, event: str, fields: dict[str, Any]) -> None:
        """Keep what no commit tells of."""
        if self._archiver is not None:
            self._archiver.local.record(namespace, event, fields)

    async def caught_up(self, namespace: str) -> None:
        """Return when what happened in ``namespace`` until now can be read, as far as it can be
        written; soon in any case."""
        if self._archiver is not None:
            await self._archiver.caught_up(namespace)

    @property
    def problem(self) -> str | None:
        """Why it cannot be written, None when it can. Alarms are told beside that: they keep no
        message from being accepted."""
        return None if self._archiver is None else self._archiver.problem

    @property
    def mismatches(self) -> int:
        """Blocks in which another node's archive differs from this one's."""
        return 0 if self._archiver is None else self._archiver.mismatches

    def describe(self) -> dict[str, Any]:
        """What ``/health`` says of it."""
        if self._archiver is None:
            return {"enabled": False}
        return {"enabled": True, **self._archiver.describe()}

    async def finish(self) -> None:
        """Archive what is there, while the store can still be asked."""
        if self._archiver is not None:
            await self._archiver.finish(self._config.drain_s)

    async def close(self) -> None:
        """Write the last, and end."""
        archiver, self._archiver = self._archiver, None
        if archiver is not None:
            await archiver.close()
