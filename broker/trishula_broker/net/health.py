"""What ``/health`` says: how this hub is, and why when it is not well."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from trishula_broker.net.driver import Driver
from trishula_broker.store.base import Store, StoreError


class Archive(Protocol):
    """The audit's archive, as seen from here."""

    @property
    def problem(self) -> str | None:
        """What is wrong with it, None when nothing is."""
        ...

    def describe(self) -> dict[str, Any]:
        """Particulars."""
        ...


class Health:
    """Makes the report.

    Args:
        driver: who serves.
        store: who keeps.
        about: what never changes: node, role, version.
        archive: keeps the audit, where there is one.
        workers: what is known of all that serve this port, where they are several.
    """

    def __init__(
        self,
        driver: Driver,
        store: Store,
        about: dict[str, str],
        archive: Archive | None = None,
        workers: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        self._driver = driver
        self._store = store
        self._about = about
        self._archive = archive
        self._workers = workers
        self._since = driver.clock().mono

    async def report(self) -> dict[str, Any]:
        """The report; ``status`` is ``ok``, ``degraded`` or ``draining``."""
        driver = self._driver
        trouble = driver.trouble
        try:
            store = await self._store.health()
        except StoreError as error:
            store = {"problem": str(error)}
        trouble = trouble or store.get("problem")
        if self._archive is not None:
            trouble = trouble or self._archive.problem
        report: dict[str, Any] = {"status": "degraded" if trouble else "ok", **self._about}
        if driver.draining:
            report["status"] = "draining"
        if trouble:
            report["why"] = trouble
        now = driver.clock()
        namespaces = {name: core.describe(now) for name, core in driver.cores.items()}
        report["pid"] = os.getpid()
        report["uptime_s"] = (now.mono - self._since) // 1000
        report["connections"] = driver.connections
        report["agents_online"] = sum(found["agents_online"] for found in namespaces.values())
        if self._workers is not None:
            report["workers"] = self._workers()
        report["namespaces"] = namespaces
        report["store"] = store
        if self._archive is not None:
            report["audit"] = self._archive.describe()
        return report
