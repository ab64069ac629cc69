"""The hub's process in simulated time: the real core over the real store in memory.

What ``trishula_broker.net.driver`` does with an event loop is done here with the scheduler: one
turn after whatever happens, one commit in flight, questions beside it. The store outlives the
process; everything else is thrown away when it is killed. Several hosts may share the store; then
the hints between them are lost and late as the plan says.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from random import Random
from typing import Any, Literal

from tests.simulation.clock import Alarm, Scheduler
from tests.simulation.wire import Link
from trishula_broker.auth.identity import Identity
from trishula_broker.auth.revocations import Revocations
from trishula_broker.hub.effects import Close, Note, Pause, Record, Resume, Send
from trishula_broker.hub.hub import Hub
from trishula_broker.hub.now import Now
from trishula_broker.hub.questions import Question
from trishula_broker.hub.settings import HubSettings
from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore
from trishula_protocol.codec import JSON
from trishula_protocol.errors import ProtocolError

NAMESPACE = "sim"
WALL_MS = 1_700_000_000_000
"""What people call the time when the scheduler's clock is at 0."""
FAILURE_PAUSE_MS = 100
"""As the driver's."""
NOTICED_MS = 2_500
"""Whoever stands still longer than this notices: two beats are late."""
KNOWN_MS = 6_500
"""Who has been paused for so long is paused on every hub, whatever was lost on the way."""
RESTART_MS = 50
"""How long a drained hub takes to be back."""

Applied = Literal["none", "some", "all"]
"""How much of a commit happened although nobody heard of it."""


