"""The history's checker accepts what is correct and finds each way to be wrong."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.history import (
    Accepted,
    Altered,
    AnsweredTwice,
    Contradicted,
    Duplicated,
    Ended,
    Event,
    FinishedTwice,
    Forged,
    Handed,
    Log,
    Lost,
    MessageKey,
    Misdirected,
    Noticed,
    Refused,
    Renumbered,
    Sent,
    Settled,
    Stale,
    Started,
    Swapped,
    TakenOver,
    Unclear,
    Unfounded,
    Violation,
    assert_kept,
    check,
    digest,
    read_log,
)

AGENTS = ("agni", "dc", "vayu", "yama")
MEMBERS = {"#ops": ("agni", "dc"), "@review": ("dc", "vayu"), "broadcast": AGENTS}


# --- correct histories, made by a tiny model of a hub ----------------------------------------


@dataclass
class Mail:
    sent: Sent
    kind: str
    seq: int
    attempts: int = 0


@dataclass
class World:
    """A hub that makes no mistakes, and agents that fail in the ways they may."""

    rng: random.Random
    logs: dict[str, Log] = field(default_factory=lambda: {a: Log(a) for a in AGENTS})
    boxes: dict[str, list[Mail]] = field(default_factory=lambda: {a: [] for a in AGENTS})
    refused: list[tuple[str, Sent]] = field(default_factory=list)
    seq: int = 0
    sends: int = 0

    def send(self, sender: str, to: str, reply_to: str | None = None, lossy: bool = True) -> None:
        members = MEMBERS.get(to, (to,))
        others = tuple(agent for agent in members if agent != sender)
        self.sends += 1
        priority = self.rng.choice((1, 3, 3))
        log = self.logs[sender]
        log(
            Sent,
            id=f"m{self.sends}",
            to=to,
            priority=priority,
            n=log.number(to, priority),
            expects=others,
            digest=digest("COMMAND", to, priority, reply_to, self.sends),
            ttl=1000 if self.rng.random() < 0.2 else None,
            reply_to=reply_to,
            settles=reply_to is not None,
        )
        sent = log.events[-1]
        assert isinstance(sent, Sent)
        fate = self.rng.random() if lossy else 1.0
        if fate < 0.05:
            log(Refused, id=sent.id, code="unknown_recipient")
        elif fate < 0.15:
            log(Refused, id=sent.id, code="unavailable", retryable=True)
            self.refused.append((sender, sent))
        else:
            self.accept(sender, sent)

    def accept(self, sender: str, sent: Sent) -> None:
        self.seq += 1
        if self.rng.random() < 0.95:  # otherwise the sender never hears of it
            self.logs[sender](Accepted, id=sent.id)
        recipients = sent.expects
        if sent.to.startswith("@"):
            recipients = (self.rng.choice(sent.expects),)
        elif len(recipients) > 1 and self.rng.random() < 0.1:
            full, recipients = recipients[0], recipients[1:]
            self.logs[sender](
                Noticed, id=f"full-{sent.id}", about=sent.id, code="mailbox_full", agents=(full,)
            )
        for recipient in recipients:
            self.boxes[recipient].append(Mail(sent, "COMMAND", self.seq))
            self.boxes[recipient].sort(key=lambda mail: (mail.sent.priority, mail.seq))

    def deliver(self, agent: str) -> None:
        if not self.boxes[agent]:
            return
        mail = self.boxes[agent].pop(0)
        sent = mail.sent
        log = self.logs[agent]
        if mail.attempts == 0 and sent.ttl and self.rng.random() < 0.5:
            notice = f"x-{sent.id}-{agent}"
            self.logs[sent.agent](
                Noticed, id=notice, about=sent.id, code="expired", agents=(agent,)
            )
            return
        mail.attempts += 1
        key = {"sender": sent.agent, "id": sent.id}
        answer = sent.settles
        log(
            Handed,
            **key,
            seq=mail.seq,
            attempt=mail.attempts,
            priority=sent.priority,
            digest=sent.digest,
            answer=answer,
        )
        fate = self.rng.random()
        if answer:
            log(Settled, **key)
        elif fate < 0.1:
            log(Started)
            self.boxes[agent].append(mail)
        elif fate < 0.2:
            log(Ended, **key, how="failed")
            self.boxes[agent].append(mail)
        elif fate < 0.25 and sent.to.startswith("@"):
            log(Ended, **key, how="done")
            log(Stale, **key)
            fresh = [a for a in sent.expects if a != agent and mail.attempts == 1]
            if fresh:
                self.boxes[fresh[0]].append(mail)
        elif fate < 0.3:
            log(Ended, **key, how="done")
            log(Started, fresh=True)  # it forgot, and the hub had not heard of it
            self.boxes[agent].append(mail)
        elif fate < 0.5 and sent.agent != agent:
            log(Ended, **key, how="done")
            self.send(agent, sent.agent, reply_to=sent.id, lossy=False)
            log(Settled, **key)
        else:
            log(Ended, **key, how="rejected" if fate > 0.95 else "done")
            log(Settled, **key)

    def run(self, steps: int) -> list[Event]:
        for log in self.logs.values():
            log(Started, fresh=True)
        for _ in range(steps):
            agent = self.rng.choice(AGENTS)
            move = self.rng.random()
            if move < 0.5:
                others = [a for a in AGENTS if a != agent]
                self.send(agent, self.rng.choice((*others, *MEMBERS)))
            elif move < 0.6 and self.refused:
                sender, sent = self.refused.pop(0)
                if self.rng.random() < 0.8:
                    self.accept(sender, sent)
            else:
                self.deliver(agent)
        while any(self.boxes.values()):
            self.deliver(self.rng.choice(AGENTS))
        return [event for log in self.logs.values() for event in log.events]


def history(seed: int, steps: int) -> list[Event]:
    return World(random.Random(seed)).run(steps)


histories = st.builds(history, st.integers(0, 2**32), st.integers(5, 120))


@given(histories)
def test_a_correct_history_keeps_every_promise(events: list[Event]) -> None:
    assert [str(violation) for violation in check(events)] == []


# --- mutations ---------------------------------------------------------------------------------


def renumbered(events: list[Event]) -> list[Event]:
    """The same events in the same order, counted without gaps."""
    counts: dict[str, int] = {}
    result = []
    for event in events:
        counts[event.instance] = counts.get(event.instance, 0) + 1
        result.append(msgspec.structs.replace(event, count=counts[event.instance]))
    return result


def key_of(event: Event) -> MessageKey | None:
    if isinstance(event, (Handed, Ended, Settled, Stale)):
        return MessageKey(event.sender, event.id)
    return None


def accepted(events: list[Event]) -> set[MessageKey]:
    return {MessageKey(e.agent, e.id) for e in events if isinstance(e, Accepted)}


def sends(events: list[Event]) -> dict[MessageKey, Sent]:
    return {MessageKey(e.agent, e.id): e for e in events if isinstance(e, Sent)}


Mutant = tuple[list[Event], type[Violation], str]
"""The mutated history, the violation that must be found, and what its text must name."""


def lose(events: list[Event], rng: random.Random) -> Mutant | None:
    known = accepted(events)
    told = {MessageKey(e.agent, e.about) for e in events if isinstance(e, Noticed)}
    keys = {key for e in events if (key := key_of(e)) and key in known and key not in told}
    if not keys:
        return None
    lost = rng.choice(sorted(keys))
    victim = rng.choice(sorted({e.instance for e in events if key_of(e) == lost}))
    if sends(events)[lost].to.startswith("@"):
        kept = [e for e in events if key_of(e) != lost]
    else:
        kept = [e for e in events if key_of(e) != lost or e.instance != victim]
    return renumbered(kept), Lost, str(lost)


def hand_again(events: list[Event], rng: random.Random) -> Mutant | None:
    """Handed once more at the end, when it was finished and confirmed."""
    settled = {(e.instance, key_of(e)) for e in events if isinstance(e, Settled)}
    hands = [e for e in events if isinstance(e, Handed) and (e.instance, key_of(e)) in settled]
    if not hands:
        return None
    again = rng.choice(hands)
    return renumbered([*events, again]), Duplicated, str(key_of(again))


def hand_twice_at_once(events: list[Event], rng: random.Random) -> Mutant | None:
    at = [i for i, e in enumerate(events) if isinstance(e, Handed)]
    if not at:
        return None
    index = rng.choice(at)
    mutated = [*events[: index + 1], events[index], *events[index + 1 :]]
    return renumbered(mutated), Duplicated, str(key_of(events[index]))


def swap(events: list[Event], rng: random.Random) -> Mutant | None:
    """Exchange two messages of one sender at one priority in one recipient's log."""
    refused = {MessageKey(e.agent, e.id) for e in events if isinstance(e, Refused)}
    sent = sends(events)
    lines: dict[tuple[str, str, int, bool], list[Handed]] = {}
    for e in events:
        key = key_of(e)
        if isinstance(e, Handed) and key and key not in refused and sent[key].to[0] != "@":
            line = lines.setdefault((e.instance, e.sender, e.priority, e.answer), [])
            if all(key_of(other) != key for other in line):
                line.append(e)
    candidates = [line for line in lines.values() if len(line) > 1]
    if not candidates:
        return None
    line = rng.choice(candidates)
    one, two = sorted(rng.sample(range(len(line)), 2))
    a, b = line[one], line[two]

    def exchanged(event: Event) -> Event:
        if event.instance != a.instance or key_of(event) not in (key_of(a), key_of(b)):
            return event
        other = b if key_of(event) == key_of(a) else a
        fields: dict[str, Any] = {"id": other.id}
        if isinstance(event, Handed):
            fields |= {"digest": other.digest, "answer": other.answer, "seq": other.seq}
        return msgspec.structs.replace(event, **fields)

    return [exchanged(event) for event in events], Swapped, str(key_of(a))


