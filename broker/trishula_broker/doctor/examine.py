"""All that is looked at, in the order in which to mend it."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from trishula_broker.access import trust_own
from trishula_broker.audit.node_archive import folder as archive_folder
from trishula_broker.auth.errors import AuthError, TokenRefused
from trishula_broker.auth.unproven import peek
from trishula_broker.benchmark.passes import Passes
from trishula_broker.config import Config, Loaded
from trishula_broker.doctor import archive, credentials, host, hubs, proxy, redis
from trishula_broker.doctor.finding import Finding
from trishula_broker.net.neighbour import neighbour

ANSWER_S: Final = 3.0
TOKEN_S: Final = 60.0
"""What a token lasts at least that is made to ask hubs."""


class Asked(NamedTuple):
    """What is to be looked at beside the configuration."""

    urls: list[str]
    """Hubs; empty for the one of the configuration, which may not run."""
    token: str | None
    ca_file: str | None
    nginx: Path | None


def examine(loaded: Loaded, asked: Asked) -> Iterator[Finding]:
    """Everything, one after the other.

    Args:
        loaded: the hub's configuration, which can be used.
    """
    config = loaded.config
    for warning in loaded.warnings:
        yield Finding("configuration", "warning", warning, "correct it; `broker config` shows all")
    if not loaded.warnings:
        given = sum(value.origin != "default" for value in loaded.values.values())
        yield Finding("configuration", "ok", f"it can be used; {given} values are not defaults")
    for part in _parts(config, asked):
        yield from part()


def _parts(config: Config, asked: Asked) -> Iterator[Callable[[], list[Finding]]]:
    now = time.time()
    data = Path(config.data).expanduser()
    yield lambda: credentials.files(config)
    yield lambda: credentials.keys(config, int(now * 1000))
    yield lambda: credentials.node_key(config)
    yield lambda: credentials.certificate(config, now)
    yield lambda: host.descriptors(_pid(config))
    yield lambda: host.disk("data", data)
    root = archive_folder(config)
    if config.audit.enabled and not root.is_relative_to(data):
        yield lambda: host.disk("archive", root)
    if not config.redis.url:
        yield lambda: host.file_system(data)
    yield lambda: host.sync_time(data)
    yield lambda: asyncio.run(redis.examine(config))
    yield lambda: _hubs(config, asked)
    yield lambda: archive.examine(config)
    if asked.nginx is not None:
        file = asked.nginx
        yield lambda: proxy.examine(file, config, now)


def _hubs(config: Config, asked: Asked) -> list[Finding]:
    try:
        context = _trust(config, asked)
    except (OSError, ssl.SSLError) as error:
        which = asked.ca_file or config.tls.cert
        return [Finding("hub", "bad", f"{which}: {error}", "give --ca-file one in PEM")]
    name, token = f"doctor-{secrets.token_hex(4)}", asked.token
    if token is not None:
        try:
            name = peek(token).sub
        except TokenRefused as error:
            return [Finding("hub", "bad", error.text, "give a good token, with --token-file")]
    elif config.key_file.exists():
        try:
            auth = config.auth
            token = Passes(config.key_file, TOKEN_S, auth.issuer, auth.audience).token(name)
        except AuthError:
            pass  # what is wrong with the keys was told; the hub will say 401
    own = None if asked.urls or not config.port else _own_url(config)
    asking = hubs.Asking(name, token, context, config.auth.leeway_s)
    return asyncio.run(hubs.examine(asked.urls, own, asking))


def _trust(config: Config, asked: Asked) -> ssl.SSLContext | None:
    if not asked.urls and config.tls.cert:
        return trust_own(config)
    if asked.ca_file is None and not any(url.startswith("wss:") for url in asked.urls):
        return None
    return ssl.create_default_context(cafile=asked.ca_file)


def _own_url(config: Config) -> str:
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.host, config.host)
    address = f"[{address}]" if ":" in address else address
    return f"{'wss' if config.tls.cert else 'ws'}://{address}:{config.port}/ws"


def _pid(config: Config) -> int | None:
    """The process of the hub that listens where this configuration says."""
    if not config.port:
        return None
    try:
        found = asyncio.run(neighbour(config.host, config.port, ANSWER_S))
    except OSError:
        return None
    return None if found is None else found.pid
