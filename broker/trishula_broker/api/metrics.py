"""Metrics, in Prometheus' formats: what others counted, read when somebody asks.

Every one is a line of :data:`METRICS`; docs/metrics.md tells of the same. All have the label
``node``: several hubs, or the workers of one, stay apart. No label's values grow with agents.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from trishula_broker.hub.counts import delivered_of
from trishula_broker.net.depths import Depths
from trishula_broker.net.driver import Driver
from trishula_broker.store import base
from trishula_broker.store.base import Store, StoreError

Kind = Literal["counter", "gauge", "histogram"]


class Row(NamedTuple):
    """A metric; its name has ``trishula_`` before it, and a counter's ``_total`` behind it."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


METRICS: Final = (
    Row("build_info", "gauge", ("version", "role"), "1; what runs."),
    Row("uptime_seconds", "gauge", (), "Since the process began to serve."),
    Row("up", "gauge", ("component",), "1 while it is well: hub, store, audit."),
    Row("draining", "gauge", (), "1 while the hub drains."),
    Row("connections", "gauge", (), "Open sessions, those of the HTTP API included."),
    Row("connections_unregistered", "gauge", (), "Those of them that have not registered."),
    Row("agents_online", "gauge", ("namespace",), "Agents that receive at this node."),
    Row("registrations", "counter", (), "Sessions that registered."),
    Row("sessions_ended", "counter", (), "Registered sessions that ended."),
    Row("messages", "counter", ("type", "outcome"), "Messages decided, by what became of them."),
    Row("dedup_hits", "counter", (), "Messages that had been accepted before."),
    Row("accept_latency_seconds", "histogram", (), "A frame's arrival to its commit."),
    Row("delivery_latency_seconds", "histogram", (), "Acceptance to delivery, recipient online."),
    Row("deliveries", "counter", (), "Copies handed out."),
    Row("redeliveries", "counter", (), "Copies handed out that had been before."),
    Row("requeues", "counter", (), "Attempts that ended and come again."),
    Row("settled", "counter", ("outcome",), "Copies settled: done, or given up."),
    Row("dead_letters", "counter", (), "Copies given up or rejected."),
    Row("mailbox_messages", "gauge", ("namespace",), "Unsettled messages in all mailboxes."),
    Row("mailbox_largest", "gauge", ("namespace",), "Unsettled messages of the fullest mailbox."),
    Row("mailboxes_waiting", "gauge", ("namespace",), "Mailboxes that hold anything."),
    Row("unsettled", "gauge", ("namespace",), "Copies handed out here and not settled."),
    Row("agents_known", "gauge", ("namespace",), "Agents that can be addressed."),
    Row("agents_paused", "gauge", ("namespace",), "Agents that are handed no mail."),
    Row("commit_seconds", "histogram", (), "A commit, from its beginning to durable."),
    Row("commit_operations", "histogram", (), "Operations of a commit."),
    Row("commits_failed", "counter", (), "Commits of which it is unknown what became."),
    Row("commit_pending_seconds", "gauge", (), "Age of the oldest commit under way."),
    Row("operations_waiting", "gauge", ("namespace",), "Operations not committed yet."),
    Row("sockets_paused", "gauge", ("namespace",), "Sockets not read, for backpressure."),
    Row("store_bytes", "gauge", (), "What the store takes, on disk or in Redis' memory."),
    Row("store_warnings", "gauge", (), "Settings of the store that put mail at risk."),
    Row("disk_free_bytes", "gauge", (), "Free where the hub keeps its data."),
    Row("disk_total_bytes", "gauge", (), "Size of that disk."),
    Row("audit_lag_seconds", "gauge", ("namespace",), "Age of the oldest entry not archived."),
    Row("audit_mismatches", "gauge", (), "Blocks in which another node's archive differs."),
    Row("audit_alarms", "gauge", (), "What an operator must look at; see /health."),
    Row("errors", "counter", ("code",), "ERRORs told to sessions, rate limits among them."),
    Row("refused", "counter", ("what", "reason"), "Connections and requests turned away."),
    Row("auth_failures", "counter", (), "Of those, for want of a good token."),
    Row("failovers", "counter", (), "Times this node took over the duties."),
    Row("leads", "gauge", ("namespace",), "1 while this node has the duties."),
    Row("lease_epoch", "gauge", ("namespace",), "Of the lease on the duties; 0: nobody known."),
    Row("loop_lag_seconds", "histogram", (), "How late the event loop was, four times a second."),
    Row("tls_certificate_expiry_timestamp_seconds", "gauge", (), "When the certificate ends."),
)


class Source(NamedTuple):
    """Who has counted.

    Attributes:
        archive: keeps the audit; ``describe`` and ``mismatches`` as of a node's archive.
        certificate_ends: seconds since the epoch; None without TLS.
    """

    driver: Driver
    store: Store
    depths: Depths
    archive: Any
    node: str
    role: str
    version: str
    data: Path
    certificate_ends: Callable[[], float | None]


