"""Of how the hub is, how it was in the last hour, and what passes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from trishula_broker.api.shapes.base import Address, Given, Kind, Shown
from trishula_protocol.bodies import Name
from trishula_protocol.envelope import EnvelopeId


class Series(Shown):
    """What this hub did in the last hour, a number for every ``step_s`` seconds; the last one ends
    at ``end``. Rates are a second; latencies are of copies whose recipient was online, null where
    there were none."""

    step_s: int
    end: int
    accepted: list[float]
    delivered: list[float]
    p50_ms: list[float | None]
    p99_ms: list[float | None]


class Health(msgspec.Struct):
    """How this hub is: ``ok``, ``degraded`` or ``draining``, why, and particulars."""

    status: str


class Component(msgspec.Struct):
    """How one part is: ``ok``, ``degraded`` or ``off``, and particulars."""

    component: str
    status: str
    why: str | None
    details: dict[str, Any]


class LiveQuery(Given):
    """What to hear of; each narrows. ``presence`` adds who comes and goes; ``most``: copies a
    second, the others are counted by ``missed``."""

    sender: Name | None = msgspec.field(default=None, name="from")
    to: Address | None = None
    type: Kind | None = None
    thread: EnvelopeId | None = None
    presence: bool = True
    most: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
