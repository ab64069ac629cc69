"""Looks at its hub every ten seconds, and sends what is alarming."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from trishula_broker import process
from trishula_broker.alerts.sample import Sample
from trishula_broker.alerts.told import Told
from trishula_broker.alerts.watch import Change, Watch
from trishula_broker.hub.counts import delivered_of
from trishula_broker.net.depths import Depth, Depths
from trishula_broker.net.driver import Driver
from trishula_broker.net.ports import Log
from trishula_broker.store import base
from trishula_broker.store.base import Store, StoreError
from trishula_protocol.address import Address

LOOK_S: Final = 10.0
"""Between two looks."""
SOON_S: Final = 0.5
"""The same until this hub leads, or has looked for a while: what is wrong at its start is told."""
SOON: Final = 10
"""Looks of that kind, at most."""
POST_S: Final = 10.0
"""How long storing an alert may take; then it is sent again, under its id."""


class Archive(Protocol):
    """The audit's archive, as seen from here."""

    @property
    def problem(self) -> str | None: ...
    @property
    def mismatches(self) -> int: ...
    def describe(self) -> dict[str, Any]: ...


class Around(NamedTuple):
    """Who is looked at.

    Attributes:
        mailbox_limit: messages that a mailbox may hold.
        certificate_ends: seconds since the epoch; None without TLS.
    """

    driver: Driver
    store: Store
    depths: Depths
    mailbox_limit: int
    archive: Archive
    data: Path
    certificate_ends: Callable[[], float | None]


class Notifier:
    """One hub's.

    Args:
        to: an agent or a group of ``namespace``.
        node: this hub's name.
    """

    def __init__(
        self, around: Around, to: Address, namespace: str, node: str, log: Log, told: Told
    ) -> None:
        self._around = around
        self._to = to
        self._namespace = namespace
        self._node = node
        self._log = log
        self._told = told
        self._watch = Watch(node, told.read())
        self._complained = ""
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Notifier to {self._to} of {self._namespace}, {len(self._watch.alerts)} on>"

    def start(self) -> None:
        """Look from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="alerts")

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        soon = SOON
        while True:
            try:
                await self.look()
            except Exception as error:
                self._log.error("bug", during="alerts", exc_info=error)
            soon = 0 if self._leads else soon - 1
            await asyncio.sleep(SOON_S if soon > 0 else LOOK_S)

    @property
    def _leads(self) -> bool:
        return self._around.driver.core(self._namespace).leads

    async def look(self) -> None:
        """See how the hub is, and send what there is to tell."""
        sample = await self._sample()
        changes = self._watch.look(sample, leads=self._leads)
        self._remember()
        for change in changes:
            why = await self._post(change)
            if why is None:
                self._watch.told(change)
                self._remember()
                self._log.info(
                    "alert", alert=change.rule.name, state=change.state, to=str(self._to)
                )
            elif why != self._complained:
                self._log.warning("alert_not_sent", alert=change.rule.name, why=why)
            self._complained = why or ""

    async def _post(self, change: Change) -> str | None:
        rule, alert = change.rule, change.alert
        payload = {
            "alert": rule.name,
            "state": change.state,
            "severity": rule.severity,
            "node": self._node,
            "since": round(alert.since * 1000),
            "text": f"{self._node}: {alert.what or rule.name}"
            if change.state == "firing"
            else f"{self._node}: {rule.name} is over",
            "remedy": rule.remedy,
            "runbook": f"docs/operations.md#{rule.name.lower()}",
        }
        try:
            async with asyncio.timeout(POST_S):
                return await self._around.driver.post(self._namespace, self._to, change.id, payload)
        except TimeoutError:
            return "the store has not answered in time"

    def _remember(self) -> None:
        try:
            self._told.write(self._watch.alerts)
        except OSError as error:
            self._log.warning("alerts_not_remembered", why=str(error))

    async def _sample(self) -> Sample:
        around = self._around
        driver, archive = around.driver, around.archive
        now, meter = driver.clock(), driver.meter
        core = driver.core(self._namespace)
        counts = [each.counts for each in driver.cores.values()]
        kept = archive.describe()
        online, behind, warnings = await self._stored(kept)
        depth = around.depths.known.get(self._namespace, Depth())
        try:
            total, _, free = shutil.disk_usage(around.data)
        except OSError:
            total = free = 0
        return Sample(
            at=now.mono / 1000,
            wall=now.wall / 1000,
            accept=tuple(meter.accept.counts),
            delivery=tuple(delivered_of(counts).counts),
            lag=tuple(meter.lag.counts),
            failed=meter.failed,
            dead_letters=meter.dead_letters,
            messages=sum(meter.messages.values()),
            errors=sum(each.errors.total() for each in counts),
            delivered=sum(each.handed_out for each in counts),
            redelivered=sum(each.redelivered for each in counts),
            ended=meter.notes["session_ended"],
            online=online,
            fullest=(depth.fullest, depth.largest),
            mailbox_limit=around.mailbox_limit,
            led=bool(core.describe(now)["leader"]),
            failovers=sum(each.leading for each in counts),
            problem=archive.problem,
            pending_s=meter.pending_s,
            audit_lag_s=behind,
            mismatches=archive.mismatches,
            alarms=len(kept.get("alarms", ())),
            warnings=warnings,
            disk_free=free,
            disk_total=total,
            resident=process.resident_bytes() or 0,
            descriptors=process.descriptors() or (0, 0),
            unproven=meter.unproven,
            certificate_ends=around.certificate_ends(),
        )

    async def _stored(self, kept: dict[str, Any]) -> tuple[int | None, float, int]:
        """What the store knows: agents online, seconds that the archive is behind, warnings. Of
        mailboxes it is asked where that may be told, for it takes as long as there are agents."""
        store, clock = self._around.store, self._around.driver.clock
        try:
            if self._leads:
                await self._around.depths.look([self._namespace])
            nodes: tuple[base.NodeRecord, ...] = await store.query(self._namespace, base.Nodes())
            online = sum(node.agents for node in nodes if node.alive)
            behind = 0.0
            pos = kept.get("entries", {}).get(self._namespace)
            if pos is not None:
                entries = await store.query(self._namespace, base.Trail(after=pos, limit=1))
                behind = max(0.0, (clock().wall - entries[0].at) / 1000) if entries else 0.0
            warnings = (await store.health()).get("warnings", ())
        except StoreError:
            return None, 0.0, 0
        return online, behind, len(warnings)