def alter(events: list[Event], rng: random.Random) -> Mutant | None:
    at = [i for i, e in enumerate(events) if isinstance(e, Handed)]
    if not at:
        return None
    index = rng.choice(at)
    mutated = [*events]
    mutated[index] = msgspec.structs.replace(events[index], digest="0")
    return mutated, Altered, str(key_of(events[index]))


def forge(events: list[Event], rng: random.Random) -> Mutant:
    instance = rng.choice(AGENTS)
    forged = Handed(
        instance, instance, 0, sender="agni", id="x1", seq=10**6, attempt=1, priority=3, digest=""
    )
    return renumbered([*events, forged]), Forged, "agni/x1"


def misdirect(events: list[Event], rng: random.Random) -> Mutant | None:
    hands = [e for e in events if isinstance(e, Handed)]
    if not hands:
        return None
    hand = rng.choice(hands)
    meant = sends(events)[MessageKey(hand.sender, hand.id)].expects
    agent = rng.choice([agent for agent in (*AGENTS, "usha") if agent not in meant])
    wrong = msgspec.structs.replace(hand, instance=agent, agent=agent)
    return renumbered([*events, wrong]), Misdirected, str(key_of(wrong))


def finish_elsewhere(events: list[Event], rng: random.Random) -> Mutant | None:
    """A second agent finishes mail for a capability."""
    sent_as = sends(events)
    for e in events:
        key = key_of(e)
        if not isinstance(e, Settled) or not key:
            continue
        sent = sent_as[key]
        handed = {x.instance for x in events if isinstance(x, Handed) and key_of(x) == key}
        free = [agent for agent in sent.expects if agent not in handed]
        if sent.to.startswith("@") and free:
            hand = next(x for x in events if isinstance(x, Handed) and key_of(x) == key)
            ended = Ended(free[0], free[0], 0, sender=key.sender, id=key.id, how="done")
            hand = msgspec.structs.replace(hand, instance=free[0], agent=free[0])
            return renumbered([*events, hand, ended]), FinishedTwice, str(key)
    return None


