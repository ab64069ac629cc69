"""Which store a configuration means, and how to get at its Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trishula_broker.config import Config, RedisConfig
from trishula_broker.credentials import read_secret
from trishula_broker.store.base import MailboxLimits, Store
from trishula_broker.store.sqlite import SqliteStore


def make_store(config: Config) -> Store:
    """The store the configuration names, not opened yet.

    Raises:
        BadSecret: the password of its Redis cannot be read.
        StoreError: there is no such store.
    """
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
    """How to connect there, besides what the URL says.

    Raises:
        BadSecret: the file with the password cannot be used.
    """
    tls = {
        "ssl_ca_certs": redis.ca_file,
        "ssl_certfile": redis.cert_file,
        "ssl_keyfile": redis.key_file,
    }
    return {
        "username": redis.username or None,
        "password": redis_password(redis),
        "tls": {name: path for name, path in tls.items() if path},
    }


def redis_password(redis: RedisConfig) -> str | None:
    """The password, wherever it is; None where the URL has it, if any.

    Raises:
        BadSecret: the file that has it cannot be used.
    """
    if redis.password_file:
        return read_secret(Path(redis.password_file).expanduser(), "redis.password_file")
    return redis.password or None
