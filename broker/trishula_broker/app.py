"""The composition root: configuration in, a running hub out, and its orderly end."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import gc
import importlib.metadata
import os
import resource
import shlex
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvloop

from trishula_broker.access import (
    NoAccess,
    OwnTokens,
    check_private,
    check_reach,
    open_access,
    trust_own,
)
from trishula_broker.api.metrics import Metrics, Source
from trishula_broker.api.series import Series, totals_of
from trishula_broker.api.server import Api
from trishula_broker.api.sources import ArchivePlace, Sources
from trishula_broker.audit.node_archive import CannotArchive, NodeArchive, archive_key
from trishula_broker.audit.node_archive import folder as archive_folder
from trishula_broker.auth.errors import AuthError
from trishula_broker.config import Config, ConfigError, RedisConfig
from trishula_broker.console import pages
from trishula_broker.hub.hub import Hub
from trishula_broker.hub.now import Now
from trishula_broker.hub.settings import HubSettings
from trishula_broker.logs import make_log
from trishula_broker.net.admission import Admission
from trishula_broker.net.driver import Driver
from trishula_broker.net.health import Health
from trishula_broker.net.http import make_app
from trishula_broker.net.listener import DEFAULT_NAMESPACE, Listener
from trishula_broker.net.neighbour import who_listens
from trishula_broker.net.peers import reached_at
from trishula_broker.net.ports import Core
from trishula_broker.net.refusals import Refusals
from trishula_broker.net.sockets import PortInUse
from trishula_broker.net.tls import Tls
from trishula_broker.store.base import (
    MailboxLimits,
    Retention,
    Store,
    StoreError,
    StoreUnavailable,
)
from trishula_broker.store.sqlite import SqliteStore
from trishula_broker.workers.reservation import Reservation
from trishula_broker.workers.supervisor import Supervisor
from trishula_broker.workers.worker import Worker, config_of

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from trishula_broker.auth.authenticator import Authenticator
    from trishula_broker.net.key_watch import KeyWatch

EXIT_OK: Final = 0
"""The hub drained and ended."""
EXIT_CANNOT_START: Final = 3
"""The port or the data directory is somebody else's, or cannot be used."""
EXIT_CUT_SHORT: Final = 130
"""A second signal came while the hub drained."""

GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Envelopes are many, short-lived and free of cycles: the default of 700 would look at the
young ones a hundred times a second for nothing."""


SWITCH_S: Final = 0.0005
"""How long one thread runs Python while another wants to. With Python's own 5 ms each step of the
store or the archive may keep the event loop, and so every message, waiting for as long."""

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
"""Names of glibc's malloc.h."""
KEPT_BYTES: Final = 64 << 20
"""Freed memory that the process keeps at most: some seconds of records at full speed."""


class CannotStart(Exception):
    """One line for people: what is in the way, and whose it is."""


def clock() -> Now:
    """The two clocks of this machine."""
    return Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)


def run(config: Config) -> int:
    """Serve until a signal ends it; the process's exit code."""
    try:
        return _run_workers(config) if config.workers > 1 else uvloop.run(serve(config))
    except CannotStart as error:
        print(f"broker: {error}", file=sys.stderr)
        return EXIT_CANNOT_START


def _run_workers(config: Config) -> int:
    """Serve with several processes.

    Raises:
        CannotStart: the port or the data directory cannot be had.
    """
    data = Path(config.data).expanduser()
    try:
        check_private(data)
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except NoAccess as error:
        raise CannotStart(str(error)) from None
    except OSError as error:
        raise CannotStart(f"data: {data}: {error.strerror}") from error
    try:
        reserved = Reservation(config.host, config.port)
    except PortInUse as error:
        raise _port_taken(error, asyncio.run(who_listens(error.host, error.port))) from error
    except OSError as error:
        raise _cannot_listen(config, error) from error
    configs = [config_of(config, n, reserved.port) for n in range(1, config.workers + 1)]

    def run_worker(number: int, worker: Worker) -> int:
        reserved.release()
        try:
            return uvloop.run(serve(configs[number - 1], worker))
        except CannotStart as error:
            print(f"broker: {error}", file=sys.stderr)
            return EXIT_CANNOT_START

    gc.collect()
    gc.freeze()  # what is there is shared with the workers as long as nobody writes to it
    log = make_log(config.log).bind(node=config.node)
    serving = partial(_say_serving, config, reserved.port)
    return Supervisor(config, run_worker, serving, log).supervise()


