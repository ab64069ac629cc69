"""What passes between the demo and its agents, one JSON line each: orders in, events out."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal[
    "joined",  # connected and registered
    "left",  # said goodbye: all it sent was accepted, all it finished confirmed
    "asked",  # gave a command to the SDK, and waits for its answer
    "sent",  # gave a message to the SDK; logged before anything leaves
    "accepted",  # heard that the hub has stored it
    "refused",  # heard that the hub does not take it
    "handled",  # was handed a message
    "progress",  # heard of a command under way
    "answered",  # got a command's result
    "saw",  # asked the hub something
    "obeyed",  # an order is carried out
]
Do = Literal[
    "command", "ping", "burst", "send", "notes", "storm", "calm", "agents", "trace", "empty"
]


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something an agent did, heard or was given, by its own account.

    ``time`` is the machine's monotonic clock, in seconds: the same for all of its processes.
    ``label`` names a message throughout the demo, whatever the hub calls it.
    """

    time: float
    agent: str
    kind: Kind
    label: str = ""
    peer: str = ""
    """Whom it was sent to, or who sent it."""
    number: int = 0
    priority: int = 0
    attempt: int = 1
    text: str = ""


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an agent is to do; ``number`` comes back with the ``obeyed`` event."""

    number: int
    do: Do
    to: tuple[str, ...] = ()
    label: str = ""
    text: str = ""
    count: int = 0
    """How many messages, or how many steps a command takes."""
    priorities: tuple[int, ...] = ()
    long: bool = False
    """The first attempt at the command does not end: there is time to kill who is at it."""
