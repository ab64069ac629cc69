"""What happens in one simulated run, all of it decided by the seed before it begins."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, Literal

import msgspec

from trishula_broker.auth.identity import Identity, Rights
from trishula_broker.hub.settings import HubSettings
from trishula_broker.store.base import MailboxLimits

HOUR_MS: Final = 3_600_000

Deed = Literal["done", "answer", "fail", "reject", "crash", "forget", "slow"]
"""What an application does with a message: finishes it, answers it, gives it back, refuses it,
dies of it (``forget``: and loses its state), or works longer than its lease."""


@dataclass(frozen=True)
class AgentPlan:
    """An agent. ``late``: when it registers for the first time, if not at once."""

    name: str
    capabilities: tuple[str, ...]
    groups: tuple[str, ...]
    prefetch: int
    lease_ms: int
    heartbeat_ms: int
    concurrency: int
    late: int = 0
    outbox: int = 10_000


@dataclass(frozen=True)
class SendPlan:
    """A message: what it says is also what its recipients do with it, an attempt each."""

    at: int
    sender: str
    to: str
    priority: int
    kind: Literal["COMMAND", "STATUS"]
    deeds: tuple[Deed, ...]
    work_ms: int
    ttl: int | None
    receipt: bool
    wait: bool
    """Whether the sender waits for the answer, and for how long at most."""
    patience_ms: int | None
    patient: bool
    recall_ms: int | None
    side: bool
    """Sent over a side session."""
    size: int


@dataclass(frozen=True)
class Fault:
    """Something goes wrong at ``at``."""

    at: int
    kind: str
    agent: str = ""
    ms: int = 0
    flag: bool = False
    applied: tuple[Any, ...] = ()
    host: int = 0
    """Which hub, where it is about one."""


@dataclass(frozen=True)
class Plan:
    """One run."""

    seed: int
    agents: tuple[AgentPlan, ...]
    sends: tuple[SendPlan, ...]
    faults: tuple[Fault, ...]
    settings: HubSettings
    mail: MailboxLimits
    fetch: int
    """Copies the hub asks the store for at once."""
    latency_ms: int
    commit_ms: int
    length_ms: int
    """When the script and all faults have ended."""
    joins: tuple[tuple[int, str, str, bool], ...] = ()
    """``(at, agent, group, member)``: changes of the group ``flex``."""
    offers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Agents by capability."""
    pauses: tuple[tuple[int, str, str, int], ...] = ()
    """``(at, operator, agent, ms)``: the one pauses the other for so long."""
    hubs: int = 1
    """Nodes that share the store; the first is the primary."""
    homes: dict[str, int] = field(default_factory=dict)
    """The first hub of each agent's list; the others follow in order."""
    hint_ms: int = 0
    """What a hint takes at most."""
    hint_bytes: int = 8_192
    """The biggest message that travels with a hint."""

    @property
    def identities(self) -> dict[str, Identity] | None:
        """In a third of the runs the hubs have keys: each agent may send where it is to and be
        reached by what it is to, and no more. Answers go to whoever asked all the same."""
        if self.seed % 3:
            return None
        return {agent.name: self._identity(agent) for agent in self.agents}

    def _identity(self, agent: AgentPlan) -> Identity:
        send = {send.to for send in self.sends if send.sender == agent.name}
        groups = {*agent.groups, *(group for _, name, group, _ in self.joins if name == agent.name)}
        receive = {f"@{name}" for name in agent.capabilities} | {f"#{name}" for name in groups}
        rights = Rights(tuple(sorted(send)), tuple(sorted(receive)))
        return Identity(agent.name, "sim", "agent", f"t-{agent.name}", 1, None, rights)

    @property
    def calm(self) -> bool:
        """Nothing is made to fail."""
        return not self.faults


NAMES: Final = ("agni", "dc", "indra", "vayu", "yama")
FLEX: Final = "flex"
"""A group whose membership changes during the run."""

# Kinds of faults by how often they are drawn.
FAULTS: Final = {
    "reset": 6,
    "silence": 3,
    "lag": 3,
    "stall": 2,
    "kill": 4,
    "hub_crash": 6,
    "hub_freeze": 2,
    "drain": 2,
    "outage": 4,
    "slow_store": 1,
    "hub_clock": 2,
    "agent_clock": 1,
    "takeover": 2,
}

# More of them where several hubs share a store.
NODE_FAULTS: Final = {
    "hub_crash": 3,
    "hub_freeze": 3,
    "cut_off": 3,
    "lossy_hints": 6,
    "late_hints": 2,
    "drain": 1,
}


def make_plan(seed: int) -> Plan:
    """The plan of ``seed``: in half of them several hubs share the store."""
    plan = _one_hub(seed)
    rng = Random(seed ^ 0xB0B)
    hubs = rng.choice((1, 1, 2, 3))
    plan = plan if hubs == 1 else _more_hubs(plan, rng, hubs)
    return replace(plan, pauses=_pauses(Random(seed ^ 0xA5E), plan))


