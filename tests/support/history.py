"""What agents saw happen, and whether it keeps the promises of docs/protocol.md §5.

Each *instance* of an agent logs events with a counter of its own; simulations keep them in a
list, processes in a file of JSON lines that survives ``kill -9``. :func:`check` judges a whole
history after the run went on until quiet. It knows nothing of the hub, and no common clock:
only what an application sent, was told and was handed.

An instance is one application with one dedup state. Two processes that register under one
name are two instances of one agent; a process that comes back with its state directory is the
same instance, and one that lost it says so with :class:`Started`.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

# --- events -------------------------------------------------------------------------------


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

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyEvent).decode


def digest(kind: str, to: str, priority: int, reply_to: str | None, payload: Any) -> str:
    """A short text that is the same for the same message; each side computes it from what it
    sends or is handed."""
    text = msgspec.json.encode((kind, to, priority, reply_to, payload), order="sorted")
    return hashlib.blake2b(text, digest_size=8).hexdigest()


# --- logs ---------------------------------------------------------------------------------


class Log:
    """Where an instance logs its events: always a list, and a file when it has a path.

    A line is written with one system call and no buffer, so what was logged is there even
    when the process is killed at the next instruction. An existing file is continued.
    """

    def __init__(self, agent: str, instance: str | None = None, path: Path | None = None) -> None:
        self.agent = agent
        self.instance = agent if instance is None else instance
        self.events: list[Event] = []
        self._numbers: Counter[tuple[str, int]] = Counter()
        self._file: int | None = None
        if path is None:
            self._count = 0
            return
        before = read_log(path) if path.exists() else []
        self._count = before[-1].count if before else 0
        for event in before:
            if isinstance(event, Sent):
                self._numbers[event.to, event.priority] += 1
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if before and not path.read_bytes().endswith(b"\n"):
            os.write(self._file, b"\n")  # the end of a torn line; read_log() skips it

    def number(self, to: str, priority: int) -> int:
        """The ``n`` of the next message to ``to`` at ``priority``."""
        self._numbers[to, priority] += 1
        return self._numbers[to, priority]

    def __call__(self, kind: type[Event], **fields: Any) -> None:
        """Log one event; ``fields`` are those of ``kind``."""
        self._count += 1
        event = kind(instance=self.instance, agent=self.agent, count=self._count, **fields)
        if self._file is None:
            self.events.append(event)
        else:
            os.write(self._file, _encode(event) + b"\n")

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_log(path: Path) -> list[AnyEvent]:
    """The events of a file, without a line that a crash left half written."""
    events: list[AnyEvent] = []
    for line in path.read_bytes().split(b"\n"):
        if not line:
            continue
        try:
            events.append(_decode(line))
        except msgspec.DecodeError:
            continue  # torn; a line lost in the middle shows as a gap of the counter
    return events


def write_log(path: Path, events: Iterable[Event]) -> None:
    """A file of events, as :func:`read_log` reads it; none when there are none."""
    lines = [_encode(event) + b"\n" for event in events]
    if lines:
        path.write_bytes(b"".join(lines))


def read_logs(paths: Iterable[Path]) -> list[AnyEvent]:
    """The events of several files."""
    return [event for path in paths for event in read_log(path)]


# --- violations ---------------------------------------------------------------------------


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


# --- the checker --------------------------------------------------------------------------

DECIDED = frozenset(
    {"bad_message", "too_large", "unknown_recipient", "mailbox_full", "stale_ack", "forbidden"}
)
"""Refusals made where dedup is known: the message is not stored, by no earlier try either.
``unavailable`` and ``internal`` leave that open, ``rate_limited`` is said before looking (§6)."""


class _Message:
    """What its sender's side says about a message."""

    __slots__ = ("accepted", "recalling", "refusals", "refused_last", "sent", "told")

    def __init__(self, sent: Sent) -> None:
        self.sent = sent
        self.accepted = False
        self.recalling = False
        self.refusals: list[Refused] = []
        self.refused_last: Refused | None = None
        """The refusal that nothing came after, if any."""
        self.told: list[tuple[str, ...]] = []
        """Of each notice or recall, who it explains."""


