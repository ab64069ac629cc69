"""The composition root: configuration in, a running hub out, and its orderly end."""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from trishula_broker import process, turns
from trishula_broker.access import (
    Access,
    NoAccess,
    OwnTokens,
    check_private,
    check_reach,
    open_access,
    trust_own,
)
from trishula_broker.audit.node_archive import CannotArchive, NodeArchive
from trishula_broker.auth.errors import AuthError
from trishula_broker.bridge_task import BridgeTask
from trishula_broker.config import Config, ConfigError
from trishula_broker.credentials import BadSecret
from trishula_broker.front import about, make_front, version
from trishula_broker.hub.hub import Hub
from trishula_broker.hub.now import Now
from trishula_broker.hub.settings import HubSettings
from trishula_broker.logs import make_log
from trishula_broker.net.driver import Driver
from trishula_broker.net.listener import DEFAULT_NAMESPACE, Listener
from trishula_broker.net.neighbour import who_listens
from trishula_broker.net.peers import reached_at
from trishula_broker.net.ports import Core
from trishula_broker.net.sockets import PortInUse
from trishula_broker.net.spans import Spans
from trishula_broker.notify import ServiceManager
from trishula_broker.stopping import Stopping, signals
from trishula_broker.store.base import (
    Retention,
    Store,
    StoreAway,
    StoreError,
    StoreSlow,
)
from trishula_broker.stores import make_store
from trishula_broker.tracing import NoTracing, open_tracing
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
OPENINGS: Final = 10
"""How often a store that does not answer in time is tried: a host that boots has much to do."""


class CannotStart(Exception):
    """One line for people: what is in the way, and whose it is."""


def clock() -> Now:
    """The two clocks of this machine."""
    return Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)


def run(config: Config) -> int:
    """Serve until a signal ends it; the process's exit code."""
    turns.shorten()  # before there are threads, which inherit it, or processes
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

    process.share()
    log = make_log(config.log).bind(node=config.node)
    manager = ServiceManager.of(os.environ, os.getpid(), log)
    serving = partial(_say_serving, config, reserved.port, manager)
    return Supervisor(config, run_worker, serving, log, manager).supervise()


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
    except BadSecret as error:
        raise CannotStart(str(error)) from None
    authenticator = access.authenticator
    archive = NodeArchive(config, DEFAULT_NAMESPACE, lambda: clock().wall, log)
    try:
        tracing = open_tracing(config, version(), log)
    except NoTracing as error:
        raise CannotStart(str(error)) from error
    spans = None if tracing is None else tracing.spans
    driver = Driver(
        store,
        _core_maker(config, access, archive, spans),
        clock,
        log,
        retention=_retention(config),
        trim_every_s=config.retention.every_s,
        auditor=archive,
        spans=spans,
    )
    try:
        await _open(store, log)
        await archive.open(driver, store)
    except (StoreError, CannotArchive) as error:
        await driver.close()
        await archive.close()
        await store.close()
        if tracing is not None:
            await tracing.close()
        away = isinstance(error, StoreAway) and config.redis.url
        todo = "; see that it runs, and is the one that --redis or redis.url names" if away else ""
        raise CannotStart(f"{error}{todo}") from error
    for warning in (await store.health()).get("warnings", ()):
        log.warning("store", warning=warning)
    front = make_front(config, driver, store, archive, access, worker, log)
    watch = None if authenticator is None else _key_watch(config, authenticator, driver, log)
    # Of several workers their supervisor speaks for all.
    manager = ServiceManager.of({} if worker else os.environ, os.getpid(), log)
    try:
        port = await _bind(config, driver, front.listener, watch, shared=worker is not None)
        stopping = signals(access.tls, manager, log)
        bridge = _start_bridge(config, port, log, with_tokens=authenticator is not None)
        process.settle()
        front.pulse.start()
        if front.notifier is not None:
            front.notifier.start()
        if worker is None:
            _say_serving(config, port, manager)
            manager.watch(asyncio.get_running_loop())
        else:
            worker.orphaned(stopping.signal)
            worker.serves(lambda: (driver.connections, _agents(driver)))
        if authenticator is None:
            log.warning(
                "no_keys",
                why="whoever is on this host can be any agent, and nobody else gets in",
                todo=f"broker keys init --keys {shlex.quote(str(config.key_file))}",
            )
        log.info("serving", host=config.host, port=port, pid=os.getpid(), **about(config))
        await stopping.wait()
        front.pulse.close()
        manager.stopping(f"draining, connections={driver.connections}")
        await bridge.close()
        log.info("draining", connections=driver.connections)
        front.listener.stop()
        code = await _drain(driver, stopping, config.drain_s)
        if code == EXIT_OK:  # else what is left is archived at the next start
            await archive.finish()
        log.info("stopped", left=driver.connections)
        return code
    finally:
        if watch is not None:
            await watch.close()
        await front.close()
        driver.meter.close()
        await driver.close()
        await archive.close()
        await store.close()
        if tracing is not None:
            await tracing.close()
        manager.close()


