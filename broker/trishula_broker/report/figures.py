"""Adds records up to a report: one pass, bounded by the length of the period, not by its mail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from trishula_broker.audit.events import PULSE
from trishula_broker.audit.times import iso, parse
from trishula_broker.report import shapes
from trishula_broker.report.away import WhoIsAway
from trishula_broker.report.latency import Histogram
from trishula_broker.report.source import Line
from trishula_broker.report.uptime import Wellness
from trishula_broker.report.volumes import Volumes

REASONS: Final = 100
"""Reasons and codes that are told apart; all else is ``other``."""
DOWN: Final = 20
"""Stretches without a hub that are told, the longest."""
HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S
WANTED: Final = ("closed by the peer: 1000", "closed by the peer: 1001")
"""How sessions end that their agents end."""
TAKEN_OVER: Final = 4409


def step_of(seconds: float) -> int:
    """Seconds of the pieces of a period: at most some two hundred."""
    for step in (60, 300, 900, HOUR_S, 6 * HOUR_S, DAY_S):
        if seconds / step <= 200:
            return step
    return 7 * DAY_S


class _Step:
    __slots__ = ("accept", "accepted", "delivery", "disconnects", "done", "errors", "undelivered")

    def __init__(self) -> None:
        self.accepted = self.done = self.errors = self.undelivered = self.disconnects = 0
        self.accept = Histogram()
        self.delivery = Histogram()


class Figures:
    """Of one period.

    Args:
        since, until: milliseconds since the epoch; ``until`` is outside.
        told_since: from when on it is known whether hubs were well; None: never.
    """

    def __init__(
        self, since: int, until: int, told_since: int | None, namespace: str | None
    ) -> None:
        self._since = since
        self._until = until
        self._told_since = told_since
        self._namespace = namespace
        self._step_ms = step_of((until - since) / 1000) * 1000
        self._first = since - since % self._step_ms
        self._steps: dict[int, _Step] = {}
        self._nodes: dict[str, int] = {}
        """And when each was heard last."""
        self._wellness = Wellness()
        self._away = WhoIsAway()
        self._volumes = Volumes()
        self._accept = Histogram()
        self._delivery = Histogram()
        self._types: Counter[str] = Counter()
        self._copies = self._bytes = self._done = 0
        self._ended: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._turned_away: Counter[str] = Counter()

    def add(self, line: Line) -> None:
        """One record of the period; what is not as it should be is left out."""
        take = _TAKES.get(line.event)
        if take is None:
            return
        try:
            at = parse(line.at)
            number = (at - self._first) // self._step_ms
            step = self._steps.get(number)
            if step is None:
                step = self._steps[number] = _Step()
            take(self, line, at, step)
        except (TypeError, ValueError, AttributeError):
            return  # `broker audit verify` is for what is damaged

    # --- a method a kind of record ---

    def _accepted(self, line: Line, at: int, step: _Step) -> None:
        self._copies += len(line.recipients)
        self._bytes += line.size
        step.accepted += 1
        self._types[_name(self._types, line.type)] += 1
        self._volumes.sent(line.sender, str(line.type), line.size)
        for agent in line.recipients:
            self._volumes.received(agent)

    def _settled(self, line: Line, at: int, step: _Step) -> None:
        self._done += len(line.seqs)
        step.done += len(line.seqs)

    def _undelivered(self, line: Line, at: int, step: _Step) -> None:
        count = len(line.seqs)
        self._ended[line.event] += count
        step.undelivered += count
        if line.event != "recalled":
            self._reasons[_name(self._reasons, f"{line.event}: {line.reason or 'no reason'}")] += (
                count
            )

    def _registered(self, line: Line, at: int, step: _Step) -> None:
        if line.receive:
            self._away.registered(at, line.agent, line.session, line.node)

    def _connected(self, line: Line, at: int, step: _Step) -> None:
        self._away.let_in(at, _address(line.peer))

    def _disconnected(self, line: Line, at: int, step: _Step) -> None:
        if not line.session:
            return  # it never registered
        step.disconnects += 1
        kind, wanted = _how(line)
        self._kinds[_name(self._kinds, kind)] += 1
        if line.agent:
            self._volumes.disconnected(line.agent)
            self._away.disconnected(at, line.agent, line.session, kind, wanted=wanted)

    def _forgotten(self, line: Line, at: int, step: _Step) -> None:
        self._away.forgotten(line.agent)

    def _refused(self, line: Line, at: int, step: _Step) -> None:
        count = int(line.count)
        step.errors += count
        if line.what is None:
            self._told[_name(self._told, str(line.code))] += count
            return
        kind = f"{line.what}: {line.reason}"
        self._turned_away[_name(self._turned_away, kind)] += count
        self._away.turned_away(at, _address(line.peer), kind)

    def _pulse(self, line: Line, at: int, step: _Step) -> None:
        self._wellness.pulse(at, int(line.ms), int(line.well_ms), str(line.why or ""))
        if at >= self._until:
            return  # it tells how the period ended
        last = self._nodes.get(line.node, at)
        self._nodes[line.node] = at
        if line.ms == 0:
            self._away.hub_began(last, line.node)
        for told, every, here in (
            (line.accept_s, self._accept, step.accept),
            (line.delivery_s, self._delivery, step.delivery),
        ):
            every.add(told)
            here.add(told)

    # --- what it comes to ---

    def report(self, unread: int = 0) -> shapes.Report:
        """All of it."""
        ended = self._ended
        lost = ended["expired"] + ended["dead-lettered"]
        return shapes.Report(
            iso(self._since),
            iso(self._until),
            self._namespace,
            sorted(self._nodes),
            self._uptime(),
            shapes.Latencies(self._accept.shown(), self._delivery.shown()),
            shapes.Messages(
                sum(self._types.values()),
                self._copies,
                self._bytes,
                self._done,
                _sorted(self._types),
                self._volumes.shown(),
                self._volumes.not_named,
            ),
            shapes.Undelivered(
                ended["expired"],
                ended["dead-lettered"],
                ended["rejected"],
                ended["recalled"],
                min(1.0, lost / self._copies) if self._copies else (1.0 if lost else None),
                _sorted(self._reasons),
            ),
            shapes.Disconnects(sum(self._kinds.values()), _sorted(self._kinds)),
            shapes.Errors(_sorted(self._told), _sorted(self._turned_away)),
            [
                shapes.Away(
                    each.who,
                    iso(each.begin),
                    iso(each.end),
                    (each.end - each.begin) / 1000,
                    each.why,
                    each.back,
                )
                for each in self._away.all(self._until)
                if each.end - each.begin >= 60_000
            ],
            self._pieces(),
            unread,
        )

    def _known(self, begin: int, end: int) -> tuple[int, int] | None:
        """Of a stretch the part of which pulses tell."""
        if self._told_since is None:
            return None
        begin = max(begin, self._told_since)
        end = min(end, self._wellness.known_until(self._until))
        return (begin, end) if end > begin else None

    def _uptime(self) -> shapes.Uptime:
        known = self._known(self._since, self._until)
        if known is None:
            return shapes.Uptime(None, 0.0, 0.0, None, [])
        begin, end = known
        gaps = self._wellness.gaps(begin, end)
        well = end - begin - sum(gap.end - gap.begin for gap in gaps)
        down = [
            shapes.Down(iso(gap.begin), iso(gap.end), (gap.end - gap.begin) / 1000, gap.why)
            for gap in gaps[:DOWN]
        ]
        share = well / (end - begin)
        return shapes.Uptime(share, well / 1000, (end - begin) / 1000, iso(begin), down)

    def _share(self, begin: int) -> float | None:
        known = self._known(max(begin, self._since), min(begin + self._step_ms, self._until))
        if known is None:
            return None
        down = sum(gap.end - gap.begin for gap in self._wellness.gaps(*known))
        return 1 - down / (known[1] - known[0])

    def _pieces(self) -> shapes.Steps:
        begins = range(self._first, self._until, self._step_ms)
        empty = _Step()
        found = [self._steps.get(number, empty) for number in range(len(begins))]
        return shapes.Steps(
            self._step_ms // 1000,
            [iso(begin) for begin in begins],
            [each.accepted for each in found],
            [each.done for each in found],
            [each.errors for each in found],
            [each.undelivered for each in found],
            [each.disconnects for each in found],
            [self._share(begin) for begin in begins],
            [each.delivery.quantile_ms(0.5) for each in found],
            [each.delivery.quantile_ms(0.99) for each in found],
            [each.accept.quantile_ms(0.99) for each in found],
        )


_TAKES: Final[dict[str, Callable[[Figures, Line, int, _Step], None]]] = {
    "accepted": Figures._accepted,
    "done": Figures._settled,
    **dict.fromkeys(("expired", "dead-lettered", "rejected", "recalled"), Figures._undelivered),
    "registered": Figures._registered,
    "connected": Figures._connected,
    "disconnected": Figures._disconnected,
    "forgotten": Figures._forgotten,
    "refused": Figures._refused,
    PULSE: Figures._pulse,
}


def _how(line: Line) -> tuple[str, bool]:
    """How a session ended, and whether its agent wanted that or has another one."""
    why = str(line.why or "")
    if why.startswith(WANTED):
        return "by the agent", True
    if isinstance(line.code, int):
        return f"by the hub: {line.code}", line.code == TAKEN_OVER
    return (why[:60] or "unknown"), False


def _address(peer: Any) -> str:
    """The host of ``host:port``."""
    host, colon, _ = str(peer or "unknown").rpartition(":")
    return host if colon and host else str(peer or "unknown")


def _name(counted: Counter[str], name: Any) -> str:
    name = str(name)[:200]
    return name if name in counted or len(counted) < REASONS else "other"


def _sorted(counted: Counter[str]) -> dict[str, int]:
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))