class _Holder:
    """What became of a message at one instance."""

    __slots__ = ("agent", "finished", "hands", "held", "settled", "void")

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.hands: list[Handed] = []
        self.held = False
        self.finished = False
        self.settled = False
        self.void = False
        """The instance was told that its finish did not count."""


def check(history: Iterable[Event]) -> list[Violation]:
    """Every broken promise in a history that went on until quiet. Empty: all were kept."""
    checker = _Checker()
    by_instance: dict[str, list[Event]] = defaultdict(list)
    for event in history:
        by_instance[event.instance].append(event)
    for instance, events in by_instance.items():
        events.sort(key=lambda event: event.count)
        for expected, event in enumerate(events, 1):
            if event.count != expected:
                checker.unclear(instance, f"event {expected} is missing or doubled")
                break
    # All that was sent comes first: no log waits for another's, not even of the same agent.
    for events in by_instance.values():
        checker.sent(events)
    for events in by_instance.values():
        checker.sending(events)
    for instance, events in by_instance.items():
        checker.receiving(instance, events)
    checker.conclude()
    return checker.violations


def assert_kept(history: Iterable[Event], context: str = "") -> None:
    """Raise AssertionError with every violation's text."""
    violations = check(history)
    if violations:
        lines = [str(violation) for violation in violations[:20]]
        if len(violations) > 20:
            lines.append(f"... and {len(violations) - 20} more")
        raise AssertionError("\n".join([context, *lines] if context else lines))