async def _open(store: Store, log: FilteringBoundLogger) -> None:
    """Open a store that may be slow.

    Raises:
        StoreError: it cannot be opened, or has never answered in time.
    """
    for left in reversed(range(OPENINGS)):
        try:
            await store.open()
            break
        except StoreSlow as error:
            if not left:
                raise
            log.error("store_unavailable", why=str(error))


def _core_maker(
    config: Config, access: Access, archive: NodeArchive, spans: Spans | None
) -> Callable[[str], Core]:
    """What makes the core of a namespace, which is archived from then on."""
    settings = _hub_settings(config)
    authenticator = access.authenticator
    life = f"{clock().wall:x}-{os.getpid():x}"
    # A port the system chooses is not known yet, and of no use to people tomorrow.
    scheme = "ws" if access.tls is None else "wss"
    found_at = reached_at(config.host, socket.gethostname())
    address = f"{scheme}://{found_at}:{config.port}/ws" if config.port else ""

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
            handed_out=None if spans is None else partial(spans.handed_out, namespace),
        )

    return make_core


async def _bind(
    config: Config, driver: Driver, listener: Listener, watch: KeyWatch | None, *, shared: bool
) -> int:
    """The port that is listened on.

    Raises:
        CannotStart: it cannot be had.
    """
    try:
        if watch is not None:
            watch.start()  # what was revoked is known before anybody gets in
        port = await listener.bind(config.host, config.port, shared=shared)
        # Its duties begin before anybody connects, and not in a hub that cannot serve.
        driver.core(DEFAULT_NAMESPACE)
    except AuthError as error:
        raise CannotStart(str(error)) from None
    except PortInUse as error:
        await driver.close()
        raise _port_taken(error, await who_listens(error.host, error.port)) from error
    except OSError as error:
        raise _cannot_listen(config, error) from error
    return port


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
        return BridgeTask(None, log)
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
    return BridgeTask(asyncio.create_task(bridge.run(), name="bridge"), log)


async def _drain(driver: Driver, stopping: Stopping, seconds: float) -> int:
    draining = asyncio.ensure_future(driver.drain(seconds))
    again = asyncio.ensure_future(stopping.wait_again())
    await asyncio.wait({draining, again}, return_when=asyncio.FIRST_COMPLETED)
    cut_short = not draining.done()
    for task in (draining, again):
        task.cancel()
    await asyncio.gather(draining, again, return_exceptions=True)
    return EXIT_CUT_SHORT if cut_short else EXIT_OK


def _say_serving(config: Config, port: int, manager: ServiceManager) -> None:
    """Standard output has this line alone; who starts a hub with port 0 reads the port here."""
    scheme = "wss" if config.tls.cert else "ws"
    workers = f" workers={config.workers}" if config.workers > 1 else ""
    line = (
        f"serving {scheme}://{_host(config)}:{port}/ws  node={config.node}{workers} "
        f"role={config.role} {_kept(config)}"
    )
    print(line, flush=True)
    manager.ready(line)


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