def _more_hubs(plan: Plan, rng: Random, hubs: int) -> Plan:
    length = plan.length_ms
    faults = [replace(fault, host=rng.randrange(hubs)) for fault in plan.faults]
    if not plan.calm:
        kinds = rng.choices(
            list(NODE_FAULTS), weights=list(NODE_FAULTS.values()), k=rng.randrange(4)
        )
        for kind in kinds:
            faults += [
                _node_fault(rng, kind, rng.randrange(length), hubs)
                for _ in range(rng.choice((1, 1, 2, 4)))
            ]
        if rng.random() < 0.3:
            faults += _wandering(rng, plan)
        faults.sort(key=lambda fault: fault.at)
    beat_ms = rng.choice((400, 1_000))
    return replace(
        plan,
        faults=tuple(faults),
        settings=msgspec.structs.replace(plan.settings, beat_ms=beat_ms, lease_ms=5 * beat_ms),
        hubs=hubs,
        homes={agent.name: rng.randrange(hubs) for agent in plan.agents},
        hint_ms=rng.choice((0, 5, 300)),
        hint_bytes=rng.choice((0, 300, 8_192)),
    )


def _wandering(rng: Random, plan: Plan) -> list[Fault]:
    """Somebody goes to the next hub whenever it has sent something: order must hold."""
    sender = rng.choice(plan.sends).sender
    return [
        Fault(send.at + rng.choice((1, 2, 5, 50)), "move", sender)
        for send in plan.sends
        if send.sender == sender and rng.random() < 0.7
    ]


def _node_fault(rng: Random, kind: str, at: int, hubs: int) -> Fault:
    host = rng.randrange(hubs)
    if kind in ("hub_crash", "drain"):
        return replace(_fault(rng, kind, "", at), host=host)
    applied = rng.choice((("none",), ("all",), ("none", "some", "all")))
    long = rng.choice((300, 1_500, 3_000, 9_000))
    return Fault(at, kind, ms=long, applied=applied, host=host)


def _one_hub(seed: int) -> Plan:
    rng = Random(seed)
    length = rng.choice((3_000, 8_000, 20_000))
    calm = rng.random() < 0.08
    # Some runs have deep mailboxes seen through a small window over a slow store.
    deep = rng.random() < 0.15
    agents = _agents(rng, length)
    offers = {
        capability: tuple(a.name for a in agents if capability in a.capabilities)
        for capability in ("review", "solo")
    }
    faults = () if calm else _faults(rng, agents, length)
    return Plan(
        seed=seed,
        agents=agents,
        sends=_sends(rng, agents, offers, length, deep),
        faults=faults,
        settings=HubSettings(
            unaccepted_messages=rng.choice((3, 10_000)),
            window_messages=rng.choice((2, 6) if deep else (2, 6, 2_000)),
            outgoing_bytes=rng.choice((300, 2_000, 1 << 20)),
        ),
        mail=MailboxLimits(messages=100_000 if deep or rng.random() < 0.75 else 3),
        fetch=rng.choice((1, 2) if deep else (1, 3, 500)),
        latency_ms=rng.choice((0, 3, 40, 300)),
        commit_ms=rng.choice((50, 200) if deep else (0, 2, 10, 200)),
        length_ms=length,
        joins=_joins(rng, agents, length),
        offers=offers,
    )


def _agents(rng: Random, length: int) -> tuple[AgentPlan, ...]:
    names = NAMES[: rng.randrange(2, len(NAMES) + 1)]
    agents = []
    for n, name in enumerate(names):
        capabilities = [c for c, chance in (("review", 0.5),) if rng.random() < chance]
        if n == 0:
            capabilities.append("solo")  # only this one, so its mail has an order
        agents.append(
            AgentPlan(
                name=name,
                capabilities=tuple(capabilities),
                # The first is always in the group that others enter and leave.
                groups=(*(("ops",) if rng.random() < 0.6 else ()), *((FLEX,) if n == 0 else ())),
                prefetch=rng.choice((1, 2, 5, 256)),
                lease_ms=rng.choice((1_000, 3_000, 60_000)),
                heartbeat_ms=rng.choice((2_000, 10_000, 10_000, 30_000)),
                concurrency=rng.choice((1, 1, 3, 64)),
                late=rng.randrange(length) if n > 1 and rng.random() < 0.15 else 0,
                outbox=rng.choice((2, 10_000)),
            )
        )
    return tuple(agents)


