"""What goes wrong with Redis, said for people; foreign errors become the store's own here."""

from __future__ import annotations

from typing import Final

from redis import exceptions

from trishula_broker.store.base import StoreAway, StoreSlow, StoreUnavailable

_MEANINGS: Final = {
    "OOM": "Redis is out of memory: raise its maxmemory, or let the hub keep less",
    "MISCONF": "Redis cannot write to its disk: free some space there; its log says more",
    "READONLY": "this Redis is a replica: the hub looks for the master",
    "LOADING": "Redis is loading its data",
    "MASTERDOWN": "this Redis has lost its master",
    "NOREPLICAS": "Redis has too few replicas (min-replicas-to-write)",
    "CLUSTERDOWN": "the Redis cluster does not serve this namespace's slot",
    "TRYAGAIN": "the Redis cluster is moving this namespace's slot",
    "MOVED": "the Redis cluster has moved this namespace's slot: the hub follows it",
    "ASK": "the Redis cluster is moving this namespace's slot",
    "BUSY": "Redis is busy with somebody's script",
    "NOPERM": "the Redis user may not do what the hub needs: see its ACL",
    "NOAUTH": "Redis asks for a password: set TRISHULA_REDIS_PASSWORD, or redis.password_file",
    "WRONGPASS": "Redis does not accept the user or the password: compare redis.username and the "
    "password with those in redis.conf",
}

# redis-py cuts the word off the errors that it has a class for.
_CLASSES: Final = (
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.MasterDownError, "MASTERDOWN"),
    (exceptions.MovedError, "MOVED"),
    (exceptions.AskError, "ASK"),
    (exceptions.TryAgainError, "TRYAGAIN"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.AuthenticationError, "WRONGPASS"),
)

_NO_PASSWORD: Final = "Authentication required"


def unavailable(error: BaseException, where: str) -> StoreUnavailable:
    """``error`` of the Redis at ``where``, as the store's own."""
    if isinstance(error, StoreUnavailable):
        return error
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return StoreSlow(f"Redis at {where} does not answer in time")
    text = str(error) or type(error).__name__
    code = next((code for kind, code in _CLASSES if isinstance(error, kind)), None)
    if code == "WRONGPASS" and text.startswith(_NO_PASSWORD):
        code = "NOAUTH"  # redis-py has one class for both
    code = code or text.partition(" ")[0].lstrip("-")
    meaning = _MEANINGS.get(code)
    if meaning is not None:
        return StoreUnavailable(f"{meaning} ({where}: {text})")
    if isinstance(error, exceptions.ConnectionError | OSError):
        return StoreAway(f"cannot reach Redis at {where}: {text}")
    return StoreUnavailable(f"Redis at {where} refuses: {text}")
