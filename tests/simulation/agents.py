"""An agent's process in simulated time: the real ``AgentCore``, and an application.

It does what ``trishula.Agent`` does around the core: dials, backs off, hands out deliveries,
keeps what must survive on its disk. It writes down what it sees for the checker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

import msgspec

from tests.simulation.clock import Alarm, Scheduler
from tests.simulation.hubs import WALL_MS, HubHost
from tests.simulation.plan import AgentPlan, SendPlan
from tests.simulation.wire import Link
from tests.support import history
from tests.support.history import Log, MessageKey, digest
from trishula import events
from trishula.core import AgentCore
from trishula.inbox import Delivery
from trishula.outbox import Outgoing
from trishula_protocol.address import HUB
from trishula_protocol.backoff import full_jitter_ms
from trishula_protocol.bodies import ErrorBody, Register
from trishula_protocol.codec import JSON
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import CloseCode

RESEND_MS = 700
"""When the application tries again what was refused as retryable."""


class World(Protocol):
    """What an agent is told about the rest."""

    clock: Scheduler

    def hosts_of(self, agent: str) -> list[HubHost]:
        """Where the hubs of its list are, in order."""
        ...

    def expected(self, sender: str, to: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """``(expects, may)`` of a message, as :class:`history.Sent` has them."""
        ...

    def registered(self, agent: AgentHost) -> None:
        """``agent`` has the session of its name now."""
        ...

    def new_link(self, agent: AgentHost, host: HubHost) -> Link:
        """A connection to a hub."""
        ...

    def note(self, line: str) -> None:
        """A line of the trace."""
        ...

    def frame(self, instance: str, way: str, frame: bytes) -> None:
        """A frame arrived at an agent, or left it."""
        ...


@dataclass
class Disk:
    """What survives the process: written in the same moment as what it records."""

    outs: dict[str, bytes] = field(default_factory=dict)
    finished: dict[MessageKey, str | None] = field(default_factory=dict)


class AgentHost:
    """One instance of an agent."""

    def __init__(
        self, world: World, plan: AgentPlan, instance: str, rng: Random, *, receive: bool = True
    ) -> None:
        self.world = world
        self.plan = plan
        self.name = plan.name
        self.instance = instance
        self.log = Log(plan.name, instance)
        self.core: AgentCore | None = None
        self.link: Link | None = None
        self.disk = Disk()
        self.stopped = False
        """Another instance has taken over: this one does not come back by itself."""
        self.wall_offset = 0
        self.running: dict[MessageKey, Delivery] = {}
        self.troubles: list[str] = []
        """What the hub complained about that concerns no message."""
        self._receive = receive
        self._rng = rng
        self._clock = world.clock
        self._waiting: deque[Delivery] = deque()
        self._blocked: deque[Outgoing] = deque()
        self._seqs: dict[int, MessageKey] = {}
        self._answers: dict[str, MessageKey] = {}
        self._sent: dict[str, tuple[SendPlan | None, history.Sent]] = {}
        self._life = 0
        self._ids = 0
        self._dials = 0
        self._hosts = world.hosts_of(plan.name)
        self._at = 0
        """Which of them it is with, or tries next."""
        self._alarm = Alarm(self._clock, self._wake)

    def __repr__(self) -> str:
        return f"<AgentHost {self.instance} {self.core!r} running={len(self.running)}>"

    @property
    def quiet(self) -> bool:
        """Nothing is left to do here."""
        core = self.core
        return self.stopped or (
            core is not None
            and core.active
            and core.idle
            and not self.running
            and not self._waiting
            and not self._blocked
        )

    # --- life ---

    def start(self, fresh: bool) -> None:
        """Start the process, on its disk or on nothing."""
        if self.core is not None:
            return
        self.log(history.Started, fresh=fresh)
        self.stopped = False
        self._life += 1
        self._dials = 0
        plan = self.plan
        self.core = AgentCore(
            Register(
                plan.name,
                capabilities=list(plan.capabilities) if self._receive else None,
                groups=list(plan.groups) if self._receive and plan.groups else None,
                prefetch=plan.prefetch,
                lease_ms=plan.lease_ms,
                heartbeat_ms=plan.heartbeat_ms,
                receive=self._receive,
            ),
            fraction=self._rng.random,
            messages=plan.outbox,
        )
        if fresh:
            self.disk = Disk()
            self._answers.clear()
        else:
            outs = [Outgoing(id, encoded) for id, encoded in self.disk.outs.items()]
            self.core.resume(outs, self.disk.finished.items())
        self._dial(self._life)

    def die(self, back_after: int, fresh: bool) -> None:
        """Kill the process; it is started again after ``back_after``."""
        if self.core is None:
            return
        self.note(f"dies{' and forgets' if fresh else ''}")
        self.core = None
        self._life += 1
        self._waiting.clear()
        self._blocked.clear()
        self.running.clear()
        if self.link is not None:
            self.link.agent_gone()
            self.link = None
        if not self.stopped:
            self._clock.after(back_after, self.start, fresh)

    def _dial(self, life: int) -> None:
        if life != self._life or self.stopped or self.core is None:
            return
        host = self._hosts[self._at]
        if host.hub is None:
            self._dial_later()
            return
        link = self.link = self.world.new_link(self, host)
        self._clock.after(link.latency() * 2, self._connected, life, link, host, host.hub)

    def _dial_later(self) -> None:
        self._at = (self._at + 1) % len(self._hosts)
        wait = full_jitter_ms(self._dials, self._rng.random())
        self._dials += 1
        self._clock.after(max(1, wait), self._dial, self._life)

    def move(self) -> None:
        """Go to the next hub, as an agent does whose first one is well again."""
        core, link = self.core, self.link
        if core is not None and core.active and link is not None:
            self.note("moves")
            link.agent_closes(CloseCode.GOING_AWAY, "moves")
            self.link = None
            core.disconnect(CloseCode.GOING_AWAY, "moves", self._clock.now)
            self._pump()

    def _connected(self, life: int, link: Link, host: HubHost, hub: object) -> None:
        if life != self._life or self.link is not link or self.core is None:
            return
        if host.hub is not hub or link.broken:
            link.broken = True
            self.link = None
            self._dial_later()
            return
        host.connected(link, self.name)
        self.core.connect(f"reg-{self.instance}-{link.number}", self._clock.now)
        self._pump()

    # --- the link ---

    def arrived(self, link: Link, frame: bytes) -> None:
        if link is not self.link or self.core is None:
            return
        self.world.frame(self.instance, "<-", frame)
        self._overhear(frame)
        self.core.receive(frame, self._clock.now)
        self._pump()

    def ended(self, link: Link, code: int, reason: str) -> None:
        if link is not self.link or self.core is None or self.core.session is None:
            return
        self.link = None
        self.core.disconnect(code, reason, self._clock.now)
        self._pump()

    def _overhear(self, frame: bytes) -> None:
        """Log what the core keeps to itself: retryable refusals, and what became of settling."""
        if b'"ERROR"' not in frame and b'"settled"' not in frame:
            return
        for item in JSON.decode(frame, from_hub=True):
            if not isinstance(item, Envelope) or item.seq is not None:
                continue
            payload = item.payload
            if item.type == "ERROR" and payload["code"] == "stale_ack" and not item.reply_to:
                for seq in payload["details"]["seqs"]:
                    key = self._seqs.get(seq)
                    if key in self.disk.finished:
                        self.log(history.Stale, sender=key.sender, id=key.id)
            elif item.type == "ERROR":
                known = self._sent.get(item.reply_to or "")
                if known and payload["retryable"] and item.reply_to in self.disk.outs:
                    code = payload["code"]
                    self.log(history.Refused, id=item.reply_to, code=code, retryable=True)
            elif item.type == "ACK" and payload.get("stage") == "settled":
                for seq in payload["seqs"]:
                    key = self._seqs.get(seq)
                    if key in self.disk.finished:
                        self.log(history.Settled, sender=key.sender, id=key.id)

    def _wake(self) -> None:
        core = self.core
        if core is not None:
            due = core.next_timeout()
            if due is not None and due <= self._clock.now:
                core.timeout(self._clock.now)
            self._pump()

    def _pump(self) -> None:
        """Act on what the core reports and write what it has to say."""
        core = self.core
        assert core is not None
        life = self._life
        while found := core.events():
            for event in found:
                self._on_event(core, event)
                if life != self._life:
                    return
        self._unblock(core)
        self._hand_out(core)
        if life != self._life:
            return
        link = self.link
        if link is not None:
            for frame in core.frames():
                self.world.frame(self.instance, "->", frame)
                link.up.send(frame)
        self._alarm.set(core.next_timeout())

    def _on_event(self, core: AgentCore, event: events.Event) -> None:
        match event:
            case events.NewMail():
                self._mail(core, event.deliveries)
            case events.Accepted():
                for out in event.outs:
                    self._accepted(out.id)
            case events.Refused():
                self._refused(core, event.out, event.error)
            case events.Returned():
                self._returned(event.command_id, event.envelope)
            case events.Answered():
                event.out.waiter(event.payload)
            case events.StaleMail():
                self._waiting = deque(filter(core.inbox.holds, self._waiting))
                for delivery in event.deliveries:
                    self._stale(core, delivery)
            case events.Active():
                self._dials = 0
                self.world.registered(self)
            case events.Hangup():
                if self.link is not None:
                    self.link.agent_closes(event.code, event.reason)
                    self.link = None
                core.disconnect(event.code, event.reason, self._clock.now)
            case events.Lost():
                self._lost(event)
            case events.Trouble():
                self.troubles.append(event.reason)

    def _lost(self, event: events.Lost) -> None:
        self.note(f"lost its link: {event.code} {event.reason}")
        self._waiting.clear()
        if event.code == CloseCode.TAKEN_OVER:
            self.stopped = True
        else:
            self._dial_later()

    # --- sending ---

    def send(self, plan: SendPlan) -> None:
        """The application sends a planned message."""
        if self.core is None or self.stopped:
            return
        payload = {"deeds": plan.deeds, "ms": plan.work_ms, "n": self._ids}
        if plan.size:
            payload["pad"] = "x" * plan.size
        envelope = Envelope(
            plan.kind,
            to=plan.to,
            priority=plan.priority,
            ttl=plan.ttl,
            receipt=plan.receipt,
            payload=payload,
        )
        self._submit(envelope, plan)

    def _submit(self, envelope: Envelope, plan: SendPlan | None, answers: Any = None) -> None:
        core = self.core
        assert core is not None
        self._ids += 1
        id = envelope.id = f"{self.instance}-{self._ids}"
        envelope.timestamp = WALL_MS + self._clock.now + self.wall_offset
        assert envelope.to is not None
        expects, may = self.world.expected(self.name, envelope.to)
        self.log(
            history.Sent,
            id=id,
            to=envelope.to,
            priority=envelope.priority,
            n=self.log.number(envelope.to, envelope.priority),
            expects=expects,
            may=may,
            digest=_digest(envelope),
            ttl=envelope.ttl,
            reply_to=envelope.reply_to,
            settles=envelope.settles is not None,
        )
        sent = self.log.events[-1]
        assert isinstance(sent, history.Sent)
        self._sent[id] = (plan, sent)
        encoded = core.encode(envelope)
        self.disk.outs[id] = encoded
        out = Outgoing(id, encoded, patient=plan is None or plan.patient)
        if answers is not None:
            out.answers = answers
            core.inbox.answered(answers)
        if plan is not None and plan.wait:
            core.commands.expect(id, id)
            if plan.patience_ms is not None:
                self._clock.after(plan.patience_ms, self._give_up, self._life, id)
        if plan is not None and plan.recall_ms is not None:
            self._clock.after(plan.recall_ms, self.recall, self._life, id)
        self._queue(core, out)

    def _queue(self, core: AgentCore, out: Outgoing) -> None:
        if self._blocked or core.outbox.full:
            self._blocked.append(out)
        else:
            core.send(out)
        self._clock.after(0, self._wake)

    def _unblock(self, core: AgentCore) -> None:
        while self._blocked and not core.outbox.full:
            core.send(self._blocked.popleft())

    def _give_up(self, life: int, id: str) -> None:
        if life == self._life and self.core is not None:
            self.log(history.Abandoned, id=id)
            self.core.commands.abandon(id)

    def recall(self, life: int, id: str) -> None:
        """Ask the hub to take a message back."""
        if life != self._life or self.core is None or self.stopped:
            return

        def answered(payload: Any) -> None:
            self.log(history.Recalled, id=id, agents=tuple(payload["recalled"]))

        self.log(history.Recalling, id=id)
        self._ask({"op": "recall", "id": id}, answered)

    def tell_unheard(self, refused: Mapping[str, str]) -> None:
        """Log refusals that were lost on the way: sent again, such a message lost its place."""
        heard = {event.id for event in self.log.events if isinstance(event, history.Refused)}
        for id in self._sent:
            if id in refused and id not in heard:
                self.log(history.Refused, id=id, code=refused[id], retryable=True)

    def join(self, group: str, member: bool) -> None:
        """Enter or leave a group."""
        core = self.core
        if core is not None and not self.stopped:
            op = {"op": "join" if member else "leave", "group": group}
            self._ask(op, lambda _: core.joined(group, member))

    def pause(self, agent: str, reason: str | None) -> None:
        """As an operator, stop the deliveries of ``agent``, or (None) let them go on."""
        if self.core is not None and not self.stopped:
            on = {} if reason is None else {"reason": reason}
            op = "resume" if reason is None else "pause"
            self._ask({"op": op, "agent": agent, **on}, lambda _: None)

    def _ask(self, payload: dict[str, Any], waiter: Callable[[Any], None]) -> None:
        assert self.core is not None
        self._ids += 1
        id = f"{self.instance}-q{self._ids}"
        envelope = Envelope("COMMAND", id=id, to=HUB, payload=payload)
        self._queue(self.core, Outgoing(id, self.core.encode(envelope), waiter, stored=False))

    def _accepted(self, id: str) -> None:
        self.disk.outs.pop(id, None)
        self.log(history.Accepted, id=id)
        key = self._answers.pop(id, None)
        if key is not None:
            self.log(history.Settled, sender=key.sender, id=key.id)

    def _refused(self, core: AgentCore, out: Outgoing, error: ErrorBody) -> None:
        if not out.stored:
            return
        id = out.id
        self.note(f"refused: {id} {error.code} {error.message}")
        encoded = self.disk.outs.pop(id, None)
        if not error.retryable:
            self.log(history.Refused, id=id, code=error.code)
        key = self._answers.pop(id, None)
        if key is not None:
            if error.code == "stale_ack":
                self.log(history.Stale, sender=key.sender, id=key.id)
            if out.answers is not None:
                core.done(out.answers)  # the work is done, whoever hears of it
        elif error.retryable and encoded is not None:
            self._clock.after(RESEND_MS, self._resend, self._life, id, encoded)

    def _resend(self, life: int, id: str, encoded: bytes) -> None:
        """The application tries again, under the same id."""
        core = self.core
        if life != self._life or core is None or self.stopped:
            return
        plan, sent = self._sent[id]
        fields = msgspec.structs.asdict(sent)
        for name in ("instance", "agent", "count"):
            del fields[name]
        self.log(history.Sent, **fields)
        self.disk.outs[id] = encoded
        self._queue(core, Outgoing(id, encoded, patient=plan is None or plan.patient))

    # --- receiving ---

    def _mail(self, core: AgentCore, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            self._waiting.append(delivery)

    def _hand_out(self, core: AgentCore) -> None:
        life = self._life
        while self._waiting and len(self.running) < self.plan.concurrency:
            delivery = self._waiting.popleft()
            core.take(delivery)
            if delivery.envelope.sender == HUB:
                self._notice(delivery.envelope)
                self.disk.finished[MessageKey(*delivery.key)] = None
                self._known_seq(delivery.envelope)
                core.done(delivery)
                continue
            self._hand(delivery)
            if life != self._life:
                return

    def _known_seq(self, envelope: Envelope) -> None:
        if envelope.seq and envelope.sender and envelope.id and envelope.sender != HUB:
            self._seqs[envelope.seq] = MessageKey(envelope.sender, envelope.id)

    def _hand(self, delivery: Delivery) -> None:
        envelope = delivery.envelope
        key = MessageKey(*delivery.key)
        self._known_seq(envelope)
        self.log(
            history.Handed,
            sender=key.sender,
            id=key.id,
            seq=envelope.seq,
            attempt=envelope.attempt,
            priority=envelope.priority,
            digest=_digest(envelope),
        )
        self.running[key] = delivery
        payload = envelope.payload
        if envelope.type in ("RESULT", "ERROR"):
            deed, work = "done", 0
        else:
            deeds = payload["deeds"]
            deed = deeds[min(delivery.attempt, len(deeds)) - 1]
            work = payload["ms"]
        if deed == "slow":
            work = int(self.plan.lease_ms * self._rng.choice((1.2, 2.5)))
            deed = "answer" if envelope.type == "COMMAND" else "done"
        if work:
            self._clock.after(work, self._finish, self._life, key, delivery, deed)
        else:
            self._finish(self._life, key, delivery, deed)

    def _finish(self, life: int, key: MessageKey, delivery: Delivery, deed: str) -> None:
        core = self.core
        if life != self._life or core is None or self.running.get(key) is not delivery:
            return
        del self.running[key]
        if deed in ("crash", "forget"):
            self._clock.after(0, self.die, 30, deed == "forget")
            return
        if deed == "fail":
            self.log(history.Ended, sender=key.sender, id=key.id, how="failed")
            core.reject(delivery, "failed", True)
        else:
            rejected = "no" if deed == "reject" else None
            how = "done" if rejected is None else "rejected"
            self.log(history.Ended, sender=key.sender, id=key.id, how=how)
            self.disk.finished[key] = rejected
            if rejected is not None:
                core.reject(delivery, rejected, False)
            elif deed == "answer":
                self._answer(key, delivery)
            else:
                core.done(delivery)
        self._clock.after(0, self._wake)

    def _answer(self, key: MessageKey, delivery: Delivery) -> None:
        request = delivery.envelope
        answer = Envelope(
            "RESULT",
            to=request.sender,
            priority=request.priority,
            reply_to=request.id,
            settles=delivery.seq,
            payload={"of": request.payload["n"]},
        )
        self._answers[f"{self.instance}-{self._ids + 1}"] = key
        self._submit(answer, None, delivery)

    def _stale(self, core: AgentCore, delivery: Delivery) -> None:
        key = MessageKey(*delivery.key)
        self.log(history.Stale, sender=key.sender, id=key.id)
        if self.running.get(key) is delivery and self._rng.random() < 0.5:
            del self.running[key]  # the application cancels its handler
            self.log(history.Ended, sender=key.sender, id=key.id, how="failed")
            core.reject(delivery, "cancelled", True)

    def _returned(self, command_id: str, envelope: Envelope) -> None:
        key = MessageKey(envelope.sender or "", envelope.id or "")
        self.disk.finished[key] = None
        if key.sender == HUB:
            self._notice(envelope)
            return
        self._known_seq(envelope)
        self.log(
            history.Handed,
            sender=key.sender,
            id=key.id,
            seq=envelope.seq,
            attempt=envelope.attempt,
            priority=envelope.priority,
            digest=_digest(envelope),
            answer=True,
        )

    def _notice(self, envelope: Envelope) -> None:
        details = envelope.payload.get("details") or {}
        self.log(
            history.Noticed,
            id=envelope.id,
            about=envelope.reply_to,
            code=envelope.payload["code"],
            agents=tuple(details.get("agents", ())),
        )

    def note(self, line: str) -> None:
        """A line of the trace."""
        self.world.note(f"{self.instance} {line}")


def _digest(envelope: Envelope) -> str:
    return digest(
        envelope.type,
        envelope.to or "",
        envelope.priority,
        envelope.reply_to,
        envelope.payload,
    )
