"""When an alert is told: once when its condition has held for long enough, once when it is over.

Pure: samples and the time go in, changes to tell come out, and whoever told one says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from trishula_broker.alerts.rules import RULES, Rule
from trishula_broker.alerts.sample import History, Sample

CLEAR_S: Final = 60.0
"""A condition is over when it has not held for so long: at its edge it comes and goes."""
UNTOLD_S: Final = 300.0
"""What is over and could not be told meanwhile is of no interest any more after this."""


class Alert(msgspec.Struct):
    """One that is on, as it is remembered over restarts. Times are seconds since the epoch."""

    since: float
    what: str
    told: bool = False
    over: float | None = None
    """Since when its condition has been over; it is not told yet that it is."""


class Change(NamedTuple):
    """To be told, under ``id``; told again under the same id it is one message."""

    id: str
    rule: Rule
    state: Literal["firing", "over"]
    alert: Alert


class Watch:
    """One hub's.

    Args:
        node: its name, for ids.
        alerts: those that were on when the process ended before.
    """

    def __init__(
        self, node: str, alerts: dict[str, Alert] | None = None, rules: Sequence[Rule] = RULES
    ) -> None:
        self._node = node
        self._rules = {rule.name: rule for rule in rules}
        self._history = History()
        self._holding: dict[str, float] = {}
        """Conditions that hold, and since when (``Sample.at``)."""
        self._missing: dict[str, float] = {}
        """Those of alerts that do not, likewise."""
        self.alerts = {name: a for name, a in (alerts or {}).items() if name in self._rules}

    def look(self, sample: Sample, *, leads: bool) -> list[Change]:
        """What is to be told now; nothing where this hub does not lead."""
        self._history.add(sample)
        for rule in self._rules.values():
            self._judge(rule, sample, leads)
        return self._changes() if leads else []

    def _judge(self, rule: Rule, sample: Sample, leads: bool) -> None:
        what, name = rule.check(self._history), rule.name
        alert = self.alerts.get(name)
        if what is None:
            self._holding.pop(name, None)
            if alert is not None and alert.over is None:
                since = self._missing.setdefault(name, sample.at)
                if sample.at - since >= CLEAR_S:
                    alert.over = sample.wall
            elif alert is not None and not alert.told and _over_s(alert, sample) > UNTOLD_S:
                del self.alerts[name]
            return
        self._missing.pop(name, None)
        since = self._holding.setdefault(name, sample.at)
        if alert is None:
            if sample.at - since >= rule.for_s and (leads or rule.unled):
                self.alerts[name] = Alert(sample.wall - (sample.at - since), what)
        elif alert.over is None:
            alert.what = what

    def _changes(self) -> list[Change]:
        changes: list[Change] = []
        for name, alert in self.alerts.items():
            rule = self._rules[name]
            id_ = f"alert.{name}.{self._node}.{round(alert.since * 1000)}"
            if not alert.told:
                changes.append(Change(id_, rule, "firing", alert))
            elif alert.over is not None:
                changes.append(Change(f"{id_}.over", rule, "over", alert))
        return changes

    def told(self, change: Change) -> None:
        """It is with its recipient's hub."""
        if change.state == "firing":
            change.alert.told = True
        elif self.alerts.get(change.rule.name) is change.alert:
            del self.alerts[change.rule.name]
            self._missing.pop(change.rule.name, None)
            self._holding.pop(change.rule.name, None)


def _over_s(alert: Alert, sample: Sample) -> float:
    """Seconds for which it has been over."""
    return 0.0 if alert.over is None else sample.wall - alert.over
