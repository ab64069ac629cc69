"""What a hub may be told: every key with its type, its rule and its default. Frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from trishula_broker.audit.settings import AuditSettings, Body
from trishula_broker.net.settings import NetSettings
from trishula_broker.store.base import Retention
from trishula_protocol import limits
from trishula_protocol.address import AGENT_PATTERN

IN_MEMORY: Final = {"retention.max_age_s": 3600, "retention.max_bytes": 512 << 20}
"""Defaults where the log is held in memory, as Redis does: an hour, 512 MiB."""

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
