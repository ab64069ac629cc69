"""Promises that are broken: one kind each, and what it says."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec


class MessageKey(NamedTuple):
    """What names a message: ids are unique per sender."""

    sender: str
    id: str

    def __str__(self) -> str:
        return f"{self.sender}/{self.id}"


class Violation(msgspec.Struct, frozen=True):
    """A broken promise; its text names the messages."""

    def __str__(self) -> str:
        raise NotImplementedError


class Lost(Violation, frozen=True):
    """An accepted message never reached ``recipient``, and nobody was told why."""

    message: MessageKey
    to: str
    recipient: str

    def __str__(self) -> str:
        return (
            f"lost: {self.message} to {self.to} was accepted and never handed to "
            f"{self.recipient}, and no notice says why"
        )


class Duplicated(Violation, frozen=True):
    """An application was handed a message again that it had finished, or still had."""

    message: MessageKey
    instance: str
    finished: bool

    def __str__(self) -> str:
        when = "after finishing it" if self.finished else "while it was still at work on it"
        return f"duplicate: {self.message} was handed to {self.instance} again {when}"


class FinishedTwice(Violation, frozen=True):
    """One copy was finished by two instances, and neither was told that it had lost it."""

    message: MessageKey
    instances: tuple[str, ...]

    def __str__(self) -> str:
        return f"finished twice: {self.message} by {' and by '.join(self.instances)}"


class Swapped(Violation, frozen=True):
    """First deliveries from one sender at one priority were not in order."""

    first: MessageKey
    second: MessageKey
    recipient: str
    by: Literal["sending", "seq"]

    def __str__(self) -> str:
        order = "was sent" if self.by == "sending" else "is in the log"
        return (
            f"out of order: {self.recipient} was handed {self.second} first, "
            f"although {self.first} {order} before it"
        )


class Forged(Violation, frozen=True):
    """Something was handed over, or reported on, that nobody sent."""

    message: MessageKey
    instance: str
    what: str = "was handed"

    def __str__(self) -> str:
        return f"forged: {self.instance} {self.what} {self.message}, which was never sent"


class Altered(Violation, frozen=True):
    """A message arrived with other content than it was sent with."""

    message: MessageKey
    instance: str

    def __str__(self) -> str:
        return f"altered: {self.message} reached {self.instance} with other content"


class Misdirected(Violation, frozen=True):
    """A message reached an agent it was not meant for."""

    message: MessageKey
    to: str
    recipient: str

    def __str__(self) -> str:
        return f"misdirected: {self.message} to {self.to} was handed to {self.recipient}"


class Contradicted(Violation, frozen=True):
    """The hub said both yes and no."""

    message: MessageKey
    code: str
    what: str

    def __str__(self) -> str:
        return f"contradiction: {self.message} was refused ({self.code}) and {self.what}"


class Renumbered(Violation, frozen=True):
    """One message has two places in the log, or two messages have one."""

    messages: tuple[MessageKey, ...]
    seqs: tuple[int, ...]

    def __str__(self) -> str:
        names = ", ".join(map(str, self.messages))
        return f"renumbered: {names} came with seq {' and '.join(map(str, self.seqs))}"


class AnsweredTwice(Violation, frozen=True):
    """A request was settled by two answers."""

    request: MessageKey
    answers: tuple[MessageKey, ...]

    def __str__(self) -> str:
        return f"answered twice: {self.request} by {' and by '.join(map(str, self.answers))}"


class Unfounded(Violation, frozen=True):
    """A notice says what cannot be."""

    message: MessageKey
    code: str
    why: str

    def __str__(self) -> str:
        return f"unfounded notice: {self.code} about {self.message}, {self.why}"


class Unclear(Violation, frozen=True):
    """The history contradicts itself: the test that wrote it is at fault."""

    instance: str
    what: str

    def __str__(self) -> str:
        return f"unclear history: {self.instance}: {self.what}"
