"""What is told of connections that were turned away: to the log, and to the audit.

The first of a kind is told at once, then one a second with how many there were, so that a flood
costs no more than its connections. Nothing of a request is told: neither its path nor its query,
which may hold a token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from trishula_broker.net.peers import address_of
from trishula_broker.net.ports import Log

EVERY_S: Final = 1.0
"""Between two times that the same is told."""
KINDS: Final = 1024
"""Kinds counted at a time; what comes beyond counts as from the address ``others``."""
OTHERS: Final = "others"


class _Kind(NamedTuple):
    what: str
    reason: str
    status: int
    address: str


class Refusals:
    """Counts and tells.

    Args:
        log: told as ``connection_refused``.
        record: told as ``refused``, with the fields ``what``, ``reason``, ``status``, ``peer`` and
            ``count``.
        count: told of each: what, reason, status.
    """

    def __init__(
        self,
        log: Log,
        record: Callable[[str, str, dict[str, Any]], None],
        count: Callable[[str, str, int], None] = lambda what, reason, status: None,
    ) -> None:
        self._log = log
        self._record = record
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._untold: dict[_Kind, tuple[int, str]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(self, what: str, reason: str, peer: str, status: int = 0) -> None:
        """One was refused.

        Args:
            what: ``connection``, ``tls``, ``request``, ``upgrade`` or ``http``.
            reason: a code: ``crowded``, ``rate``, ``forwarded``, ``origin``, that of a token …
            peer: who, as ``host:port``.
            status: the HTTP status it was answered with; 0 when it was not.
        """
        self._count(what, reason, status)
        kind = _Kind(what, reason, status, address_of(peer))
        if kind not in self._untold and len(self._untold) >= KINDS:
            kind, peer = kind._replace(address=OTHERS), OTHERS
        found = self._untold.get(kind)
        if found is None:
            self._untold[kind] = 0, peer
            self._tell(kind, peer, 1)
        else:
            self._untold[kind] = found[0] + 1, peer
        if self._timer is None:
            self._timer = self._loop.call_later(EVERY_S, self._again)

    def _again(self) -> None:
        """Tell of what was not told; forget kinds of which there were no more."""
        untold = self._untold
        self._untold = {kind: (0, peer) for kind, (count, peer) in untold.items() if count}
        for kind, (count, peer) in untold.items():
            if count:
                self._tell(kind, peer, count)
        self._timer = self._loop.call_later(EVERY_S, self._again) if self._untold else None

    def close(self) -> None:
        """Tell what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for kind, (count, peer) in self._untold.items():
            if count:
                self._tell(kind, peer, count)
        self._untold.clear()

    def _tell(self, kind: _Kind, peer: str, count: int) -> None:
        fields: dict[str, Any] = {"what": kind.what, "reason": kind.reason, "peer": peer}
        if kind.status:
            fields["status"] = kind.status
        if count > 1:
            fields["count"] = count
        self._log.info("connection_refused", **fields)
        self._record("", "refused", fields)
