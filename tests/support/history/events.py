"""What an instance of an agent logs: one event each."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec


class Event(msgspec.Struct, frozen=True, gc=False, tag_field="event", omit_defaults=True):
    """Base of what an instance logs. ``count`` is 1, 2, 3 ... of the instance, over restarts."""

    instance: str
    agent: str
    count: int


class Started(Event, frozen=True, gc=False):
    """The application runs (again). ``fresh``: it knows nothing of what it did before."""

    fresh: bool = False


class Registered(Event, frozen=True, gc=False):
    """This instance has the agent's session now; only agents of several instances log it."""


class TakenOver(Event, frozen=True, gc=False):
    """Another instance has the agent's session, until this one is :class:`Registered` again.
    What it had not settled by now goes to the other, whatever it still finishes of that."""


class Sent(Event, frozen=True, gc=False):
    """The application gave a message to the SDK; logged before anything leaves.

    ``n`` counts this sender's messages to that address at that priority. ``expects`` are the
    agents that must get it; of a ``@capability`` one of ``expects`` and ``may`` must. ``may``
    could get it as well, because membership changed at about that time. ``digest`` is
    :func:`digest` of what it says. ``settles``: it is an answer that settles ``reply_to``.
    """

    id: str
    to: str
    priority: int
    n: int
    expects: tuple[str, ...]
    digest: str
    may: tuple[str, ...] = ()
    ttl: int | None = None
    reply_to: str | None = None
    settles: bool = False


class Accepted(Event, frozen=True, gc=False):
    """The hub acknowledged it as accepted."""

    id: str


class Refused(Event, frozen=True, gc=False):
    """The hub refused it, once; a retryable refusal may be followed by acceptance."""

    id: str
    code: str
    retryable: bool = False


class Abandoned(Event, frozen=True, gc=False):
    """The application waits no more for the request ``id``: answers to it, and what the hub
    has to say about it, need not reach it."""

    id: str


class Recalling(Event, frozen=True, gc=False):
    """The application asked for it to be taken back. Until the answer comes it may have been."""

    id: str


class Recalled(Event, frozen=True, gc=False):
    """The hub's answer: it was taken back from ``agents``."""

    id: str
    agents: tuple[str, ...]


class Handed(Event, frozen=True, gc=False):
    """The application was given a message and works on it from now on."""

    sender: str
    id: str
    seq: int
    attempt: int
    priority: int
    digest: str
    answer: bool = False
    """It was handed as the answer to a request, which waited for it: finished at once."""


class Ended(Event, frozen=True, gc=False):
    """The application's attempt is over. ``done`` and ``rejected`` finish the message for good,
    and are logged once that would survive a crash of the application (if anything does);
    ``requeued`` and ``failed`` ask for another attempt."""

    sender: str
    id: str
    how: Literal["done", "rejected", "requeued", "failed"]


class Settled(Event, frozen=True, gc=False):
    """The hub confirmed the settlement of a finished message."""

    sender: str
    id: str


class Stale(Event, frozen=True, gc=False):
    """The hub said ``stale_ack``: the message is held by somebody else by now."""

    sender: str
    id: str


class Noticed(Event, frozen=True, gc=False):
    """The hub's own mail: what became of the accepted message ``about``, and for whom (for
    every recipient when ``agents`` is empty). ``id`` is the notice's own."""

    id: str
    about: str
    code: str
    agents: tuple[str, ...] = ()


AnyEvent = (
    Started
    | Registered
    | TakenOver
    | Sent
    | Accepted
    | Refused
    | Abandoned
    | Recalling
    | Recalled
    | Handed
    | Ended
    | Settled
    | Stale
    | Noticed
)

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(AnyEvent).decode


def digest(kind: str, to: str, priority: int, reply_to: str | None, payload: Any) -> str:
    """A short text that is the same for the same message; each side computes it from what it
    sends or is handed."""
    text = msgspec.json.encode((kind, to, priority, reply_to, payload), order="sorted")
    return hashlib.blake2b(text, digest_size=8).hexdigest()