def refuse_too(events: list[Event], rng: random.Random) -> Mutant | None:
    at = [e for e in events if isinstance(e, Accepted)]
    if not at:
        return None
    one = rng.choice(at)
    no = Refused(one.instance, one.agent, 0, id=one.id, code="mailbox_full")
    return renumbered([*events, no]), Contradicted, f"{one.agent}/{one.id}"


def deliver_refused(events: list[Event], rng: random.Random) -> Mutant | None:
    refused = [e for e in events if isinstance(e, Refused) and not e.retryable]
    if not refused:
        return None
    one = rng.choice(refused)
    key = MessageKey(one.agent, one.id)
    sent = sends(events)[key]
    hand = Handed(
        instance=sent.expects[0],
        agent=sent.expects[0],
        count=0,
        sender=key.sender,
        id=key.id,
        seq=10**6,
        attempt=1,
        priority=sent.priority,
        digest=sent.digest,
    )
    return renumbered([*events, hand]), Contradicted, str(key)


def log_twice(events: list[Event], rng: random.Random) -> Mutant | None:
    """One recipient sees another place in the log than the first time: it was stored twice."""
    hands: dict[MessageKey, list[int]] = {}
    for i, e in enumerate(events):
        key = key_of(e)
        if isinstance(e, Handed) and key:
            hands.setdefault(key, []).append(i)
    several = [key for key, at in hands.items() if len(at) > 1]
    if not several:
        return None
    key = rng.choice(sorted(several))
    index = rng.choice(hands[key])
    mutated = [*events]
    mutated[index] = msgspec.structs.replace(events[index], seq=10**6)
    return mutated, Renumbered, str(key)


