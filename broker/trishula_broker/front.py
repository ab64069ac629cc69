"""What answers on a hub's port, put together: WebSocket, health, metrics, HTTP API and console."""

from __future__ import annotations

import asyncio
import importlib.metadata
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trishula_broker import process
from trishula_broker.access import Access
from trishula_broker.api.metrics import Metrics, Source
from trishula_broker.api.series import Series, totals_of
from trishula_broker.api.server import Api
from trishula_broker.api.sources import ArchivePlace, Sources
from trishula_broker.audit.node_archive import NodeArchive, archive_key
from trishula_broker.audit.node_archive import folder as archive_folder
from trishula_broker.config import Config
from trishula_broker.console import pages
from trishula_broker.net.admission import Admission
from trishula_broker.net.depths import Depths
from trishula_broker.net.driver import Driver
from trishula_broker.net.health import Health
from trishula_broker.net.http import make_app
from trishula_broker.net.listener import Listener
from trishula_broker.net.refusals import Refusals
from trishula_broker.pulse import Pulse
from trishula_broker.store.base import Store
from trishula_broker.workers.worker import Worker
from trishula_protocol.address import parse_address

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from trishula_broker.alerts.notifier import Notifier


class Front(NamedTuple):
    """What answers, and what it counts."""

    listener: Listener
    api: Api
    series: Series
    pulse: Pulse
    notifier: Notifier | None

    async def close(self) -> None:
        """Answer nobody any more."""
        await self.listener.close()
        self.api.close()
        self.series.close()
        self.pulse.close()
        if self.notifier is not None:
            await self.notifier.close()


def make_front(
    config: Config,
    driver: Driver,
    store: Store,
    archive: NodeArchive,
    access: Access,
    worker: Worker | None,
    log: FilteringBoundLogger,
) -> Front:
    """All of it; the listener is not bound yet."""
    keyed = access.authenticator is not None
    board = None if worker is None else worker.board.describe
    health = Health(driver, store, about(config), archive, board)
    admission = Admission(config.websocket, access.authenticator, time.monotonic)
    series = Series(partial(totals_of, driver), lambda: driver.clock().wall)
    driver.meter.watch(asyncio.get_running_loop())
    series.watch(asyncio.get_running_loop())
    data = Path(config.data).expanduser()
    depths = Depths(store, time.monotonic)
    sources = Sources(
        health.report,
        _metrics(config, driver, store, depths, archive, access, data).text,
        series.shown,
        lambda: driver.clock().wall,
        data,
        config.key_file if keyed else None,
        ArchivePlace(archive_folder(config), archive.caught_up, archive_key(config.audit))
        if config.audit.enabled
        else None,
    )
    api = Api(driver, admission, sources, log, version(), config.websocket.http_body_bytes)
    listener = Listener(
        driver,
        make_app(health.report, [*api.routes(), *pages.routes(keyed=keyed)]),
        admission,
        Refusals(log, driver.record, driver.meter.turned_away),
        config.websocket,
        log,
        process.raise_descriptors(),
        access.tls,
    )
    pulse = Pulse(driver, lambda: archive.problem, archive.record)
    notifier = _notifier(config, driver, store, depths, archive, access, log)
    return Front(listener, api, series, pulse, notifier)


def _notifier(
    config: Config,
    driver: Driver,
    store: Store,
    depths: Depths,
    archive: NodeArchive,
    access: Access,
    log: FilteringBoundLogger,
) -> Notifier | None:
    """What sends alerts, if anybody wants them."""
    alerts, tls = config.alerts, access.tls
    if not alerts.to:
        return None
    from trishula_broker.alerts.notifier import Around, Notifier  # which most hubs do not need
    from trishula_broker.alerts.told import Told

    data = Path(config.data).expanduser()
    around = Around(
        driver,
        store,
        depths,
        config.limits.mailbox_messages,
        archive,
        data,
        lambda: None if tls is None else tls.ends,
    )
    to = parse_address(alerts.to)
    return Notifier(around, to, alerts.namespace, config.node, log, Told(data))


def _metrics(
    config: Config,
    driver: Driver,
    store: Store,
    depths: Depths,
    archive: NodeArchive,
    access: Access,
    data: Path,
) -> Metrics:
    tls = access.tls
    source = Source(
        driver,
        store,
        depths,
        archive,
        config.node,
        config.role,
        version(),
        data,
        lambda: None if tls is None else tls.ends,
    )
    return Metrics(source, time.monotonic)


def about(config: Config) -> dict[str, str]:
    """What health and log say of who this is."""
    return {"node": config.node, "role": config.role, "version": version()}


def version() -> str:
    """The installed version."""
    return importlib.metadata.version("trishula")
