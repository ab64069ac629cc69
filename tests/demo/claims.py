"""What the demo claims at its end, computed from nothing but what the agents logged."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tests.demo.events import Event, Kind


class Claim(NamedTuple):
    """A sentence, and whether it is true."""

    kept: bool
    text: str


class Outage(NamedTuple):
    """When the hub was killed and when it served again, by the machine's monotonic clock."""

    killed: float
    serving: float


def of_kind(events: Iterable[Event], *kinds: Kind, label: str = "") -> list[Event]:
    """The events of some kinds whose labels begin with ``label``."""
    return [event for event in events if event.kind in kinds and event.label.startswith(label)]


def commands(events: Sequence[Event], but: str) -> Claim:
    """Every command, but those that begin with ``but``, was handled once and answered once."""
    asked = {event.label for event in of_kind(events, "asked") if not event.label.startswith(but)}
    answered = Counter(event.label for event in of_kind(events, "answered"))
    handled = Counter(event.label for event in of_kind(events, "handled"))
    good = sum(answered[label] == 1 and handled[label] == 1 for label in asked)
    return Claim(
        bool(asked) and good == len(asked),
        f"{good} of {len(asked)} commands were handled once and answered once",
    )


def progress(events: Sequence[Event], label: str, steps: int) -> Claim:
    """The one who asked heard of every step before the result came."""
    heard = [event.kind for event in of_kind(events, "progress", "answered", label=label)]
    return Claim(
        heard == ["progress"] * steps + ["answered"],
        f"{heard.count('progress')} of {steps} progress reports came before their result",
    )


def reached(events: Sequence[Event], label: str, to: str, expected: set[str]) -> Claim:
    """A message to many reached each of them once, and nobody else."""
    got = Counter(event.agent for event in of_kind(events, "handled", label=label))
    names = ", ".join(sorted(got)) or "nobody"
    return Claim(got == Counter(expected), f"the message to {to} reached {names}, once each")


def one_each(events: Sequence[Event], label: str, to: str, count: int) -> Claim:
    """Each command to a capability was handled by exactly one agent."""
    by: defaultdict[str, list[str]] = defaultdict(list)
    for event in of_kind(events, "handled", label=label):
        by[event.label].append(event.agent)
    single = sum(len(agents) == 1 for agents in by.values())
    shares = Counter(agent for agents in by.values() for agent in agents)
    shared = ", ".join(f"{agent} {share}" for agent, share in sorted(shares.items()))
    return Claim(
        len(by) == single == count,
        f"{single} of {count} commands to {to} went to exactly one agent ({shared})",
    )


def refused(events: Sequence[Event], label: str) -> Claim:
    """A message to nobody was refused, and not taken in silence."""
    said = of_kind(events, "refused", label=label)
    taken = of_kind(events, "accepted", "handled", label=label)
    return Claim(
        len(said) == 1 and not taken, "the message to an agent that does not exist was refused"
    )


def waited(events: Sequence[Event], label: str, agent: str) -> Claim:
    """All that was sent to an agent while it was away was there when it came back, by urgency."""
    sent = of_kind(events, "sent", label=label)
    back = [event for event in of_kind(events, "handled", label=label) if event.agent == agent]
    found = Counter(event.label for event in back)
    whole = found == Counter(event.label for event in sent)
    order = [event.priority for event in back]
    return Claim(
        whole and bool(sent) and order == sorted(order),
        f"{agent} found {len(found)} of {len(sent)} messages when it came back, "
        f"priorities in the order {', '.join(map(str, order))}",
    )


def again(events: Sequence[Event], label: str, agent: str) -> Claim:
    """A command whose agent died at work was handed out again, and answered once."""
    attempts = [event.attempt for event in of_kind(events, "handled", label=label)]
    answers = len(of_kind(events, "answered", label=label))
    return Claim(
        attempts == [1, 2] and answers == 1,
        f"the command {agent} died over was handed to it {len(attempts)} times, "
        f"and answered {'once' if answers == 1 else f'{answers} times'}",
    )


def storm(events: Sequence[Event], label: str, outage: Outage) -> list[Claim]:
    """The hub died in the middle: nothing lost, nothing twice, nothing out of order."""
    sent = {event.label: event for event in of_kind(events, "sent", label=label)}
    accepted = {event.label: event.time for event in of_kind(events, "accepted", label=label)}
    handled = Counter(event.label for event in of_kind(events, "handled", label=label))
    caught = sum(
        event.time < outage.serving and accepted.get(name, float("inf")) > outage.killed
        for name, event in sent.items()
    )
    after = sum(moment > outage.serving for moment in accepted.values())
    lost = sum(name not in handled for name in accepted)
    twice = sum(count > 1 for count in handled.values())
    swapped = _swapped(of_kind(events, "handled", label=label))
    return [
        Claim(
            caught > 0 and 0 < after < len(accepted) == len(sent),
            f"the hub was killed, {caught} messages under way; in the end {len(accepted)} of "
            f"{len(sent)} were accepted, {after} of them by its successor",
        ),
        Claim(
            lost == 0 and handled.keys() == sent.keys(),
            f"{len(accepted)} accepted, {len(handled)} handled: {lost} lost",
        ),
        Claim(twice == 0, f"{twice} handled twice"),
        Claim(swapped == 0, f"{swapped} out of order, from each sender to each recipient"),
    ]


def _swapped(handled: Iterable[Event]) -> int:
    last: dict[tuple[str, str], int] = {}
    swapped = 0
    for event in handled:
        pair = (event.peer, event.agent)
        swapped += event.number < last.get(pair, 0)
        last[pair] = event.number
    return swapped


def empty(events: Sequence[Event], agents: set[str]) -> Claim:
    """At the end nothing waits for anybody."""
    last = {event.agent: event.number for event in of_kind(events, "saw") if not event.peer}
    return Claim(
        last == dict.fromkeys(agents, 0),
        f"{sum(last.values())} messages are left in {len(last)} mailboxes",
    )


def round_trips(events: Sequence[Event], label: str) -> list[float]:
    """Seconds from asking to the answer, of every command whose label begins so."""
    asked = {event.label: event.time for event in of_kind(events, "asked", label=label)}
    answered = of_kind(events, "answered", label=label)
    return [event.time - asked[event.label] for event in answered]


def latencies(events: Sequence[Event], label: str, storm_label: str, outage: Outage) -> list[str]:
    """How long things took, for people."""
    trips = round_trips(events, label)
    again = [
        event.time
        for event in of_kind(events, "accepted", label=storm_label)
        if event.time > outage.serving
    ]
    lines = []
    if trips:
        lines.append(
            f"command and result, both durable: median {statistics.median(trips) * 1000:.1f} ms "
            f"of {len(trips)}, one at a time"
        )
    if again:
        lines.append(
            f"kill -9 to the next acceptance: {(min(again) - outage.killed) * 1000:.0f} ms, "
            f"of which {(outage.serving - outage.killed) * 1000:.0f} ms were the hub's start"
        )
    return lines