def forget_event(events: list[Event], rng: random.Random) -> Mutant:
    instance = rng.choice([e.instance for e in events if e.count > 1])
    gap = rng.randrange(1, max(e.count for e in events if e.instance == instance))
    kept = [e for e in events if e.instance != instance or e.count != gap]
    return kept, Unclear, instance


MUTATIONS: list[Callable[[list[Event], random.Random], Mutant | None]] = [
    lose,
    hand_again,
    hand_twice_at_once,
    swap,
    alter,
    forge,
    misdirect,
    finish_elsewhere,
    refuse_too,
    deliver_refused,
    log_twice,
    forget_event,
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
@given(seed=st.integers(0, 2**32), steps=st.integers(60, 150))
def test_what_went_wrong_is_found_and_named(
    mutation: Callable[[list[Event], random.Random], Mutant | None], seed: int, steps: int
) -> None:
    mutant = mutation(history(seed, steps), random.Random(seed))
    if mutant is None:
        return
    events, kind, named = mutant
    found = [violation for violation in check(events) if isinstance(violation, kind)]
    assert any(named in str(violation) for violation in found), check(events)


def test_the_model_gives_every_mutation_something_to_mutate() -> None:
    idle = {m.__name__ for m in MUTATIONS}
    for seed in range(40):
        events = history(seed, 120)
        idle -= {m.__name__ for m in MUTATIONS if m(events, random.Random(seed))}
    assert idle == set()


# --- rules by example ----------------------------------------------------------------------------


class Scene:
    """Short histories by hand: `a` sends to `b`."""

    def __init__(self) -> None:
        self.logs: dict[str, Log] = {}

    def log(self, instance: str) -> Log:
        if instance not in self.logs:
            self.logs[instance] = Log(instance.rstrip("0123456789"), instance)
        return self.logs[instance]

    def sent(self, id: str, to: str = "b", *, sender: str = "a", **more: Any) -> None:
        log = self.log(sender)
        expects = more.pop("expects", (to,))
        log(Sent, id=id, to=to, priority=3, n=log.number(to, 3), expects=expects, digest=id, **more)
        log(Accepted, id=id)

    def handed(self, id: str, at: str = "b", *, sender: str = "a", **more: Any) -> None:
        fields = {"seq": int(id.strip("mr")), "attempt": 1, "priority": 3, "digest": id} | more
        self.log(at)(Handed, sender=sender, id=id, **fields)

    def ended(self, id: str, at: str = "b", how: str = "done", sender: str = "a") -> None:
        self.log(at)(Ended, sender=sender, id=id, how=how)

    @property
    def violations(self) -> list[Violation]:
        return check([event for log in self.logs.values() for event in log.events])


def test_a_crash_that_kept_the_state_does_not_excuse_a_second_hand_over() -> None:
    scene = Scene()
    scene.sent("m1")
    scene.handed("m1")
    scene.ended("m1")
    scene.log("b")(Started, fresh=False)
    scene.handed("m1", attempt=2)
    assert scene.violations == [Duplicated(MessageKey("a", "m1"), "b", finished=True)]


def test_a_lost_state_excuses_it_until_the_hub_confirmed_the_settlement() -> None:
    for confirmed in (False, True):
        scene = Scene()
        scene.sent("m1")
        scene.handed("m1")
        scene.ended("m1")
        if confirmed:
            scene.log("b")(Settled, sender="a", id="m1")
        scene.log("b")(Started, fresh=True)
        scene.handed("m1", attempt=2)
        assert bool(scene.violations) is confirmed


def test_a_takeover_voids_what_the_older_instance_finished_unheard() -> None:
    for told in (False, True):
        scene = Scene()
        scene.sent("m1")
        for instance in ("b1", "b2"):
            scene.handed("m1", instance)
            scene.ended("m1", instance)
        if told:
            scene.log("b1")(TakenOver)
        assert bool(scene.violations) is not told


def test_a_retryable_refusal_loses_the_place_in_the_line() -> None:
    for code, retryable in (("unavailable", True), ("", False)):
        scene = Scene()
        scene.sent("m1")
        if retryable:
            scene.log("a")(Refused, id="m1", code=code, retryable=True)
            scene.log("a")(Accepted, id="m1")
        scene.sent("m2")
        scene.handed("m2", seq=1)
        scene.handed("m1", seq=2)
        assert any(isinstance(v, Swapped) for v in scene.violations) is not retryable


def test_mail_for_a_capability_keeps_order_where_only_one_offers_it() -> None:
    for offering in (("b",), ("b", "c")):
        scene = Scene()
        scene.sent("m1", "@x", expects=offering)
        scene.sent("m2", "@x", expects=offering)
        scene.handed("m2")
        scene.handed("m1")
        assert any(isinstance(v, Swapped) for v in scene.violations) is (offering == ("b",))


def test_two_answers_that_settle_one_request_are_found() -> None:
    scene = Scene()
    scene.sent("m1")
    scene.handed("m1")
    scene.ended("m1")
    for answer in ("r2", "r3"):
        scene.sent(answer, "a", sender="b", reply_to="m1", settles=True)
        scene.handed(answer, "a", sender="b", answer=True)
    request = MessageKey("a", "m1")
    answers = (MessageKey("b", "r2"), MessageKey("b", "r3"))
    assert scene.violations == [AnsweredTwice(request, answers)]


def test_each_member_of_a_group_may_answer_once() -> None:
    scene = Scene()
    scene.sent("m1", "#g", expects=("b", "c"))
    for number, member in ((2, "b"), (3, "c")):
        scene.handed("m1", member)
        scene.ended("m1", member)
        scene.sent(f"r{number}", "a", sender=member, reply_to="m1", settles=True)
        scene.handed(f"r{number}", "a", sender=member, answer=True)
    assert scene.violations == []


def test_a_notice_explains_only_those_it_names() -> None:
    scene = Scene()
    scene.sent("m1", "#g", expects=("b", "c", "d"))
    scene.handed("m1", "b")
    scene.log("a")(Noticed, id="n1", about="m1", code="mailbox_full", agents=("c",))
    assert scene.violations == [Lost(MessageKey("a", "m1"), "#g", "d")]


def test_what_had_no_ttl_cannot_expire() -> None:
    scene = Scene()
    scene.sent("m1")
    scene.log("a")(Noticed, id="n1", about="m1", code="expired")
    assert [type(violation) for violation in scene.violations] == [Unfounded]


def test_one_place_in_the_log_holds_one_message() -> None:
    scene = Scene()
    for id in ("m1", "m2"):
        scene.sent(id)
        scene.handed(id, seq=7)
    assert [type(violation) for violation in scene.violations] == [Renumbered]


def test_violations_are_told_in_words() -> None:
    scene = Scene()
    scene.sent("m1")
    with pytest.raises(AssertionError) as failed:
        assert_kept([e for log in scene.logs.values() for e in log.events], "seed 7")
    assert str(failed.value) == (
        "seed 7\nlost: a/m1 to b was accepted and never handed to b, and no notice says why"
    )


# --- files --------------------------------------------------------------------------------------


def test_a_log_is_continued_after_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    log = Log("a", path=path)
    log(Started, fresh=True)
    log(Sent, id="m1", to="b", priority=3, n=log.number("b", 3), expects=("b",), digest="d")
    log.close()
    with path.open("ab") as file:
        file.write(b'{"event":"Acc')
    log = Log("a", path=path)
    assert log.number("b", 3) == 2
    log(Accepted, id="m1")
    log.close()
    events = read_log(path)
    assert [(type(e), e.count) for e in events] == [(Started, 1), (Sent, 2), (Accepted, 3)]
