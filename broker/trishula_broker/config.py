"""Frozen configuration: flags over ``TRISHULA_*`` variables over a TOML file over defaults.

Every key has a dotted path, such as ``websocket.frame_bytes``; its variable is
``TRISHULA_WEBSOCKET_FRAME_BYTES``. Errors name the path, the rule and where the value came from.
Nothing is read at import.
"""

from __future__ import annotations

import difflib
import re
import socket
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec

from trishula_broker.audit.redaction import path_fault
from trishula_broker.audit.settings import AuditSettings, Body
from trishula_broker.net.settings import NetSettings
from trishula_broker.store.base import Retention
from trishula_protocol import limits
from trishula_protocol.address import AGENT_PATTERN, Kind, parse_address, tag_fault
from trishula_protocol.errors import ProtocolError

PREFIX: Final = "TRISHULA_"
SDK_VARIABLES: Final = frozenset(
    {"TRISHULA_AGENT", "TRISHULA_CA_FILE", "TRISHULA_TOKEN", "TRISHULA_URL"}
)
"""Variables of the SDK, which a shell that starts a hub may well have set."""

APART: Final = (
    "this hub keeps its mail in a SQLite store of its own: what another hub has accepted is not "
    "here, and agents that come here do not get it"
)
"""What ``failover`` does not mean without a store that hubs share."""

IN_MEMORY: Final = {"retention.max_age_s": 3600, "retention.max_bytes": 512 << 20}
"""Defaults where the log is held in memory, as Redis does: an hour, 512 MiB."""

FLAGS: Final = {
    "folder.path": "--shared-folder",
    "redis.url": "--redis",
    "auth.keys": "--keys",
    "audit.path": "--audit",
    "audit.enabled": "--no-audit",
    "tracing.otlp": "--otlp",
}
"""Flags that are not called as their key."""

KINDS: Final = {
    "`int`": "a whole number",
    "`float`": "a number",
    "`str`": "text",
    "`bool`": "true or false",
    "`array`": "a list",
}
"""What values are called in errors."""
NAME_RULE: Final = str(tag_fault(""))

Positive = Annotated[int, msgspec.Meta(ge=1)]
_RETENTION: Final = Retention()
_AUDIT: Final = AuditSettings()


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a mailbox and a session may hold."""

    mailbox_messages: Positive = limits.MAILBOX_MESSAGES
    mailbox_bytes: Positive = limits.MAILBOX_BYTES
    prefetch: Annotated[int, msgspec.Meta(ge=1, le=limits.PREFETCH_MAX)] = limits.PREFETCH_MAX
    unaccepted_messages: Positive = limits.UNACCEPTED_MESSAGES
    unaccepted_bytes: Positive = limits.UNACCEPTED_BYTES
    messages_per_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Of one agent, in the long run; 0: not limited."""
    messages_burst: Positive = 1_000


class RetentionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long settled messages stay in the log; whichever limit is reached first."""

    max_age_s: Positive = _RETENTION.max_age_ms // 1000
    max_bytes: Positive = _RETENTION.max_bytes
    dedup_s: Positive = _RETENTION.dedup_ms // 1000
    dedup_ids: Positive = _RETENTION.dedup_ids
    every_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """Seconds between two looks at what may go."""


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged, to standard error. ``auto``: text on a terminal, else JSON."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class RedisConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Redis or Valkey that hubs share; without a URL this hub keeps its own SQLite store."""

    url: str = ""
    """``redis://host:port/db``, ``rediss://…``, ``unix://…``,
    ``redis+sentinel://host,host/name/db`` or ``redis+cluster://host,host``."""
    username: str = ""
    """Instead of the URL's; so is the password, which a file or a variable keeps out of sight."""
    password: str = ""
    password_file: str = ""
    """A file with the password instead, such as a service's credential or a container's secret."""
    ca_file: str = ""
    """Certificates that ``rediss://`` trusts instead of the system's."""
    cert_file: str = ""
    """What this hub shows Redis, with ``key_file``, where Redis asks for it."""
    key_file: str = ""
    require_replicas: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0
    """Replicas that confirm each commit before anybody is told."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 2.0
    """Seconds an answer may take before the store counts as unavailable."""


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tokens are taken."""

    keys: str = ""
    """The key file; empty for ``keys.json`` in ``data``, where there is one."""
    issuer: Annotated[str, msgspec.Meta(min_length=1)] = "trishula"
    """The ``iss`` of this project's tokens; the same on every hub that shares keys."""
    audience: Annotated[str, msgspec.Meta(min_length=1)] = "trishula"
    """The ``aud`` that a token must have. Another one keeps tokens of other hubs out that share
    the keys."""
    leeway_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 30.0
    """Seconds that clocks may be apart."""
    trusted: str = ""
    """A JWKS file with the public keys of another issuer, whose access tokens are taken too."""
    trusted_issuer: str = ""
    """Their ``iss``."""


class TlsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS on the hub's own port: ``wss://`` and ``https://`` instead of ``ws://`` and ``http://``.
    Both are PEM files, read again at SIGHUP."""

    cert: str = ""
    """The certificate, with its chain; empty for plain TCP."""
    key: str = ""
    """Its private key, 0600 and without a password."""


class AuditConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The archive of all that happens (docs/audit.md)."""

    enabled: bool = True
    path: str = ""
    """Its folder; empty for ``audit`` in ``data``."""
    body: Body = _AUDIT.body
    """Of each message: the whole envelope, the digest of its payload, or neither."""
    redact: tuple[str, ...] = _AUDIT.redact
    """Fields of envelopes that are replaced by their digest, such as ``payload.password``."""
    segment_bytes: Annotated[int, msgspec.Meta(ge=4096)] = _AUDIT.segment_bytes
    """A file is sealed when it is this large,"""
    segment_age_s: Positive = _AUDIT.segment_age_s
    """or this old."""
    max_age_s: Annotated[int, msgspec.Meta(ge=0)] = _AUDIT.max_age_s
    """Sealed files are removed when they are older; 0 keeps them."""
    max_bytes: Annotated[int, msgspec.Meta(ge=0)] = _AUDIT.max_bytes
    """The oldest are removed when a chain's files are larger together; 0 keeps them."""
    key_file: str = ""
    """A file with the key that the archive is encrypted with; empty for none."""
    key: str = ""
    """The key itself: a variable keeps it out of files."""


AgentName = Annotated[str, msgspec.Meta(pattern=AGENT_PATTERN)]


class FolderConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shared folder, and the agents that only know files, whom it is bridged to the hub for."""

    path: str = ""
    """The folder; empty for none."""
    agents: tuple[AgentName, ...] = ()
    """Agents that read and write files of version 2 and use no hub themselves."""
    v1: tuple[AgentName, ...] = ()
    """Agents that read and write files of version 1."""
    key: str = ""
    """A file of keys: files are signed with its first, and those that none of them has signed are
    rejected; empty for no signatures."""
    unsigned: tuple[AgentName, ...] = ()
    """Agents of whom unsigned files are taken all the same. Version 1 cannot sign."""


class TracingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Traces of messages, for OpenTelemetry (docs/tracing.md)."""

    otlp: str = ""
    """Where spans are sent, as OTLP over HTTP: ``http://host:4318``; empty for no tracing."""
    ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    """Of messages whose sender began no trace, the share that the hub begins one for."""
    per_s: Positive = 50
    """Messages a second that are followed at most."""


class AlertsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Alerts as messages (docs/alerts.md)."""

    to: str = ""
    """Whom they are sent to: an agent, or a group such as ``#ops``; empty for nobody."""
    namespace: AgentName = "default"
    """Whose agent or group that is."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All a hub is told. An empty ``data`` or ``node`` is filled in by :func:`load`."""

    role: Literal["primary", "failover"] = "primary"
    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = limits.DEFAULT_PORT
    data: Annotated[str, msgspec.Meta(min_length=1)]
    """The directory that holds everything this hub keeps."""
    node: Annotated[str, msgspec.Meta(pattern=AGENT_PATTERN)]
    """This hub's name among the nodes; the host's name by default."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Processes that serve the port together, each a node of its own; needs a Redis."""
    drain_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 10.0
    """Seconds sessions get to finish when the hub is asked to stop."""
    limits: LimitsConfig = LimitsConfig()
    websocket: NetSettings = NetSettings()
    retention: RetentionConfig = RetentionConfig()
    redis: RedisConfig = RedisConfig()
    folder: FolderConfig = FolderConfig()
    auth: AuthConfig = AuthConfig()
    tls: TlsConfig = TlsConfig()
    audit: AuditConfig = AuditConfig()
    log: LogConfig = LogConfig()
    tracing: TracingConfig = TracingConfig()
    alerts: AlertsConfig = AlertsConfig()

    @property
    def key_file(self) -> Path:
        """The key file, whether it is there or not."""
        return Path(self.auth.keys or Path(self.data, "keys.json")).expanduser()


class ConfigError(Exception):
    """A value that cannot be used. ``path`` is its key, ``origin`` where it came from."""

    def __init__(self, path: str, rule: str, origin: str) -> None:
        super().__init__(path, rule, origin)
        self.path = path
        self.rule = rule
        self.origin = origin

    def __str__(self) -> str:
        return f"{self.path}: {self.rule} ({self.origin})"


class Value(NamedTuple):
    """A key's value in force and where it came from: ``default``, a file, variable or flag."""

    value: Any
    origin: str


class Loaded(NamedTuple):
    """The configuration, and each value's origin by its key's path."""

    config: Config
    values: dict[str, Value]
    warnings: tuple[str, ...]
    """What can be used and is probably not meant: a line each."""


