"""Random operations and questions over a small world, so that they meet one another often.

A recipe names what only a run knows (epochs, seqs) by its relation to it; :class:`Run` makes
operations of recipes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from hypothesis import strategies as st

from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore
from trishula_protocol.address import HUB, parse_address

AGENTS = ("ada", "bob", "cyd", "dee")
CAPABILITIES = ("plan", "test")
GROUPS = ("ops", "web")
NAMESPACES = ("default", "other")
IDS = tuple(f"id{n}" for n in range(14))
THREADS = (*IDS[:3], "talk")
MAILBOXES = (*AGENTS, *AGENTS, *(f"@{name}" for name in CAPABILITIES), HUB, "nobody")
ADDRESSES = (
    *AGENTS,
    *AGENTS,
    "nobody",
    "broadcast",
    "#ops",
    "#web",
    "#none",
    "@plan",
    "@plan",
    "@test",
    "@none",
)

LIMITS = base.MailboxLimits(messages=4, bytes=100)

Recipe = Callable[["Run"], base.Operation]


class Run:
    """What recipes need to know of the run so far."""

    def __init__(self, model: MemoryStore) -> None:
        self._model = model
        self.namespace = NAMESPACES[0]
        self.now = 0
        self.last_seq = 0
        self._epochs: dict[tuple[str, str], int] = {}
        self._told = 0

    def epoch(self, agent: str, which: str) -> int:
        """The current epoch of ``agent``, an older one, or none."""
        current = self._epochs.get((self.namespace, agent), 0)
        return {"current": current, "old": max(1, current - 1), "none": 0}[which]

    def seq(self, agent: str, back: int) -> int:
        """A seq counted from the newest: mostly of what ``agent`` has, else of the log."""
        if back > 2:
            waiting = self._model.answer(self.namespace, base.Peek(agent, 100)).heads
            dead = self._model.answer(self.namespace, base.DeadLetters(agent, 0, 100))
            seqs = [copy.message.seq for copy in (*waiting, *(letter.copy for letter in dead))]
            if seqs:
                return int(seqs[back % len(seqs)])
        return max(1, self.last_seq + 2 - back)

    def notice(self, to: str | None) -> base.Notice | None:
        """Mail from the hub; an id is used twice now and then."""
        if to is None:
            return None
        self._told += 1
        return base.Notice(to, f"told{self._told * 3 // 4}", "id0", b'{"told":%d}' % self._told)

    def learn(self, namespace: str, op: base.Operation, outcome: base.Outcome) -> None:
        """Take note of what became of an operation."""
        match op, outcome:
            case base.Register(), base.Registered(epoch=epoch) if epoch:
                self._epochs[namespace, op.agent] = epoch
            case base.Leave() | base.Forget(), base.Left() | base.Forgotten(waiting=0):
                self._epochs.pop((namespace, op.agent), None)
            case base.Accept(), base.Accepted(seq=seq, notice=notice):
                self.last_seq = max(self.last_seq, notice.seq if notice else seq)
            case base.Discard(), base.Discarded(notice=notice) if notice:
                self.last_seq = max(self.last_seq, notice.seq)

    def restarted(self) -> None:
        """All sessions have ended."""
        self._epochs.clear()


_ENDINGS: tuple[base.Settled, ...] = ("rejected", "expired", "dead", "dead", "recalled", "dropped")
_agents = st.sampled_from(AGENTS)
_mailboxes = st.sampled_from(MAILBOXES)
_epochs = st.sampled_from(("current",) * 8 + ("none", "none", "old"))
_backs = st.integers(0, 12)
_some_backs = st.lists(_backs, max_size=5)
_leases = st.sampled_from((1_000, 60_000))
_bodies = st.sampled_from((b"{}", b'{"x":"0123456789"}', b'{"y":"%s"}' % (b"z" * 30)))


def _tags(names: Sequence[str]) -> st.SearchStrategy[tuple[str, ...] | None]:
    return st.none() | st.lists(st.sampled_from(names), max_size=2).map(tuple)


def _seqs(run: Run, agent: str, backs: list[int]) -> tuple[int, ...]:
    return tuple(run.seq(agent, back) for back in backs)


def _same(op: base.Operation, run: Run) -> base.Operation:
    return op


@st.composite
def _register(draw: st.DrawFn) -> Recipe:
    op = base.Register(
        agent=draw(_agents),
        node=draw(st.sampled_from(("n1", "n2"))),
        session="s",
        receive=draw(st.sampled_from((True, True, True, False))),
        ephemeral=draw(st.sampled_from((False, False, False, True))),
        lease_ms=draw(_leases),
        capabilities=draw(_tags(CAPABILITIES)),
        groups=draw(_tags(GROUPS)),
        folder=draw(st.booleans()),
    )
    which, backs = draw(_epochs), draw(_some_backs)

    def make(run: Run) -> base.Operation:
        return msgspec.structs.replace(
            op, replaces=run.epoch(op.agent, which), unread=_seqs(run, op.agent, backs)
        )

    return make


@st.composite
def _accept(draw: st.DrawFn) -> Recipe:
    sender = draw(st.sampled_from((*AGENTS, *AGENTS, *AGENTS, HUB, "nobody")))
    epoch = draw(_epochs)
    fields: dict[str, Any] = {
        "sender": sender,
        "address": parse_address(draw(st.sampled_from(ADDRESSES))),
        "id": draw(st.sampled_from(IDS)),
        "type": draw(st.sampled_from(("COMMAND", "RESULT"))),
        "priority": draw(st.integers(1, 5)),
        "thread": draw(st.none() | st.sampled_from(THREADS)),
        "reply_to": None,
        "receipt": draw(st.booleans()),
        "ttl": draw(st.sampled_from((None, None, 1, 2_000))),
        "body": draw(_bodies),
    }
    settles = draw(st.none() | st.none() | _backs)
    told, at = draw(st.booleans()), draw(st.none() | st.just(77))

    def make(run: Run) -> base.Operation:
        notice = run.notice(sender) if told else None
        return base.Accept(
            epoch=run.epoch(sender, epoch),
            settles=None if settles is None else run.seq(sender, settles),
            full_notice=base.FullNotice(notice.id, b'{"full":', b"}") if notice else None,
            delivered_at=None if settles is None else at,
            **fields,
        )

    return make


@st.composite
def runs(draw: st.DrawFn) -> list[Recipe]:
    """Plain messages of one agent to another, one after the other."""
    sender = draw(st.sampled_from((*AGENTS, *AGENTS, HUB, "nobody")))
    to = parse_address(draw(st.sampled_from((*AGENTS, *AGENTS, "nobody"))))
    epoch, priority = draw(_epochs), draw(st.integers(2, 4))
    mails = draw(
        st.lists(st.tuples(st.sampled_from(IDS), _bodies, st.booleans()), min_size=2, max_size=9)
    )

    def recipe(id_: str, body: bytes, receipt: bool) -> Recipe:
        return lambda run: base.Accept(
            sender=sender,
            epoch=run.epoch(sender, epoch),
            address=to,
            id=id_,
            type="RESULT" if receipt else "COMMAND",
            priority=priority,
            thread=None,
            reply_to=None,
            receipt=receipt,
            ttl=None,
            body=body,
        )

    return [recipe(*mail) for mail in mails]


@st.composite
def _marks(draw: st.DrawFn) -> Recipe:
    agent, which, backs = draw(_mailboxes), draw(_epochs), draw(_some_backs)
    kind = draw(st.sampled_from(("settle", "settle", "read", "read", "delivered", "requeue")))
    at = draw(st.none() | st.just(77))
    lease_ms, want = draw(_leases), draw(st.booleans())

    def make(run: Run) -> base.Operation:
        epoch, seqs = run.epoch(agent, which), _seqs(run, agent, backs)
        if kind == "settle":
            return base.Settle(agent, epoch, seqs, (at,) * len(seqs))
        if kind == "read":
            return base.Read(agent, epoch, seqs, lease_ms, want)
        if kind == "delivered":
            return base.Delivered(agent, epoch, tuple((seq, seq * 10) for seq in seqs))
        return base.Requeue(agent, epoch, seqs)

    return make


@st.composite
def _session(draw: st.DrawFn) -> Recipe:
    agent, which, backs = draw(_mailboxes), draw(_epochs), draw(_some_backs)
    kinds = (
        "leave",
        "leave",
        "update",
        "forget",
        "unassign",
        "unassign",
        "pause",
        "go on",
        "go on",
    )
    limit, again = draw(st.sampled_from((1, 2, 200))), draw(st.booleans())
    kind = draw(st.sampled_from(kinds))
    status = draw(st.none() | st.just('{"text":"busy"}'))
    join, leave = (draw(st.none() | st.sampled_from(GROUPS)) for _ in range(2))

    def make(run: Run) -> base.Operation:
        epoch = run.epoch(agent, which)
        if kind == "leave":
            return base.Leave(agent, epoch, _seqs(run, agent, backs))
        if kind == "update":
            return base.Update(agent, epoch, status, join, leave)
        if kind == "forget":
            return base.Forget(agent, epoch)
        if kind in ("pause", "go on"):
            on = kind == "pause"
            return base.Pause(agent, on, status or "", limit, again and not on)
        return base.Unassign(agent)

    return make


@st.composite
def _discard(draw: st.DrawFn) -> Recipe:
    agent, which, back = draw(_mailboxes), draw(_epochs), draw(_backs)
    outcome = draw(st.sampled_from(_ENDINGS))
    to = draw(st.none() | st.sampled_from((*AGENTS, "nobody")))
    unread_only = draw(st.booleans())

    def make(run: Run) -> base.Operation:
        epoch, seq = run.epoch(agent, which), run.seq(agent, back)
        return base.Discard(agent, epoch, seq, outcome, "why", run.notice(to), unread_only)

    return make


_digests = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(("d1", "d2"))), max_size=2)
_heads = st.builds(
    base.Head,
    chain=st.sampled_from(("trail", "local")),
    number=st.integers(1, 3),
    hash=st.just("aa"),
    at=st.just(5),
    kid=st.just("kid"),
    signature=st.just("sig"),
)
_archives = st.builds(
    base.Archive,
    node=st.sampled_from(("n1", "n1", "n1", "n2")),
    upto=st.integers(0, 30),
    heads=st.lists(_heads, max_size=2).map(tuple),
    digests=_digests.map(tuple),
    ends=st.sampled_from((False, False, False, True)),
)


@st.composite
def _duties(draw: st.DrawFn) -> Recipe:
    kind = draw(
        st.sampled_from(("fetch", "fetch", "assign", "assign", "sweep", "retry", "archive"))
    )
    agent, which, back = draw(_mailboxes), draw(_epochs), draw(_backs)
    limit, size = draw(st.integers(1, 4)), draw(st.sampled_from((1, 40, 1000)))
    after = draw(st.none() | st.tuples(st.integers(1, 5), _backs))
    late = draw(st.none() | st.integers(0, 5_000))
    capability = draw(st.sampled_from((*CAPABILITIES, "none")))
    archive = draw(_archives)

    def make(run: Run) -> base.Operation:
        if kind == "fetch":
            start = None if after is None else (after[0], run.seq(agent, after[1]))
            return base.Fetch(agent, run.epoch(agent, which), start, limit, size)
        if kind == "assign":
            return base.Assign(capability, limit)
        if kind == "sweep":
            behind = None if late is None else (run.now - late, run.seq(agent, back), agent)
            return base.Sweep(limit, after=behind)
        if kind == "archive":
            return archive
        return base.Retry(agent, run.seq(agent, back))

    return make


@st.composite
def _tokens(draw: st.DrawFn) -> Recipe:
    if draw(st.booleans()):
        return partial(_same, base.Introduce(draw(st.sampled_from((*AGENTS, "eve")))))
    token = draw(st.sampled_from(("", "", "t1", "t2")))
    what = base.Revocation(
        token,
        "" if token else draw(_agents),
        0 if token else draw(st.sampled_from((1, 900_000, 1_500_000))),
        draw(st.sampled_from((None, 900_000, 1_100_000, 1_500_000))),
    )
    return partial(_same, base.Revoke(what))


_orders = st.builds(
    base.OrderFolder, st.booleans(), st.sampled_from(("", "why", "höchste Zeit"))
).map(lambda op: partial(_same, op))


everyone: list[Recipe] = [
    partial(
        _same,
        base.Register(name, "n1", "s", True, False, 60_000, CAPABILITIES[n:], GROUPS[: n % 3]),
    )
    for n, name in enumerate(AGENTS)
]
"""Registrations to begin with, and an archiver."""
everyone.append(partial(_same, base.Archive("n1", 0)))

recipes: st.SearchStrategy[Recipe] = st.one_of(
    _register(),
    _accept(),
    _accept(),
    _accept(),
    _marks(),
    _session(),
    _discard(),
    _duties(),
    _tokens(),
    _orders,
)
batches = st.lists(
    st.tuples(
        st.sampled_from((NAMESPACES[0],) * 5 + NAMESPACES[1:]), st.lists(recipes, max_size=8)
    ),
    max_size=3,
)
pauses = st.sampled_from((0, 1, 400, 1_000, 5_000, 61_000, 200_000))
retentions = st.builds(
    base.Retention,
    max_age_ms=st.sampled_from((1_000, 100_000)),
    max_bytes=st.sampled_from((0, 60, 10_000)),
    dedup_ms=st.sampled_from((0, 5_000, 100_000)),
    dedup_ids=st.sampled_from((0, 1, 3, 1_000)),
    archiver_ms=st.sampled_from((5_000, 100_000)),
)


def every_question(last_seq: int) -> list[base.Query]:
    """All that can be asked of the small world."""
    middle = last_seq // 2
    questions: list[base.Query] = [
        base.Agents(),
        base.Agents(capability="plan", online=True),
        base.Agents(group="ops", online=False),
        base.DeadLetters(None, 0, 100),
        base.DeadLetters(None, middle, 2),
        base.Trail(0, 1_000),
        base.Trail(3, 2),
        base.Archives(),
        base.Archives(since=2),
        base.Revocations(),
    ]
    for name in dict.fromkeys(MAILBOXES):
        questions += [
            base.Agents(id=name),
            base.Peek(name, 3),
            base.History(name, None, 0, 100),
            base.History(name, None, middle, 2),
            base.DeadLetters(name, 0, 100),
        ]
        questions += [base.History(name, thread, 0, 100) for thread in THREADS]
        questions += [base.Trace(name, id_) for id_ in IDS]
    return questions