def _sends(
    rng: Random,
    agents: tuple[AgentPlan, ...],
    offers: dict[str, tuple[str, ...]],
    length: int,
    deep: bool,
) -> tuple[SendPlan, ...]:
    names = [agent.name for agent in agents]
    plain = [*names, *names, "broadcast", "#ops", f"#{FLEX}"]
    sends: list[SendPlan] = []
    while len(sends) < rng.randrange(6, 26):
        sender = rng.choice(names)
        at = rng.randrange(length)
        # Bursts to one address are what order is about.
        # Nobody gets mail for a capability from himself: somebody else must offer it.
        offered = [c for c, names in offers.items() if any(name != sender for name in names)]
        choices = [a for a in plain if a != sender] + [f"@{c}" for c in offered] * 2
        to = "nobody" if rng.random() < 0.01 else rng.choice(choices)
        side = rng.random() < 0.06
        for _ in range(rng.choice((4, 8, 12) if deep else (1, 1, 2, 5))):
            kind: Literal["COMMAND", "STATUS"] = rng.choice(("COMMAND", "STATUS"))
            wait = kind == "COMMAND" and to[0] not in "#b" and not side and rng.random() < 0.7
            sends.append(
                SendPlan(
                    at=at,
                    sender=sender,
                    to=to,
                    priority=rng.choice((1, 3, 3, 3, 5)),
                    kind=kind,
                    deeds=_deeds(rng, kind, deep),
                    work_ms=rng.choice((0, 0, 5, 50, 700)),
                    ttl=rng.choice((500, 5_000)) if rng.random() < 0.12 else None,
                    receipt=rng.random() < 0.15,
                    wait=wait,
                    patience_ms=rng.choice((50, 3_000)) if wait and rng.random() < 0.1 else None,
                    patient=rng.random() < 0.7,
                    recall_ms=rng.choice((1, 300)) if rng.random() < 0.06 else None,
                    side=side,
                    size=rng.choice((0, 0, 0, 200)),
                )
            )
            at += rng.choice((0, 0, 0, 3, 60))
    return tuple(sorted(sends, key=lambda send: send.at))


def _deeds(rng: Random, kind: str, deep: bool) -> tuple[Deed, ...]:
    last: Deed = "answer" if kind == "COMMAND" else "done"
    if deep and rng.random() < 0.3:
        return ("fail", last)
    fate = rng.random()
    if fate < 0.75:
        return (last,)
    if fate < 0.80:
        return ("fail", last)
    if fate < 0.82:
        return ("fail",)
    if fate < 0.86:
        return ("reject",)
    if fate < 0.90:
        return ("crash", last)
    if fate < 0.94:
        return ("forget", last)
    return ("slow",)


def _faults(rng: Random, agents: tuple[AgentPlan, ...], length: int) -> tuple[Fault, ...]:
    kinds = rng.choices(list(FAULTS), weights=list(FAULTS.values()), k=rng.randrange(1, 4))
    faults: list[Fault] = []
    for kind in kinds:
        faults += [
            _fault(rng, kind, rng.choice(agents).name, rng.randrange(length))
            for _ in range(rng.choice((1, 1, 2, 4)))
        ]
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _fault(rng: Random, kind: str, agent: str, at: int) -> Fault:
    short = rng.choice((20, 300, 1_500, 6_000))
    if kind in ("reset", "drain"):
        return Fault(at, kind, agent)
    if kind in ("kill", "hub_crash"):
        return Fault(at, kind, agent, ms=short, flag=rng.random() < 0.7)
    if kind == "outage":
        applied = rng.choice((("none",), ("all",), ("none", "some", "all")))
        return Fault(at, kind, ms=rng.choice((10, 300, 2_000)), applied=applied)
    if kind in ("hub_clock", "agent_clock"):
        jump = rng.choice((1_000, 30_000, HOUR_MS)) * rng.choice((-1, 1))
        return Fault(at, kind, agent, ms=jump)
    return Fault(at, kind, agent, ms=short)


def _joins(
    rng: Random, agents: tuple[AgentPlan, ...], length: int
) -> tuple[tuple[int, str, str, bool], ...]:
    if rng.random() < 0.5:
        return ()
    member = rng.choice(agents[1:]).name
    times = sorted(rng.randrange(length) for _ in range(rng.randrange(1, 4)))
    return tuple((at, member, FLEX, n % 2 == 0) for n, at in enumerate(times))


def _pauses(rng: Random, plan: Plan) -> tuple[tuple[int, str, str, int], ...]:
    names = [agent.name for agent in plan.agents if not agent.late]
    if rng.random() < 0.75 or len(names) < 2:
        return ()
    pauses = []
    for _ in range(rng.choice((1, 1, 2, 4))):
        operator, agent = rng.choices(names, k=2)
        at, ms = rng.randrange(plan.length_ms), rng.choice((5, 300, 2_000, 9_000))
        pauses.append((at, operator, agent, ms))
    return tuple(sorted(pauses))