def load(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    file: Path | None,
    home: Path,
) -> Loaded:
    """Lay the four layers over one another.

    Args:
        flags: values given on the command line by path; None is not given.
        environ: the environment.
        file: the TOML file, when there is one.
        home: the user's home directory, for the default data directory.

    Raises:
        ConfigError: names the key, the rule and the origin.
    """
    types = dict(_leaves(Config))
    values = {path: Value(default, "default") for path, (_, default) in types.items()}
    values["data"] = Value(str(_data_home(environ, home) / "trishula"), "default")
    values["node"] = Value(_node_name(socket.gethostname()), "default")
    variables, warnings = _from_environ(environ, types)
    layers = [_from_file(file, types), variables, _from_flags(flags)]
    for layer in layers:
        for path, given in layer.items():
            values[path] = _checked(path, given, types)
    if values["redis.url"].value:
        for path, value in IN_MEMORY.items():
            if values[path].origin == "default":
                values[path] = Value(value, "default with redis.url")
    tree: dict[str, Any] = {}
    for path, (value, _) in values.items():
        section, _, key = path.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[key] = value
    config = msgspec.convert(tree, Config)
    _check(config, values)
    if config.role == "failover" and not config.redis.url:
        warnings += (f"role: {APART} ({values['role'].origin})",)
    return Loaded(config, values, warnings)


def _check(config: Config, values: Mapping[str, Value]) -> None:
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


_Leaf = tuple[Any, Any]
_Types = dict[str, _Leaf]


def _leaves(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, _Leaf]]:
    """Every key's path with its type and default."""
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        hint = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            yield from _leaves(hint, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", (hint, field.default)


def _checked(path: str, given: Value, types: _Types) -> Value:
    hint, _ = types[path]
    try:
        # Variables are text: "8765" is a port there and a mistake in a file.
        value = msgspec.convert(given.value, hint, strict=not given.origin.startswith(PREFIX))
    except msgspec.ValidationError as error:
        raise ConfigError(path, _rule(error, hint, given.value), given.origin) from None
    return Value(value, given.origin)


def _rule(error: msgspec.ValidationError, hint: Any, value: Any) -> str:
    """What is wrong with a value, without the words of Python."""
    rule = str(error).partition(" - at `")[0]
    if rule.startswith("Invalid enum value"):
        return f"must be {' or '.join(map(str, get_args(hint)))}, not {value!r}"
    if "matching regex" in rule:
        return NAME_RULE if repr(AGENT_PATTERN)[1:-1] in rule else "must be an IP address"
    for kind, words in KINDS.items():
        rule = rule.replace(f"Expected {kind}", f"must be {words}").replace(
            f"got {kind}", f"not {words}"
        )
    return rule


def _from_file(file: Path | None, types: _Types) -> dict[str, Value]:
    if file is None:
        return {}
    origin = str(file)
    try:
        tree = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError("--config", error.strerror or "cannot be read", origin) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("--config", f"not TOML: {error}", origin) from None
    found: dict[str, Value] = {}
    sections = {path.partition(".")[0] for path in types if "." in path}
    for key, value in tree.items():
        if key in sections:
            if not isinstance(value, dict):
                raise ConfigError(key, "must be a table", origin)
            found |= {f"{key}.{name}": Value(item, origin) for name, item in value.items()}
        else:
            found[key] = Value(value, origin)
    for path in found:
        if path not in types:
            raise ConfigError(path, _unknown(path, types), origin)
    return found


def _from_environ(
    environ: Mapping[str, str], types: _Types
) -> tuple[dict[str, Value], tuple[str, ...]]:
    known = {PREFIX + path.replace(".", "_").upper(): path for path in types}
    found: dict[str, Value] = {}
    warnings: list[str] = []
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in SDK_VARIABLES:
            continue
        path = known.get(name)
        if path is None:  # other programs of the project may have theirs
            warnings.append(f"{name}: {_unknown(name, known)} (environment)")
        elif isinstance(types[path][1], tuple):
            found[path] = Value([part.strip() for part in text.split(",") if part.strip()], name)
        else:
            found[path] = Value(text, name)
    return found, tuple(warnings)


def _from_flags(flags: Mapping[str, Any]) -> dict[str, Value]:
    return {
        path: Value(value, FLAGS.get(path) or "--" + path.replace(".", "-").replace("_", "-"))
        for path, value in flags.items()
        if value is not None
    }


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return "no such key" + (f"; did you mean {near[0]}?" if near else "")


def _data_home(environ: Mapping[str, str], home: Path) -> Path:
    """Where programs of a user keep their data (XDG Base Directory, on macOS too)."""
    named = environ.get("XDG_DATA_HOME", "")
    return Path(named) if Path(named).is_absolute() else home / ".local" / "share"


def _node_name(hostname: str) -> str:
    name = re.sub(r"[^a-z0-9_-]+", "-", hostname.partition(".")[0].lower()).strip("-_")
    return name[: limits.AGENT_LENGTH] or "hub"
