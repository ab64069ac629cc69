"""The store of several hosts, in Redis."""

from trishula_broker.store.redis.store import RedisStore

__all__ = ["RedisStore"]