class _Checker:
    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self._messages: dict[MessageKey, _Message] = {}
        self._copies: dict[MessageKey, dict[str, _Holder]] = defaultdict(dict)
        self._firsts: dict[str, list[Handed]] = {}
        self._answers: dict[MessageKey, set[MessageKey]] = defaultdict(set)
        self._abandoned: set[MessageKey] = set()

    def unclear(self, instance: str, what: str) -> None:
        self.violations.append(Unclear(instance, what))

    # --- what senders say ---

    def sent(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Sent):
                key = MessageKey(event.agent, event.id)
                first = self._messages.setdefault(key, _Message(event)).sent
                if first.digest != event.digest:
                    self.unclear(event.instance, f"{key} was sent with two contents")

    def sending(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Sent):
                # It was tried again.
                self._messages[MessageKey(event.agent, event.id)].refused_last = None
            elif isinstance(event, Abandoned):
                self._abandoned.add(MessageKey(event.agent, event.id))
            elif isinstance(event, (Accepted, Refused, Recalling, Recalled, Noticed)):
                self._heard(event)

    def _heard(self, event: Accepted | Refused | Recalling | Recalled | Noticed) -> None:
        about = event.about if isinstance(event, Noticed) else event.id
        key = MessageKey(event.agent, about)
        message = self._messages.get(key)
        if message is None:
            self.violations.append(Forged(key, event.instance, "heard about"))
        elif isinstance(event, Accepted):
            message.accepted = True
            message.refused_last = None
        elif isinstance(event, Refused):
            message.refusals.append(event)
            message.refused_last = event
        elif isinstance(event, (Recalling, Recalled)):
            message.recalling = isinstance(event, Recalling)
            if isinstance(event, Recalled) and event.agents:
                message.told.append(event.agents)
        else:
            message.told.append(event.agents)
            if event.code == "expired" and not message.sent.ttl:
                self.violations.append(Unfounded(key, event.code, "which had no ttl"))

    # --- what recipients say ---

    def receiving(self, instance: str, events: Sequence[Event]) -> None:
        mine: dict[MessageKey, _Holder] = {}
        firsts = self._firsts.setdefault(instance, [])
        notices: set[str] = set()
        parted = False
        for event in events:
            if isinstance(event, Handed):
                key = MessageKey(event.sender, event.id)
                holder = mine.get(key)
                if holder is None:
                    holder = mine[key] = self._copies[key][instance] = _Holder(event.agent)
                    firsts.append(event)
                elif holder.held or holder.finished:
                    self.violations.append(Duplicated(key, instance, holder.finished))
                holder.hands.append(event)
                holder.void = parted
                holder.held = not event.answer
                holder.finished = event.answer
                self._content(key, event)
            elif isinstance(event, (Ended, Settled, Stale)):
                key = MessageKey(event.sender, event.id)
                holder = mine.get(key)
                if holder is None:
                    self.unclear(instance, f"{key} ended and was never handed over")
                elif isinstance(event, Ended):
                    if not holder.held:
                        self.unclear(instance, f"{key} ended and was not being worked on")
                    holder.held = False
                    holder.finished = event.how in ("done", "rejected")
                elif isinstance(event, Settled):
                    holder.settled = True
                else:
                    holder.void = True
            elif isinstance(event, Started):
                for holder in mine.values():
                    holder.held = False
                    if not holder.settled:
                        # It may have lost it to another meanwhile, and is not told of that.
                        holder.void = True
                        # What only the application knew it had finished may be forgotten.
                        holder.finished &= not event.fresh
                if event.fresh:
                    notices.clear()
            elif isinstance(event, Registered):
                parted = False
            elif isinstance(event, TakenOver):
                parted = True
                for holder in mine.values():
                    holder.void |= not holder.settled
            elif isinstance(event, Noticed):
                if event.id in notices:
                    self.violations.append(
                        Duplicated(MessageKey("hub", event.id), instance, finished=True)
                    )
                notices.add(event.id)

    def _content(self, key: MessageKey, event: Handed) -> None:
        message = self._messages.get(key)
        if message is None:
            self.violations.append(Forged(key, event.instance))
            return
        sent = message.sent
        if event.digest != sent.digest or event.priority != sent.priority:
            self.violations.append(Altered(key, event.instance))
        if event.agent not in sent.expects and event.agent not in sent.may:
            self.violations.append(Misdirected(key, sent.to, event.agent))
        if sent.settles and sent.reply_to is not None:
            self._answers[MessageKey(event.agent, sent.reply_to)].add(key)

    # --- both sides together ---

    def conclude(self) -> None:
        for key, message in self._messages.items():
            self._acceptance(key, message)
            if message.accepted:
                self._arrival(key, message)
            self._one_finish(key)
        self._places()
        for instance, firsts in self._firsts.items():
            self._order(instance, firsts)
        for request, answers in self._answers.items():
            self._answered(request, answers)

    def _answered(self, request: MessageKey, answers: set[MessageKey]) -> None:
        """A copy is settled by one answer: a request to many has one of each."""
        many = self._to_many(request)
        groups: dict[str, list[MessageKey]] = defaultdict(list)
        for answer in sorted(answers):
            by = self._copies[request].get(self._messages[answer].sent.instance)
            # What an instance finished after it had lost the message may be answered again.
            if by is None or not by.void:
                groups[answer.sender if many else ""].append(answer)
        for group in groups.values():
            if len(group) > 1:
                self.violations.append(AnsweredTwice(request, tuple(group)))

    def _to_many(self, key: MessageKey) -> bool:
        message = self._messages.get(key)
        if message is None:
            return False
        return message.sent.to == "broadcast" or message.sent.to.startswith("#")

    def _acceptance(self, key: MessageKey, message: _Message) -> None:
        final = [refusal for refusal in message.refusals if not refusal.retryable]
        if message.accepted and final:
            self.violations.append(Contradicted(key, final[0].code, "accepted"))
        last = message.refused_last
        if last is None or last.retryable or message.accepted:
            return  # after a retryable refusal an SDK may have tried again by itself
        if last.code in DECIDED:
            for instance in self._copies.get(key, ()):
                self.violations.append(Contradicted(key, last.code, f"handed to {instance}"))

    def _arrival(self, key: MessageKey, message: _Message) -> None:
        sent = message.sent
        reached = {holder.agent for holder in self._copies.get(key, {}).values()}
        # A notice that names nobody is about the whole message.
        if not all(message.told) or message.recalling or key in self._abandoned:
            return
        told = {agent for agents in message.told for agent in agents}
        if sent.to.startswith("@"):
            if not reached and not told:
                candidates = ", ".join((*sent.expects, *sent.may))
                self.violations.append(Lost(key, sent.to, f"one of {candidates}"))
            return
        for recipient in sent.expects:
            if sent.reply_to is not None:
                request = MessageKey(recipient, sent.reply_to)
                if request in self._abandoned:
                    continue
                # Two instances of an agent may both answer; the second answer is one too many.
                if sent.settles and self._answers.get(request) and not self._to_many(request):
                    continue
            if recipient not in reached and recipient not in told:
                self.violations.append(Lost(key, sent.to, recipient))

    def _one_finish(self, key: MessageKey) -> None:
        """A copy has one fate: of its holders, only one may believe that it finished it."""
        holders = self._copies.get(key)
        if holders is None or len(holders) < 2:
            return
        capability = self._messages[key].sent.to.startswith("@")
        kept: dict[str, list[str]] = defaultdict(list)
        for instance, holder in holders.items():
            if holder.finished and not holder.void:
                kept["" if capability else holder.agent].append(instance)
        for instances in kept.values():
            if len(instances) > 1:
                self.violations.append(FinishedTwice(key, tuple(sorted(instances))))

    def _places(self) -> None:
        """A message has one seq, and no two have the same."""
        owners: dict[int, MessageKey] = {}
        for key, holders in self._copies.items():
            seqs = {hand.seq for holder in holders.values() for hand in holder.hands}
            if len(seqs) > 1:
                self.violations.append(Renumbered((key,), tuple(sorted(seqs))))
            for seq in seqs:
                other = owners.setdefault(seq, key)
                if other != key:
                    self.violations.append(Renumbered((other, key), (seq,)))

    def _order(self, instance: str, firsts: Sequence[Handed]) -> None:
        last_sent: dict[tuple[str, str, int, bool], tuple[int, MessageKey]] = {}
        last_seq: dict[tuple[str, int, bool], tuple[int, MessageKey]] = {}
        for event in firsts:
            key = MessageKey(event.sender, event.id)
            message = self._messages.get(key)
            if message is None or not self._keeps_place(key, message, event.agent):
                continue
            # An answer goes to the request that waits for it, past what waits for a handler.
            line = (event.sender, event.priority, event.answer)
            place = (event.seq, key)
            before = last_seq.setdefault(line, place)
            if place < before:
                self.violations.append(Swapped(key, before[1], instance, "seq"))
            else:
                last_seq[line] = place
            # Each instance of a sender counts its own sends.
            own = (message.sent.instance, *line[1:])
            place = (message.sent.count, key)
            before = last_sent.setdefault((event.sender, *own), place)
            if place < before:
                self.violations.append(Swapped(key, before[1], instance, "sending"))
            else:
                last_sent[event.sender, *own] = place

    def _keeps_place(self, key: MessageKey, message: _Message, recipient: str) -> bool:
        if any(refusal.retryable for refusal in message.refusals):
            return False
        sent = message.sent
        # An answer that nobody waits for is dropped, and after a restart taken for mail.
        if sent.reply_to and MessageKey(recipient, sent.reply_to) in self._abandoned:
            return False
        # Mail for a capability may wait for one agent and move to another; it has a place in
        # the line only where nobody else could ever take it.
        if sent.to.startswith("@") and len({*sent.expects, *sent.may}) > 1:
            return False
        # Handed to two instances of one agent, it is not known here which was first.
        holders = self._copies[key].values()
        return sum(holder.agent == recipient for holder in holders) == 1
