"""Frozen configuration: flags over ``TRISHULA_*`` variables over a TOML file over defaults.

Every key has a dotted path, such as ``websocket.frame_bytes``; its variable is
``TRISHULA_WEBSOCKET_FRAME_BYTES``. Errors name the path, the rule and where the value came from.
Nothing is read at import.
"""

from trishula_broker.config.loading import load
from trishula_broker.config.settings import (
    AuditConfig,
    AuthConfig,
    Config,
    FolderConfig,
    LogConfig,
    RedisConfig,
)
from trishula_broker.config.values import ConfigError, Loaded, Value

__all__ = [
    "AuditConfig",
    "AuthConfig",
    "Config",
    "ConfigError",
    "FolderConfig",
    "Loaded",
    "LogConfig",
    "RedisConfig",
    "Value",
    "load",
]