async def serve(config: Config, worker: Worker | None = None) -> int:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends it at once.

    Args:
        worker: what this process is among those that share the port; None: it is alone.

    Raises:
        CannotStart: the port or the data directory cannot be had.
    """
    log = make_log(config.log)
    if worker is not None:
        log = log.bind(node=config.node)
    asyncio.get_running_loop().set_exception_handler(
        lambda _, found: log.error("bug", during=found["message"], exc_info=found.get("exception"))
    )
    try:
        access = open_access(config, clock, log)
        await check_reach(config, access)
    except NoAccess as error:
        raise CannotStart(str(error)) from None
    try:
        store = make_store(config)
    except StoreError as error:
        raise CannotStart(f"redis.url: {error}") from error
    settings = _hub_settings(config)
    authenticator = access.authenticator
    life = f"{clock().wall:x}-{os.getpid():x}"
    # A port the system chooses is not known yet, and of no use to people tomorrow.
    scheme = "ws" if access.tls is None else "wss"
    found_at = reached_at(config.host, socket.gethostname())
    address = f"{scheme}://{found_at}:{config.port}/ws" if config.port else ""

    archive = NodeArchive(config, DEFAULT_NAMESPACE, lambda: clock().wall, log)

    def make_core(namespace: str) -> Core:
        archive.follow(namespace)
        return Hub(
            namespace=namespace,
            node=config.node,
            role=config.role,
            life=life,
            address=address,
            settings=settings,
            identify=None if authenticator is None else authenticator.identify,
            revocations=None if authenticator is None else authenticator.revocations,
        )

    driver = Driver(
        store,
        make_core,
        clock,
        log,
        retention=_retention(config),
        trim_every_s=config.retention.every_s,
        auditor=archive,
    )
    try:
        await store.open()
        await archive.open(driver, store)
    except (StoreError, CannotArchive) as error:
        await driver.close()
        await archive.close()
        await store.close()
        away = isinstance(error, StoreUnavailable) and config.redis.url
        todo = "; see that it runs, and is the one that --redis or redis.url names" if away else ""
        raise CannotStart(f"{error}{todo}") from error
    for warning in (await store.health()).get("warnings", ()):
        log.warning("store", warning=warning)
    about = {"node": config.node, "role": config.role, "version": version()}
    health = Health(
        driver, store, about, archive, None if worker is None else worker.board.describe
    )
    admission = Admission(config.websocket, authenticator, time.monotonic)
    metrics = _metrics(config, driver, store, archive, access.tls)
    series = Series(partial(totals_of, driver), lambda: clock().wall)
    driver.meter.watch(asyncio.get_running_loop())
    series.watch(asyncio.get_running_loop())
    sources = _sources(config, health, metrics, series, keyed=authenticator is not None)
    api = Api(driver, admission, sources, log, version(), config.websocket.http_body_bytes)
    listener = Listener(
        driver,
        make_app(health.report, [*api.routes(), *pages.routes(keyed=authenticator is not None)]),
        admission,
        Refusals(log, driver.record, driver.meter.turned_away),
        config.websocket,
        log,
        raise_descriptors(),
        access.tls,
    )
    watch = None if authenticator is None else _key_watch(config, authenticator, driver, log)
    try:
        try:
            if watch is not None:
                watch.start()  # what was revoked is known before anybody gets in
            port = await listener.bind(config.host, config.port, shared=worker is not None)
            # Its duties begin before anybody connects, and not in a hub that cannot serve.
            driver.core(DEFAULT_NAMESPACE)
        except AuthError as error:
            raise CannotStart(str(error)) from None
        except PortInUse as error:
            await driver.close()
            raise _port_taken(error, await who_listens(error.host, error.port)) from error
        except OSError as error:
            raise _cannot_listen(config, error) from error
        stopping = _signals(access.tls)
        bridge = _start_bridge(config, port, log, with_tokens=authenticator is not None)
        _settle_memory()
        sys.setswitchinterval(SWITCH_S)
        if worker is None:
            _say_serving(config, port)
        else:
            worker.orphaned(stopping.signal)
            worker.serves(lambda: (driver.connections, _agents(driver)))
        if authenticator is None:
            log.warning(
                "no_keys",
                why="whoever is on this host can be any agent, and nobody else gets in",
                todo=f"broker keys init --keys {shlex.quote(str(config.key_file))}",
            )
        log.info("serving", host=config.host, port=port, pid=os.getpid(), **about)
        await stopping.wait()
        await bridge.close()
        log.info("draining", connections=driver.connections)
        listener.stop()
        code = await _drain(driver, stopping, config.drain_s)
        if code == EXIT_OK:  # else what is left is archived at the next start
            await archive.finish()
        log.info("stopped", left=driver.connections)
        return code
    finally:
        if watch is not None:
            await watch.close()
        await listener.close()
        api.close()
        driver.meter.close()
        series.close()
        await driver.close()
        await archive.close()
        await store.close()


def _metrics(
    config: Config, driver: Driver, store: Store, archive: NodeArchive, tls: Tls | None
) -> Metrics:
    source = Source(
        driver,
        store,
        archive,
        config.node,
        config.role,
        version(),
        Path(config.data).expanduser(),
        lambda: None if tls is None else tls.ends,
    )
    return Metrics(source, time.monotonic)


def _sources(
    config: Config, health: Health, metrics: Metrics, series: Series, *, keyed: bool
) -> Sources:
    """What the API shows beside the hub."""
    return Sources(
        health.report,
        metrics.text,
        series.shown,
        lambda: clock().wall,
        Path(config.data).expanduser(),
        config.key_file if keyed else None,
        ArchivePlace(archive_folder(config), archive_key(config.audit))
        if config.audit.enabled
        else None,
    )


def _key_watch(
    config: Config, authenticator: Authenticator, driver: Driver, log: FilteringBoundLogger
) -> KeyWatch:
    from trishula_broker.net.key_watch import KeyWatch  # see access

    trusted = config.auth.trusted
    return KeyWatch(
        config.key_file.expanduser(),
        Path(trusted).expanduser() if trusted else None,
        authenticator,
        driver,
        lambda: clock().wall,
        log,
    )


def _start_bridge(
    config: Config, port: int, log: FilteringBoundLogger, *, with_tokens: bool
) -> BridgeTask:
    """Bridge the shared folder, if there is one, to this hub."""
    if not config.folder.path:
        return BridgeTask(None)
    # Imported only now: a hub without a folder needs nothing of the agent's side.
    from trishula_broker.bridge.bridge import Bridge
    from trishula_broker.bridge.lock import FolderHeld
    from trishula_broker.bridge.settings import bridge_settings

    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.host, _host(config))
    try:
        scheme = "wss" if config.tls.cert else "ws"
        settings = bridge_settings(config.folder, [f"{scheme}://{host}:{port}/ws"], "of the hub")
        tokens = OwnTokens(config, clock) if with_tokens else None
        if tokens is not None:
            tokens(next(iter((*settings.agents, *settings.version1))))  # or say why not, now
        bridge = Bridge(settings._replace(token_for=tokens, ssl=trust_own(config)))
        bridge.lock()
    except (ConfigError, FolderHeld, NoAccess) as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(f"folder.path: {config.folder.path}: {error.strerror}") from error
    task = asyncio.create_task(bridge.run(), name="bridge")
    task.add_done_callback(lambda ended: _bridge_ended(ended, log))
    return BridgeTask(task)


def _bridge_ended(task: asyncio.Task[None], log: FilteringBoundLogger) -> None:
    """The hub goes on without it."""
    if not task.cancelled():
        log.error("bridge ended", why=str(task.exception() or "no agent is left to bridge"))


class BridgeTask:
    """The bridge that runs inside a hub, if one does."""

    def __init__(self, task: asyncio.Task[None] | None) -> None:
        self._task = task

    async def close(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


async def _drain(driver: Driver, stopping: Stopping, seconds: float) -> int:
    draining = asyncio.ensure_future(driver.drain(seconds))
    again = asyncio.ensure_future(stopping.wait_again())
    await asyncio.wait({draining, again}, return_when=asyncio.FIRST_COMPLETED)
    cut_short = not draining.done()
    for task in (draining, again):
        task.cancel()
    await asyncio.gather(draining, again, return_exceptions=True)
    return EXIT_CUT_SHORT if cut_short else EXIT_OK


class Stopping:
    """Counts the signals that ask the process to end."""

    def __init__(self) -> None:
        self._first = asyncio.Event()
        self._second = asyncio.Event()

    def signal(self) -> None:
        """One more."""
        (self._second if self._first.is_set() else self._first).set()

    async def wait(self) -> None:
        """Until the first."""
        await self._first.wait()

    async def wait_again(self) -> None:
        """Until the second."""
        await self._second.wait()


def _signals(tls: Tls | None) -> Stopping:
    stopping = Stopping()
    loop = asyncio.get_running_loop()
    if tls is not None:
        loop.add_signal_handler(signal.SIGHUP, tls.reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.signal)
    return stopping


def _say_serving(config: Config, port: int) -> None:
    """Standard output has this line alone; who starts a hub with port 0 reads the port here."""
    scheme = "wss" if config.tls.cert else "ws"
    workers = f" workers={config.workers}" if config.workers > 1 else ""
    print(
        f"serving {scheme}://{_host(config)}:{port}/ws  node={config.node}{workers} "
        f"role={config.role} {_kept(config)}",
        flush=True,
    )


def _agents(driver: Driver) -> int:
    """How many are connected, in all namespaces."""
    now = clock()
    return sum(core.describe(now)["agents_online"] for core in driver.cores.values())


def _port_taken(error: PortInUse, who: str) -> CannotStart:
    return CannotStart(f"{error} by {who}; take another one with --port, and a --data of its own")


def _cannot_listen(config: Config, error: OSError) -> CannotStart:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        todo = "; name an address of this machine with --host"
    elif error.errno == errno.EACCES:
        todo = "; take a port from 1024 on with --port"
    else:
        todo = ""
    return CannotStart(
        f"cannot listen on {config.host}:{config.port}: {error.strerror or error}{todo}"
    )


def _host(config: Config) -> str:
    """The host as a URL has it."""
    return f"[{config.host}]" if ":" in config.host else config.host


def _kept(config: Config) -> str:
    return "store=redis" if config.redis.url else f"data={config.data}"


def make_store(config: Config) -> Store:
    """The store the configuration names, not opened yet."""
    mailboxes = MailboxLimits(config.limits.mailbox_messages, config.limits.mailbox_bytes)
    if config.redis.url:
        return _redis_store(config.redis, mailboxes, config.node)
    return SqliteStore(Path(config.data).expanduser(), mailboxes, node=config.node)


def _redis_store(redis: RedisConfig, mailboxes: MailboxLimits, node: str) -> Store:
    from trishula_broker.store.redis import RedisStore  # only who shares a store needs redis-py

    return RedisStore(
        redis.url,
        mailboxes,
        node=node,
        **redis_options(redis),
        require_replicas=redis.require_replicas,
        timeout=redis.timeout_s,
    )


def redis_options(redis: RedisConfig) -> dict[str, Any]:
    """How to connect there, besides what the URL says."""
    tls = {
        "ssl_ca_certs": redis.ca_file,
        "ssl_certfile": redis.cert_file,
        "ssl_keyfile": redis.key_file,
    }
    return {
        "username": redis.username or None,
        "password": redis.password or None,
        "tls": {name: path for name, path in tls.items() if path},
    }


def _hub_settings(config: Config) -> HubSettings:
    return HubSettings(
        frame_bytes=config.websocket.frame_bytes,
        prefetch=config.limits.prefetch,
        unaccepted_messages=config.limits.unaccepted_messages,
        unaccepted_bytes=config.limits.unaccepted_bytes,
        messages_per_s=config.limits.messages_per_s,
        messages_burst=config.limits.messages_burst,
        leeway_ms=int(config.auth.leeway_s * 1000),
    )


def _retention(config: Config) -> Retention:
    given = config.retention
    return Retention(given.max_age_s * 1000, given.max_bytes, given.dedup_s * 1000, given.dedup_ids)


def version() -> str:
    """The installed version."""
    return importlib.metadata.version("trishula")


def raise_descriptors() -> int | None:
    """Allow as many file descriptors as the system lets us; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # macOS has another, hidden limit
            pass
    return None if soft == resource.RLIM_INFINITY else soft


def _settle_memory() -> None:
    """What was made for the start stays: the collector need not look at it again. What is freed is
    kept for what comes next."""
    _keep_freed()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _keep_freed() -> None:
    """Have glibc keep what is freed, within bounds: to have it from the system anew, a moment
    later, costs more than what most of it is used for."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # other C libraries have none
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES // 2)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
