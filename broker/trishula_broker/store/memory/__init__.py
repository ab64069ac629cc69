"""The store as a plain model in memory, for simulation and unit tests."""

from trishula_broker.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
