"""What values have to fit among one another, beyond what each must be by itself."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from trishula_broker.audit.redaction import path_fault
from trishula_broker.config.layers import FLAGS
from trishula_broker.config.settings import Config
from trishula_broker.config.values import ConfigError, Value
from trishula_protocol import limits
from trishula_protocol.address import Kind, parse_address
from trishula_protocol.errors import ProtocolError


def check(config: Config, values: Mapping[str, Value]) -> None:
    """What no value breaks by itself.

    Raises:
        ConfigError: these values do not go together.
    """
    if config.websocket.write_limit_bytes <= config.websocket.write_pause_bytes:
        raise ConfigError(
            path := "websocket.write_limit_bytes",
            "must be more than websocket.write_pause_bytes, or slow readers never pause",
            values[path].origin,
        )
    for each in config.audit.redact:
        if (fault := path_fault(each)) is not None:
            raise ConfigError(path := "audit.redact", fault, values[path].origin)
    if config.audit.key and config.audit.key_file:
        raise ConfigError(path := "audit.key", "audit.key_file has one too", values[path].origin)
    if config.redis.password and config.redis.password_file:
        path = "redis.password"
        raise ConfigError(path, "redis.password_file has one too", values[path].origin)
    if bool(config.auth.trusted) != bool(config.auth.trusted_issuer):
        path, other = ("auth.trusted_issuer", "auth.trusted")
        if config.auth.trusted_issuer:
            path, other = other, path
        raise ConfigError(
            path, f"must be given with {other}: whose tokens, and its keys", values[other].origin
        )
    if bool(config.tls.cert) != bool(config.tls.key):
        path, other = ("tls.key", "tls.cert") if config.tls.cert else ("tls.cert", "tls.key")
        raise ConfigError(
            path, f"must be given with {other}: a certificate and its key", values[other].origin
        )
    if values["redis.url"].origin == FLAGS["redis.url"] and _has_password(config.redis.url):
        raise ConfigError(
            "redis.url",
            "a password on the command line is seen by everybody on this host: leave it out, and "
            "set TRISHULA_REDIS_PASSWORD",
            FLAGS["redis.url"],
        )
    if (fault := _url_fault(config.tracing.otlp)) is not None:
        raise ConfigError(path := "tracing.otlp", fault, values[path].origin)
    if config.alerts.to and not _takes_alerts(config.alerts.to):
        raise ConfigError(
            path := "alerts.to",
            f"must be an agent, such as ops, or a group, such as #ops, not {config.alerts.to!r}",
            values[path].origin,
        )
    _check_workers(config, values)


def _takes_alerts(to: str) -> bool:
    """Whether it is an agent or a group."""
    try:
        return parse_address(to).kind in (Kind.AGENT, Kind.GROUP)
    except ProtocolError:
        return False


def _url_fault(url: str) -> str | None:
    """What is wrong with the URL of a collector; None for none, or when it is empty."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        named = False
    if not named:
        return "must be http://HOST:PORT or https://HOST:PORT, of a collector that takes OTLP"
    if "@" in parts.netloc:
        return "a password does not belong here: set OTEL_EXPORTER_OTLP_HEADERS"
    if parts.query or parts.fragment:
        return "a URL with a path at most; headers are set by OTEL_EXPORTER_OTLP_HEADERS"
    return None


def _check_workers(config: Config, values: Mapping[str, Value]) -> None:
    if config.workers > 1 and not config.redis.url:
        raise ConfigError(
            path := "workers",
            "a SQLite store is for one process: name a Redis that they share, with --redis URL or "
            "redis.url, or leave it at 1",
            values[path].origin,
        )
    longest = limits.AGENT_LENGTH - len(f"-{config.workers}")
    if config.workers > 1 and len(config.node) > longest:
        raise ConfigError(
            path := "node",
            f"at most {longest} characters: its workers are called {config.node}-1 and so on",
            values[path].origin,
        )


def _has_password(url: str) -> bool:
    credentials, at, _ = url.partition("://")[2].rpartition("@")
    return bool(at) and ":" in credentials
