"""Judges a whole history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from tests.support.history.events import (
    Abandoned,
    Accepted,
    Ended,
    Event,
    Handed,
    Noticed,
    Recalled,
    Recalling,
    Refused,
    Registered,
    Sent,
    Settled,
    Stale,
    Started,
    TakenOver,
)
from tests.support.history.violations import (
    Altered,
    AnsweredTwice,
    Contradicted,
    Duplicated,
    FinishedTwice,
    Forged,
    Lost,
    MessageKey,
    Misdirected,
    Renumbered,
    Swapped,
    Unclear,
    Unfounded,
    Violation,
)

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
