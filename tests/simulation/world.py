"""One simulated run: agents, hubs over one store, what goes wrong between them, and the verdict.

Everything is driven by one scheduler and one seed, so a seed is a run. When the script and the
faults are over the run goes on until quiet; then the checker judges what the agents saw, and
the store and the core are looked into for what the agents cannot see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from random import Random
from unittest.mock import patch

from tests.simulation.agents import AgentHost
from tests.simulation.clock import Scheduler
from tests.simulation.hubs import NAMESPACE, HubHost, run_at_once
from tests.simulation.plan import HOUR_MS, Fault, Plan, SendPlan, make_plan
from tests.simulation.wire import Link
from tests.support import history
from tests.support.history import Abandoned, Ended, Event, Handed, Noticed, Sent, check
from trishula_broker.hub import mailbox as hub_mailbox
from trishula_broker.hub.hub import Hub
from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore
from trishula_broker.store.memory import hints as memory_hints

START_MS = 1_000_000
RESUME_MS = 1_000
"""Between attempts to let go on whoever is still paused at the end."""
LOOK_MS = 500
"""How often it is seen whether all is quiet."""
PATIENCE_MS = 3 * HOUR_MS
"""A run that is not quiet this long after the last fault is stuck. It is more than the longest
wait there is: a retry made due by a wall clock that was then set back by two hours."""
SETTLE_MS = 2_500
"""How long a quiet run goes on, for what is said late: notes to the store, closing sessions."""


@dataclass
class Result:
    """What became of a run."""

    seed: int
    faults: list[str]
    """What is wrong; empty when all is well."""
    events: list[Event]
    lasted_ms: int
    counts: Counter[str] = field(default_factory=Counter)


class World:
    """The run of a plan."""

    def __init__(self, plan: Plan, note: Callable[[str], None] | None = None) -> None:
        self.plan = plan
        self.clock = Scheduler(START_MS)
        self._note = note
        self._rng = Random(plan.seed ^ 0x5EED)
        trace = self.note if note else None
        self.led: list[tuple[int, str]] = []
        """Sweeps and endings of nodes: the lease's epoch, or 0, and by which process."""
        self.paused: dict[str, tuple[str, int]] = {}
        """Who is paused in the store: why, and since when."""
        self.faults: list[str] = []
        self.store = MemoryStore(plan.mail)
        self.hosts = [self._make_host(n, trace) for n in range(plan.hubs)]
        if plan.hubs > 1:
            # As a server of its own does, the store goes on whoever is there.
            run_at_once(self.store.open())
        self._links = 0
        self._all: list[AgentHost] = []
        self._current: dict[str, AgentHost] = {}
        """The instance that counts, by agent."""
        self._sides: dict[str, AgentHost] = {}
        self._known: set[str] = set()

    def _make_host(self, n: int, note: Callable[[str], None] | None) -> HubHost:
        plan = self.plan
        name = f"n{n + 1}" if plan.hubs > 1 else ""
        return HubHost(
            self.clock,
            self._rng,
            plan.settings,
            self.store.node(name) if name else self.store,
            name,
            "failover" if n else "primary",
            plan.commit_ms,
            plan.hint_ms,
            self.led,
            self.paused,
            self.faults.append,
            note,
            plan.identities,
        )

    # --- what agents ask of the world ---

    def note(self, line: str) -> None:
        """A line of the trace."""
        if self._note:
            self._note(f"{self.clock.now - START_MS:>9} {line}")

    def frame(self, instance: str, way: str, frame: bytes) -> None:
        """A frame arrived at an agent, or left it."""
        if self._note:
            self.note(f"{instance} {way} {frame.decode()}")

    def hosts_of(self, agent: str) -> list[HubHost]:
        """Where the hubs of its list are, in order."""
        first = self.plan.homes.get(agent, 0)
        return self.hosts[first:] + self.hosts[:first]

    def new_link(self, agent: AgentHost, host: HubHost) -> Link:
        """A connection to a hub."""
        self._links += 1
        link = Link(self._links, agent, host, self.clock, self._rng, self.plan.latency_ms)
        self.note(f"{agent.instance} dials {link!r}")
        return link

    def registered(self, agent: AgentHost) -> None:
        """``agent`` has the session of its name now."""
        self._known.add(agent.name)
        if agent.instance in {side.instance for side in self._sides.values()}:
            return
        others = [a for a in self._all if a.name == agent.name and a is not agent]
        if others:
            agent.log(history.Registered)
            self._current[agent.name] = agent
            for other in others:
                other.log(history.TakenOver)

    def expected(self, sender: str, to: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Who must get a message, and who may as well."""
        agents = [a for a in self.plan.agents if a.name != sender]
        late = tuple(a.name for a in agents if a.late)
        if to == "broadcast":
            return tuple(a.name for a in agents if not a.late), late
        if to.startswith("#"):
            group = to[1:]
            members = [a for a in agents if group in a.groups]
            sure = tuple(a.name for a in members if not a.late)
            moving = {name for _, name, joined, _ in self.plan.joins if joined == group}
            unsure = moving | {a.name for a in members if a.late}
            return sure, tuple(unsure - {sender, *sure})
        if to.startswith("@"):
            offering = self.plan.offers[to[1:]]
            return tuple(name for name in offering if name != sender), ()
        return (to,), ()

    # --- the run ---

    def run(self) -> Result:
        """Play the plan to its end and judge it."""
        plan = self.plan
        with (
            patch.object(hub_mailbox, "FETCH", plan.fetch),
            patch.object(memory_hints, "HINT_BYTES", plan.hint_bytes),
        ):
            self._play()
        for agent in self._all:
            for host in self.hosts:
                agent.tell_unheard(host.refused)
        events = [event for agent in self._all for event in agent.log.events]
        self.faults += [str(violation) for violation in check(events)]
        if not self.faults or not self.faults[0].startswith("stuck"):
            self._look_into_the_cores()
            self._look_into_the_store(events)
        self._look_into_the_lease()
        if self.plan.calm:
            self._nothing_odd(events)
        return Result(
            self.plan.seed,
            self.faults,
            events,
            self.clock.now - START_MS,
            Counter(type(event).__name__ for event in events),
        )

    def _play(self) -> None:
        clock = self.clock
        for host in self.hosts:
            host.start()
        # Everybody is known before anybody sends, so that it is known who must get what.
        for plan in self.plan.agents:
            agent = AgentHost(self, plan, plan.name, Random(self._rng.random()))
            self._all.append(agent)
            self._current[plan.name] = agent
            if plan.late:
                clock.at(START_MS + plan.late, agent.start, True)
            else:
                agent.start(True)
        early = [a for a in self._all if not a.plan.late]
        self._run_until(lambda: all(a.quiet for a in early), clock.now + 60_000)
        begin = clock.now
        for send in self.plan.sends:
            clock.at(begin + send.at, self._send, send)
        for at, name, group, member in self.plan.joins:
            clock.at(begin + at, self._join, name, group, member)
        for fault in self.plan.faults:
            clock.at(begin + fault.at, self._break, fault)
        for n, (at, operator, name, ms) in enumerate(self.plan.pauses):
            clock.at(begin + at, self._pause, operator, name, f"pause {n}")
            clock.at(begin + at + ms, self._pause, operator, name, None)
        end = begin + self.plan.length_ms
        self._run_until(lambda: clock.now >= end, end + 1)
        self._mend()
        if not self._run_until(self._is_quiet, clock.now + PATIENCE_MS):
            self.faults.append(f"stuck: {self._state()}")
            return
        self._run_until(lambda: False, clock.now + SETTLE_MS)
        self._run_until(self._is_quiet, clock.now + PATIENCE_MS)

    def _run_until(self, reached: Callable[[], bool], limit: int) -> bool:
        """Run until ``reached``, looked at now and then, or until ``limit``."""
        clock = self.clock
        look = clock.now
        clock.at(limit, lambda: None)
        while clock.step():
            if clock.now >= look:
                if reached():
                    return True
                look = clock.now + LOOK_MS
            if clock.now >= limit:
                return reached()
        return reached()

    def _send(self, plan: SendPlan) -> None:
        agent = self._current[plan.sender]
        if plan.side:
            side = self._sides.get(plan.sender)
            if side is None:
                side = AgentHost(
                    self,
                    agent.plan,
                    f"{plan.sender}.side",
                    Random(self._rng.random()),
                    receive=False,
                )
                self._sides[plan.sender] = side
                self._all.append(side)
                side.start(True)
            agent = side
        agent.send(plan)

    def _join(self, name: str, group: str, member: bool) -> None:
        self._current[name].join(group, member)

    def _pause(self, operator: str, name: str, reason: str | None) -> None:
        self._current[operator].pause(name, reason)

    def _resume_all(self) -> None:
        """Whoever is paused goes on, however late somebody said that he is."""
        active = [a for a in self._current.values() if a.core is not None and a.core.active]
        for name in list(self.paused):
            if active:
                active[0].pause(name, None)
        self.clock.after(RESUME_MS, self._resume_all)

    def _is_quiet(self) -> bool:
        if self.paused:
            return False
        for host in self.hosts:
            hub = host.hub
            if hub is None or not host.steady or unfinished(hub) or len(hub._questions):
                return False
            if self.plan.hubs > 1 and not hub._membership.sure(host.now()):
                return False
        if not all(agent.quiet for agent in self._all):
            return False
        # An agent may not yet know that its connection is dead.
        links = [agent.link for agent in self._all if not agent.stopped]
        if any(link is None or link.silent or link.broken for link in links):
            return False
        known = {number for host in self.hosts for number in host.links}
        if any(link is not None and link.number not in known for link in links):
            return False
        return not any(self._peek(box, 1).count for box in self._boxes())

    def _boxes(self) -> list[str]:
        return [*(a.name for a in self.plan.agents), *("@" + c for c in self.plan.offers)]

    def _peek(self, box: str, limit: int) -> base.Peeked:
        peeked: base.Peeked = self.store.answer(NAMESPACE, base.Peek(box, limit))
        return peeked

    def _state(self) -> str:
        boxes = {
            box: [copy.message.id for copy in self._peek(box, 10).heads]
            for box in self._boxes()
            if self._peek(box, 1).count
        }
        busy = [repr(agent) for agent in self._all if not agent.quiet]
        return f"{boxes} wait, {busy} are busy, {[host.hub for host in self.hosts]}"

    # --- what goes wrong ---

    def _break(self, fault: Fault) -> None:
        self.note(f"--- {fault}")
        host, ms = self.hosts[fault.host], fault.ms
        agent = self._current.get(fault.agent)
        link = agent.link if agent is not None else None
        match fault.kind:
            case "reset" if link is not None:
                link.reset()
            case "silence" if link is not None:
                link.silent = True
            case "lag" if link is not None:
                link.up.delay(self.clock.now + ms)
                link.down.delay(self.clock.now + ms)
            case "stall" if link is not None:
                for each in self.hosts:
                    each.stall(link, ms)
            case "kill" if agent is not None:
                agent.die(ms, fresh=not fault.flag)
            case "hub_crash" if host.hub is not None:
                host.crash(politely=fault.flag)
                self.clock.after(ms, host.start)
            case "hub_freeze":
                host.freeze(ms)
            case "drain":
                host.drain()
            case "outage":
                for each in self.hosts:
                    each.outage = fault.applied
                    self.clock.after(ms, self._outage_over, each)
            case "cut_off":
                host.outage = fault.applied
                self.clock.after(ms, self._outage_over, host)
            case "slow_store":
                for each in self.hosts:
                    each.slow_ms = 400
                    self.clock.after(ms, self._quick_again, each)
            case "lossy_hints":
                host.lossy = True
                self.clock.after(ms, self._hints_arrive, host)
            case "late_hints":
                host.late_ms = 700
                self.clock.after(ms, self._hints_arrive, host)
            case "move" if agent is not None:
                agent.move()
            case "hub_clock":
                host.wall_offset = ms
            case "agent_clock" if agent is not None:
                agent.wall_offset = ms
            case "takeover" if agent is not None:
                self._take_over(agent)
            case _:
                pass  # nothing there to break at this moment

    def _outage_over(self, host: HubHost) -> None:
        host.outage = None

    def _quick_again(self, host: HubHost) -> None:
        host.slow_ms = 0

    def _hints_arrive(self, host: HubHost) -> None:
        host.lossy = False
        host.late_ms = 0

    def _take_over(self, agent: AgentHost) -> None:
        """A second process registers under the name."""
        count = sum(a.name == agent.name for a in self._all)
        if count > 2 or agent.plan.late:
            return
        other = AgentHost(self, agent.plan, f"{agent.name}{count + 1}", Random(self._rng.random()))
        self._all.append(other)
        self._current[agent.name] = other
        other.start(True)

    def _mend(self) -> None:
        """All faults end: links hold from now on, clocks are right, everybody is up."""
        self.note("--- faults end")
        for host in self.hosts:
            self._outage_over(host)
            self._quick_again(host)
            self._hints_arrive(host)
            host.wall_offset = 0
            host.start()
        if self.plan.pauses:
            self._resume_all()
        # Two agents whose full mailboxes wait for each other's answers would wait for ever.
        self.store._books.limits = base.MailboxLimits()
        for agent in self._all:
            if agent.core is None and not agent.stopped:
                agent.start(False)
        for agent in self._current.values():
            if agent.stopped:
                # Its last instance was taken over by one that is gone: it comes back.
                agent.die(0, False)
                agent.start(False)

    # --- the verdict ---

    def _look_into_the_cores(self) -> None:
        """What the cores count is back at zero when nothing is going on."""
        active = {a.name for a in self._all if a.core and a.core.active and not a.stopped}
        seats = [name for host in self.hosts if host.hub for name in host.hub._roster.seats]
        if sorted(seats) != sorted(active):
            self.faults.append(f"core: sessions of {sorted(seats)}, active are {sorted(active)}")
        for host in self.hosts:
            assert host.hub is not None
            self._look_into_a_core(host.hub)

    def _look_into_a_core(self, hub: Hub) -> None:
        wrong = self.faults.append
        if unfinished(hub) or len(hub._questions) or len(hub._hearing):
            wrong(f"core: {unfinished(hub)}, {len(hub._questions)} questions, hints are left")
        if hub._backpressure:
            wrong(f"core: still does not read {len(hub._backpressure)} sockets")
        known = {a.id: a for a in self.store.answer(NAMESPACE, base.Agents(online=True))}
        for name, seat in hub._roster.seats.items():
            box, session = seat.mailbox, seat.session
            if name not in known or known[name].epoch != session.epoch:
                wrong(f"core: {session!r} is not current: {known.get(name)}")
            # A renewal that crossed the settlement on its way is forgotten when it lapses.
            lapsed = [seq for seq, until in box.leases.items() if until <= self.clock.now]
            if box.held or box.unread or lapsed:
                wrong(f"core: the mailbox of {name} still counts {box!r}, held {list(box.held)}")
            if box.take(1, 0):
                wrong(f"core: the window of {name} has mail that was not delivered")
        for session in hub._sessions.values():
            if session.unaccepted or session.unaccepted_bytes or session.waiting:
                wrong(f"core: {session!r} has {session.unaccepted} messages not yet accepted")
        due = hub.next_timeout()
        if due is not None and due < self.clock.now:
            wrong(f"core: wants to be called since {self.clock.now - due} ms")

    def _look_into_the_lease(self) -> None:
        """Each epoch of the lease has one leader, and none acts once there is another."""
        leaders: dict[int, str] = {}
        newest = 0
        for lead, who in self.led:
            if not lead:
                continue  # it sees to its own
            if leaders.setdefault(lead, who) != who:
                self.faults.append(f"lease: {who} and {leaders[lead]} lead in epoch {lead}")
            if lead < newest:
                self.faults.append(f"lease: {who} leads in epoch {lead} after {newest} had begun")
            newest = max(newest, lead)

    def _look_into_the_store(self, events: list[Event]) -> None:
        """Mailboxes are empty; each copy's end agrees with what its people saw."""
        wrong = self.faults.append
        ask = self.store.answer
        for box in self._boxes():
            peeked = self._peek(box, 5)
            if peeked.count:
                wrong(f"store: {box} still holds {[c.message.id for c in peeked.heads]}")
        noticed: Counter[tuple[str, str, str]] = Counter()
        for event in events:
            if isinstance(event, Noticed):
                for agent in event.agents:
                    noticed[event.about, agent, event.code] += 1
        ended = {
            (event.sender, event.id, event.agent, event.how)
            for event in events
            if isinstance(event, Ended)
        }
        handed = {
            (event.sender, event.id, event.agent) for event in events if isinstance(event, Handed)
        }
        abandoned = {event.id for event in events if isinstance(event, Abandoned)}
        tries = Counter(
            (event.sender, event.id, event.agent) for event in events if isinstance(event, Handed)
        )
        forgetful = {
            a.name for a in self._all if any(getattr(e, "fresh", False) for e in a.log.events[1:])
        }
        twins = {a.name for a in self._all if a.instance != a.name}
        for sent in {(e.agent, e.id): e for e in events if isinstance(e, Sent)}.values():
            for traced in ask(NAMESPACE, base.Trace(sent.agent, sent.id)):
                if traced.message.sender != sent.agent:
                    continue
                for fate in traced.copies:
                    key = (sent.agent, sent.id, fate.agent)
                    if fate.outcome == "done":
                        good = key in handed or sent.reply_to in abandoned or sent.agent in twins
                    elif fate.outcome == "rejected":
                        good = (*key, "rejected") in ended
                    elif fate.outcome == "dead":
                        good = (tries[key] and fate.attempts >= 5) or fate.deliveries >= 100
                    else:
                        good = fate.outcome in ("expired", "recalled")
                    if not good:
                        wrong(f"store: {'/'.join(key)} ended as {fate.outcome}: {fate}")
                    told = {"rejected": "undeliverable", "dead": "undeliverable"}.get(
                        fate.outcome or "", fate.outcome or ""
                    )
                    if told in ("undeliverable", "expired"):
                        times = noticed[sent.id, fate.agent, told]
                        if (
                            times != 1
                            and sent.agent not in forgetful | twins
                            and sent.id not in abandoned
                        ):
                            wrong(
                                f"store: {'/'.join(key)} ended as {fate.outcome} and its sender "
                                f"was told {times} times"
                            )

    def _nothing_odd(self, events: list[Event]) -> None:
        """Without failures nothing is sent twice, delivered twice or complained about."""
        for agent in self._all:
            for trouble in agent.troubles:
                self.faults.append(f"calm: {agent.instance} heard: {trouble}")
        odd = {"crash", "forget", "slow", "fail"}
        if any(odd.intersection(send.deeds) for send in self.plan.sends):
            return
        hands = Counter((e.sender, e.id, e.agent) for e in events if isinstance(e, Handed))
        for key, times in hands.items():
            if times > 1:
                self.faults.append(f"calm: {'/'.join(key)} was handed over {times} times")


def unfinished(hub: Hub) -> list[base.Operation]:
    """What is on its way to the store, but for what a hub says now and then by itself."""
    commits = hub._commits
    entries = (*commits._waiting, *chain(*commits._in_flight), *commits._again)
    return [op for op, _, _ in entries if not isinstance(op, base.Beat | base.Sweep)]


def simulate(seed: int, note: Callable[[str], None] | None = None) -> Result:
    """Run one seed."""
    return World(make_plan(seed), note).run()