def run_at_once(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waited")


class HubHost:
    """A host on which the hub runs, dies and is started again.

    Args:
        store: as this host has it.
        name: of the node; each start of an only one, which has none, is another node.
        commit_ms: a commit takes up to this long.
        hint_ms: a hint takes up to this long.
        wrong: told of what a hub must not do.
        paused: who is paused in the store: why, and since when; kept by all of them.
        led: gets each sweep and ending of a node: the lease's epoch, or 0, and by which process.
        note: gets a line of the trace.
        identities: who agents are proven to be, by name; None on a hub without keys.
    """

    def __init__(
        self,
        clock: Scheduler,
        rng: Random,
        settings: HubSettings,
        store: MemoryStore,
        name: str,
        role: str,
        commit_ms: int,
        hint_ms: int,
        led: list[tuple[int, str]],
        paused: dict[str, tuple[str, int]],
        wrong: Callable[[str], None],
        note: Callable[[str], None] | None,
        identities: Mapping[str, Identity] | None,
    ) -> None:
        self.clock = clock
        self.store = store
        self.name = name
        self._role = role
        self._hint_ms = hint_ms
        self.lossy = False
        """Most hints do not arrive."""
        self.late_ms = 0
        """Extra time of every hint."""
        self._led = led
        self._paused = paused
        self._knows: dict[str, tuple[str, int]] = {}
        """Who is paused as far as this process was told: why, and since when."""
        self._learned: dict[str, tuple[str, int]] = {}
        """What it was told and has not acted on yet."""
        self._slow_links: set[int] = set()
        """Links on which something may have been held back for long."""
        self._wrong = wrong
        self._position = 0
        store.on_hints(self._hinted)
        if name:
            store.link.carry = self._carry
        self.hub: Hub | None = None
        self.wall_offset = 0
        self.links: dict[int, Link] = {}
        self.outage: tuple[Applied, ...] | None = None
        """While the store is unavailable: how much of a commit may be applied unheard."""
        self.slow_ms = 0
        """Extra time of every commit."""
        self.starts = 0
        self.refused: dict[str, str] = {}
        """Codes of the store's refusals by message id, heard or not."""
        self.on_up: list[Callable[[], None]] = []
        """Called once, when the hub is up again."""
        self._rng = rng
        self._settings = settings
        self._commit_ms = commit_ms
        self._note = note
        self._identities = identities
        self._committing: list[base.Operation] | None = None
        self._outcomes: list[base.Outcome] | None = None
        self._resting = False
        self._turning = False
        self._alarm = Alarm(clock, self._wake)
        self._frozen: list[Callable[[], None]] | None = None
        self._unproved = False
        """It stood still, and no beat that it said since has been answered."""
        self._proof: list[base.Operation] | None = None
        """The commit with such a beat."""
        self._stalled = 0
        self._draining = False

    def now(self) -> Now:
        """What the hub takes the time for."""
        return Now(self.clock.now, self.wall)

    @property
    def steady(self) -> bool:
        """It runs, and no connection is slow."""
        return self.hub is not None and self._frozen is None and not self._stalled

    @property
    def wall(self) -> int:
        """The host's wall clock."""
        return WALL_MS + self.clock.now + self.wall_offset

    # --- life ---

    def start(self) -> None:
        """Start a hub on what the disk has."""
        if self.hub is not None:
            return
        self.starts += 1
        run_at_once(self.store.open())
        self.hub = Hub(
            namespace=NAMESPACE,
            node=self.name or f"n{self.starts}",
            role=self._role,
            life=f"life {self.starts}",
            settings=self._settings,
            revocations=None if self._identities is None else Revocations(),
        )
        self._draining = self._resting = self._unproved = False
        self._frozen = None
        self._committing = self._outcomes = None
        self._knows, self._learned = {}, {}
        self._alarm = Alarm(self.clock, self._wake)
        self._trace("hub starts")
        self._soon()
        waiting, self.on_up = self.on_up, []
        for call in waiting:
            call()

    def crash(self, politely: bool) -> None:
        """Kill the process (and the whole host with its TCP state when not ``politely``)."""
        if self.hub is None:
            return
        self._trace(f"hub dies with {self.hub!r}")
        self.hub = None
        self._abort_commit(self._rng.choice(("none", "some", "all")))
        self._stop_serving()
        links, self.links = self.links, {}
        for link in links.values():
            link.hub_gone(politely)

    def _stop_serving(self) -> None:
        if self.name:
            run_at_once(self.store.close())

    def drain(self) -> None:
        """Stop in an orderly way, and come back."""
        if self.hub is not None and not self._draining:
            self._draining = True
            self._trace("hub drains")
            self.hub.drain(self.now())
            self._soon()

    def freeze(self, ms: int) -> None:
        """Stop the process for ``ms``; what happens meanwhile is seen afterwards."""
        if self.hub is not None and self._frozen is None:
            self._trace(f"hub frozen for {ms} ms")
            self._carry_out(self.hub)
            self._frozen = []
            self._unproved = ms > NOTICED_MS
            self._proof = None
            self.clock.after(ms, self._thaw, self.hub)

    def _thaw(self, hub: Hub) -> None:
        if hub is self.hub and self._frozen is not None:
            missed, self._frozen = self._frozen, None
            self._trace("hub thawed")
            # A late timer is noticed before what waits in the sockets, as in an event loop.
            self._wake()
            for call in missed:
                call()

    # --- connections ---

    def connected(self, link: Link, agent: str) -> None:
        """A connection is up; its token is that of ``agent``."""
        self.links[link.number] = link
        identity = self._identities[agent] if self._identities is not None else None
        self._tell(lambda hub: hub.connect(link.number, JSON, "sim", identity, self.now()))

    def arrived(self, link: Link, frame: bytes) -> None:
        def receive(hub: Hub) -> None:
            try:
                items = JSON.decode(frame)
            except ProtocolError as error:
                hub.unreadable(link.number, error, self.now())
            else:
                hub.receive(link.number, items, len(frame), self.now())

        if link.number in self.links:
            self._tell(receive)

    def ended(self, link: Link, code: int, reason: str) -> None:
        if self.links.pop(link.number, None) is not None:
            self._tell(lambda hub: hub.disconnect(link.number, reason, self.now()))

    def stall(self, link: Link, ms: int) -> None:
        """The agent's host takes nothing from this connection for ``ms``."""
        number = link.number
        if number in self.links:
            self._slow_links.add(number)
            link.down.delay(self.clock.now + ms)
            self._tell(lambda hub: hub.writable(number, False, self.now()))
            self._stalled += 1
            self.clock.after(ms, self._unstall, number)

    def _unstall(self, number: int) -> None:
        self._stalled -= 1
        self._tell(lambda hub: hub.writable(number, True, self.now()))

    def _tell(self, event: Callable[[Hub], None]) -> None:
        hub = self.hub
        if hub is None:
            return
        if self._frozen is not None:
            # For this process only: what a dead one had not read is lost with it.
            self._frozen.append(lambda: self._tell(event) if self.hub is hub else None)
            return
        event(hub)
        self._soon()

    # --- the turn ---

    def _soon(self) -> None:
        if not self._turning:
            self._turning = True
            self.clock.after(0, self._turn)

    def _turn(self) -> None:
        self._turning = False
        hub = self.hub
        if hub is None or self._frozen is not None:
            return
        if self._committing is None and not self._resting:
            self._commit(hub)
        for question in hub.questions():
            self.clock.after(self._rng.randrange(3), self._answer, hub, question)
        self._carry_out(hub)
        self._alarm.set(hub.next_timeout())
        if self._draining and hub.drained and not self.links:
            self._trace("hub drained")
            self.hub = None
            self._stop_serving()
            self.clock.after(RESTART_MS, self.start)

    def _wake(self) -> None:
        hub = self.hub
        if hub is not None and self._frozen is None:
            due = hub.next_timeout()
            if due is not None and due <= self.clock.now:
                hub.timeout(self.now())
            self._soon()

    def _carry_out(self, hub: Hub) -> None:
        for effect in hub.effects():
            if isinstance(effect, Note):
                self._trace(f"hub notes {effect.event} {effect.fields}")
                continue
            if isinstance(effect, Record):
                continue
            link = self.links.get(effect.link)
            if link is None:
                continue
            if isinstance(effect, Send):
                self._watch_paused(hub, effect)
                if self._unproved and not self._stalled and b'"attempt":' in effect.frame:
                    self._wrong(f"{self.name} delivers before it knows whom: {effect.frame!r}")
                link.down.send(effect.frame)
            elif isinstance(effect, Close):
                del self.links[effect.link]
                self._trace(f"hub closes {link!r}: {effect.code} {effect.reason}")
                link.hub_closes(effect.code, effect.reason)
            elif isinstance(effect, Pause):
                link.up.hold()
            elif isinstance(effect, Resume):
                link.up.release()
        self._knows |= self._learned
        self._learned = {}

    def _watch_paused(self, hub: Hub, send: Send) -> None:
        """Nothing goes out to who is paused, by a hub that knows it, or could know it by now."""
        if b'"attempt":' not in send.frame or send.link in self._slow_links:
            return
        session = hub._sessions.get(send.link)
        paused = self._paused.get(session.agent) if session is not None else None
        if session is None or paused is None:
            return
        why, since = paused
        if self._knows.get(session.agent) == paused or self.clock.now > since + KNOWN_MS:
            self._wrong(f"{self.name} delivers to {session.agent}, {why}: {send.frame!r}")

    def _learn(self, agent: str) -> None:
        if agent in self._paused:
            self._learned[agent] = self._paused[agent]

    # --- the store ---

    def _commit(self, hub: Hub) -> None:
        ops = hub.ops_to_commit()
        if not ops:
            return
        self._committing = ops
        self._outcomes = None
        if self._unproved and any(isinstance(op, base.Beat) for op in ops):
            self._proof = ops
        rng = self._rng
        took = rng.randrange(self._commit_ms + 1) + self.slow_ms
        # The store may have done it long before it says so, or only just.
        if self.outage is None and rng.random() < 0.5:
            self._outcomes = self._apply(ops)
        self.clock.after(took, self._commit_over, hub, ops)

    def _apply(self, ops: Sequence[base.Operation]) -> list[base.Outcome]:
        self._position = self.store.link.last
        # A store that several hosts share has a clock of its own.
        wall = WALL_MS + self.clock.now if self.name else self.wall
        [outcomes] = self.store.apply(wall, [base.Batch(NAMESPACE, ops)])
        for op, outcome in zip(ops, outcomes, strict=True):
            if isinstance(op, base.Sweep | base.EndNode) and not isinstance(outcome, base.Fenced):
                self._led.append((op.lead, f"{self.name} {self.starts}"))
            elif isinstance(op, base.Accept) and isinstance(outcome, base.Refused):
                self.refused[op.id] = outcome.code
            elif isinstance(op, base.Pause) and isinstance(outcome, base.Paused):
                if op.on:
                    # Said twice it goes on; after a resume it is another one.
                    before = self._paused.get(op.agent, ("", 0))
                    if before[0] != op.reason:
                        self._paused[op.agent] = op.reason, self.clock.now
                elif not (outcome.more or outcome.overtaken):
                    self._paused.pop(op.agent, None)
        return outcomes

    def _abort_commit(self, applied: Applied) -> None:
        """Nobody will hear what became of the commit in flight; decide it."""
        ops, self._committing = self._committing, None
        if ops is None or self._outcomes is not None:
            return
        count = {"none": 0, "some": self._rng.randrange(len(ops) + 1), "all": len(ops)}[applied]
        self._trace(f"of a commit of {len(ops)} nobody hears; applied: {count}")
        if count:
            self._apply(ops[:count])

    def _commit_over(self, hub: Hub, ops: list[base.Operation]) -> None:
        if hub is not self.hub:
            return
        if self._frozen is not None:
            self._frozen.append(lambda: self._commit_over(hub, ops))
            return
        if self.outage is not None:
            self._abort_commit(self._rng.choice(self.outage))
            self._committing = self._outcomes = None
            self._resting = True
            hub.commit_failed("simulated outage", self.now())
            self.clock.after(FAILURE_PAUSE_MS, self._rested, hub)
        else:
            outcomes = self._outcomes if self._outcomes is not None else self._apply(ops)
            self._committing = self._outcomes = None
            if self._note:
                for op, outcome in zip(ops, outcomes, strict=True):
                    self._trace(f"store: {op} -> {outcome}")
            if ops is self._proof:
                self._unproved = False
            self._catch_up()
            hub.committed(outcomes, self.now())
            for op in ops:
                if isinstance(op, base.Pause) and self._paused.get(op.agent, ("",))[0] == op.reason:
                    self._learn(op.agent)
        self._soon()

    # --- hints ---

    def _carry(self, number: int) -> None:
        """Bring a hint here; what is lost is missed within a second."""
        link = self.store.link
        if self.outage is not None or (self.lossy and self._rng.random() < 0.7):
            link.lose(number)
            self.clock.after(1_000, self._hint_arrives, number)
        else:
            took = self._rng.randrange(self._hint_ms + 1) + self.late_ms
            self.clock.after(took, self._hint_arrives, number)

    def _catch_up(self) -> None:
        """A commit returns: what was caused before it is told, or missed."""
        self.store.link.arrive(self._position)

    def _hint_arrives(self, number: int) -> None:
        if self.outage is not None:
            self.clock.after(1_000, self._hint_arrives, number)
        else:
            self.store.link.arrive(number)

    def _hinted(self, namespace: str, hints: Sequence[base.Hint]) -> None:
        self._trace(f"hint {hints}")

        def hear(hub: Hub) -> None:
            hub.hinted(hints, self.now())
            for hint in hints:
                if isinstance(hint, base.Mail) and hint.copy is None and not len(hub._hearing):
                    self._learn(hint.agent)

        self._tell(hear)

    def _rested(self, hub: Hub) -> None:
        if hub is self.hub:
            self._resting = False
            self._soon()

    def _answer(self, hub: Hub, question: Question) -> None:
        if hub is not self.hub:
            return
        if self._frozen is not None:
            self._frozen.append(lambda: self._answer(hub, question))
        elif self.outage is not None:
            hub.question_failed(question, "simulated outage", self.now())
            self._soon()
        else:
            hub.answered(question, self.store.answer(NAMESPACE, question.query), self.now())
            self._soon()

    def _trace(self, line: str) -> None:
        if self._note:
            self._note(f"{self.name} {line}" if self.name else line)
