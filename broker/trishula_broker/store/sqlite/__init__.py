"""The store of one host, in a SQLite database: the default."""

from trishula_broker.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