class Metrics:
    """Makes the text.

    Args:
        source: who has counted.
        seconds: a clock that never jumps.
    """

    def __init__(self, source: Source, seconds: Callable[[], float]) -> None:
        self._source = source
        self._seconds = seconds
        self._since = seconds()

    async def text(self, accept: str) -> tuple[bytes, str]:
        """All of it, in the format that ``accept`` asks for, and what that is called."""
        # Imported only now: a hub that nobody scrapes needs no prometheus-client.
        from trishula_broker.api.families import encoded

        known = self._values(*await self._asked())
        return encoded(((row, known[row.name]) for row in METRICS), self._source.node, accept)

    async def _asked(self) -> tuple[dict[str, Any], dict[str, float]]:
        """What the store has to say; nothing where it cannot."""
        driver, store = self._source.driver, self._source.store
        lags: dict[str, float] = {}
        try:
            health = await store.health()
            archived: Mapping[str, int] = self._source.archive.describe().get("entries", {})
            for namespace, pos in archived.items():
                entries = await store.query(namespace, base.Trail(after=pos, limit=1))
                now = driver.clock().wall
                lags[namespace] = max(0.0, (now - entries[0].at) / 1000) if entries else 0.0
            await self._source.depths.look(driver.cores)
        except StoreError as error:
            health = {"problem": str(error)}
        return health, lags

    def _values(self, store: dict[str, Any], lags: dict[str, float]) -> dict[str, Any]:
        source, driver, meter = self._source, self._source.driver, self._source.driver.meter
        now = driver.clock()
        counts = [core.counts for core in driver.cores.values()]
        spaces = {name: core.describe(now) for name, core in driver.cores.items()}
        archive = source.archive.describe()
        troubled = driver.trouble or store.get("problem")
        messages = Counter(meter.messages)
        codes: Counter[str] = sum((each.errors for each in counts), Counter())
        depths = source.depths.known
        disk = _disk(source.data)

        def each(field: str) -> dict[tuple[str, ...], float]:
            return {(name,): float(found.get(field, 0)) for name, found in spaces.items()}

        def deep(field: str) -> dict[tuple[str, ...], float]:
            return {(name,): float(getattr(found, field)) for name, found in depths.items()}

        return {
            "build_info": {(source.version, source.role): 1},
            "uptime_seconds": self._seconds() - self._since,
            "up": {
                ("hub",): not (troubled or driver.draining),
                ("store",): not troubled,
                ("audit",): not archive.get("problem"),
            },
            "draining": driver.draining,
            "connections": driver.connections,
            "connections_unregistered": driver.unregistered,
            "agents_online": each("agents_online"),
            "registrations": meter.notes["registered"],
            "sessions_ended": meter.notes["session_ended"],
            "messages": messages,
            "dedup_hits": sum(n for (_, outcome), n in messages.items() if outcome == "duplicate"),
            "accept_latency_seconds": meter.accept,
            "delivery_latency_seconds": delivered_of(counts).divided(1000),
            "deliveries": sum(each.handed_out for each in counts),
            "redeliveries": sum(each.redelivered for each in counts),
            "requeues": meter.requeued,
            "settled": {(outcome,): n for outcome, n in meter.settled.items()},
            "dead_letters": meter.dead_letters,
            "mailbox_messages": deep("messages"),
            "mailbox_largest": deep("largest"),
            "mailboxes_waiting": deep("waiting"),
            "unsettled": each("unsettled"),
            "agents_known": deep("known"),
            "agents_paused": deep("paused"),
            "commit_seconds": meter.commits,
            "commit_operations": meter.sizes,
            "commits_failed": meter.failed,
            "commit_pending_seconds": meter.pending_s,
            "operations_waiting": each("commits_waiting"),
            "sockets_paused": each("paused"),
            "store_bytes": store.get("bytes"),
            "store_warnings": len(store.get("warnings", ())),
            "disk_free_bytes": disk and disk[1],
            "disk_total_bytes": disk and disk[0],
            "audit_lag_seconds": {(name,): lag for name, lag in lags.items()},
            "audit_mismatches": source.archive.mismatches,
            "audit_alarms": len(archive.get("alarms", ())),
            "errors": {(code,): n for code, n in codes.items()},
            "refused": dict(meter.refused),
            "auth_failures": meter.unproven,
            "failovers": sum(each.leading for each in counts),
            "leads": {(name,): core.leads for name, core in driver.cores.items()},
            "lease_epoch": each("lead"),
            "loop_lag_seconds": meter.lag,
            "tls_certificate_expiry_timestamp_seconds": source.certificate_ends(),
        }


Asks = Callable[[str], Awaitable[tuple[bytes, str]]]
"""As :meth:`Metrics.text`."""


def _disk(data: Path) -> tuple[int, int] | None:
    """Bytes of the disk, and those that are free."""
    try:
        usage = shutil.disk_usage(data)
    except OSError:
        return None
    return usage.total, usage.free
