"""What a hub says of itself to its archive, with the clock and the trouble of a test."""

from __future__ import annotations

from typing import Any, cast

import pytest

from trishula_broker.hub.counts import Counts
from trishula_broker.hub.now import Now
from trishula_broker.net.driver import Driver
from trishula_broker.net.meter import Meter
from trishula_broker.pulse import Pulse


class Core:
    """What a pulse asks of one."""

    def __init__(self) -> None:
        self.counts = Counts()

    def describe(self, now: Now) -> dict[str, Any]:
        return {"agents_online": 3}


class Serving:
    """What a pulse asks of a driver."""

    def __init__(self) -> None:
        self.now = 1_000
        self.trouble: str | None = None
        self.meter = Meter()
        self.core = Core()
        self.cores = {"default": self.core}

    def clock(self) -> Now:
        return Now(self.now, self.now)


@pytest.fixture
def serving() -> Serving:
    return Serving()


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def pulse(serving: Serving, told: list[dict[str, Any]]) -> Pulse:
    def record(namespace: str, event: str, fields: dict[str, Any]) -> None:
        assert (namespace, event) == ("", "pulse")
        told.append(fields)

    return Pulse(cast(Driver, serving), lambda: None, record)


def look(pulse: Pulse, serving: Serving, seconds: int) -> None:
    for _ in range(seconds):
        serving.now += 1_000
        pulse.look()


def test_a_pulse_tells_for_how_long_it_was_well_and_why_not(
    pulse: Pulse, serving: Serving, told: list[dict[str, Any]]
) -> None:
    look(pulse, serving, 40)
    serving.trouble = "no room"
    look(pulse, serving, 15)
    serving.trouble = None
    look(pulse, serving, 5)
    pulse.tell()
    assert told == [{"ms": 60_000, "well_ms": 45_000, "why": "no room", "online": 3}]
    look(pulse, serving, 60)
    pulse.tell()
    assert told[1] == {"ms": 60_000, "well_ms": 60_000, "online": 3}


def test_a_process_that_stood_still_was_not_well_meanwhile(
    pulse: Pulse, serving: Serving, told: list[dict[str, Any]]
) -> None:
    serving.now += 30_000
    pulse.look()
    pulse.tell()
    assert (told[0]["ms"], told[0]["well_ms"]) == (30_000, 2_000)


def test_latencies_are_those_since_the_last_pulse(
    pulse: Pulse, serving: Serving, told: list[dict[str, Any]]
) -> None:
    serving.meter.accept.add(0.004, 7)
    serving.core.counts.delivered.add(150, 2)
    serving.core.counts.delivered.add(99_999)
    pulse.tell()
    assert told[0]["accept_s"] == {"0.005": 7}
    assert told[0]["delivery_s"] == {"0.2": 2, "inf": 1}
    serving.meter.accept.add(0.004)
    pulse.tell()
    assert told[1]["accept_s"] == {"0.005": 1}
    assert "delivery_s" not in told[1]
