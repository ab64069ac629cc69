"""Nodes that share a store: beats, the lease on the duties, and what they hear of each other."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from tests.contract.world import LEASE_MS, World
from trishula_broker.store import base
from trishula_protocol.limits import EPHEMERAL_MS

BEAT_LEASE_MS = 5_000


class NodeWorld(World):
    """A node of a store."""

    node = "n1"
    life = "first"
    role = "primary"

    def open(self) -> None:
        """Listen to hints."""
        self.hints: list[base.Hint] = []
        self.store.on_hints(lambda namespace, hints: self._hear(namespace, list(hints)))

    def _hear(self, namespace: str, hints: list[base.Hint]) -> None:
        assert namespace == self.namespace
        self.hints += hints

    async def heard(self) -> list[base.Hint]:
        """What was told by the time a commit returned."""
        await self.do()
        heard, self.hints = self.hints, []
        return heard

    async def beat(self, *, leads: bool = True, last: bool = False) -> base.Beating:
        """Say that it lives."""
        op = base.Beat(self.node, self.life, self.role, "ws://x", BEAT_LEASE_MS, leads, last)
        beating = await self.get(base.Beating, op)
        assert beating.at in (0, self.now)
        return msgspec.structs.replace(beating, at=0)

    async def sweep(self, lead: int = 0, limit: int = 10) -> base.Swept:
        """What is due for this node."""
        return await self.get(base.Swept, base.Sweep(limit, self.node, lead))

    async def meet(self, agent: str, **fields: object) -> base.Registered:
        """Register ``agent`` here."""
        return await self.come(agent, node=self.node, **fields)  # type: ignore[arg-type]


async def opened(world: NodeWorld, node: str, role: str) -> NodeWorld:
    world.node, world.role = node, role
    world.open()
    await world.store.open()
    return world


@pytest.fixture
async def one(make: Callable[[], base.Store]) -> NodeWorld:
    """The only node of any store."""
    return await opened(NodeWorld(make), "n1", "primary")


Pair = tuple[NodeWorld, NodeWorld]


@pytest.fixture
async def pair(make_nodes: Callable[[str], base.Store]) -> Pair:
    """Two nodes of one store: a primary ``n1`` and a failover ``n2``."""
    first = await opened(NodeWorld(lambda: make_nodes("n1")), "n1", "primary")
    second = await opened(NodeWorld(lambda: make_nodes("n2")), "n2", "failover")
    return first, second


def pass_time(pair: Pair, ms: int) -> None:
    for world in pair:
        world.now += ms


# --- one node ---------------------------------------------------------------------------------


async def test_an_only_node_leads_and_is_a_member_from_its_second_beat(one: NodeWorld) -> None:
    first = await one.beat()
    assert (first.member, first.leader, first.alone) == (False, "n1", True)
    assert first.lead > 0
    assert await one.beat() == base.Beating(True, first.lead, "n1", True)
    await one.store.close()


async def test_an_only_node_is_shown_with_who_is_there(one: NodeWorld) -> None:
    assert await one.ask(base.Nodes()) == ()
    began = one.now
    beating = await one.beat()
    await one.meet("ada")
    one.now += 1_000
    await one.beat()
    [record] = await one.ask(base.Nodes())
    assert record == base.NodeRecord(
        "n1", "primary", "ws://x", True, began, one.now, 1, beating.lead
    )
    await one.store.close()


async def test_the_lease_given_back_and_taken_again_has_a_new_epoch(one: NodeWorld) -> None:
    first = await one.beat()
    assert await one.beat(leads=False) == base.Beating(True, 0, "", True)
    again = await one.beat()
    assert again.lead > first.lead
    await one.store.close()


@pytest.mark.parametrize("leads", [True, False])
async def test_one_that_says_its_last_is_dead_until_another_life(
    one: NodeWorld, leads: bool
) -> None:
    first = await one.beat()
    one.now += 1_000
    assert await one.beat(leads=leads, last=True) == base.Beating(True, 0, "", True)
    [record] = await one.ask(base.Nodes())
    assert record == base.NodeRecord("n1", "primary", "ws://x", False, one.now, one.now, 0, 0)
    one.life = "second"
    assert (await one.beat()).lead > first.lead
    [record] = await one.ask(base.Nodes())
    assert record.alive
    await one.store.close()


async def test_another_life_has_another_epoch_of_the_lease(one: NodeWorld) -> None:
    first = await one.beat()
    one.life = "second"
    again = await one.beat()
    assert not again.member
    assert again.lead > first.lead
    await one.store.close()


async def test_ending_a_node_takes_the_lease(one: NodeWorld) -> None:
    lead = (await one.beat()).lead
    [fenced] = await one.do(base.EndNode("n9", lead + 1, 10))
    assert fenced == base.Fenced(lead)
    [ended] = await one.do(base.EndNode("n9", lead, 10))
    assert ended == base.NodeEnded((), False, None)
    await one.store.close()


async def test_what_is_told_is_stored_nowhere(one: NodeWorld) -> None:
    await one.meet("ada")
    receipt = base.Receipt("ada", "done", "bob", ("m1",))
    assert await one.do(base.Tell("ada", receipt), base.Tell(None, receipt)) == [base.Told()] * 2
    assert await one.heard() == []
    await one.store.close()


# --- the lease --------------------------------------------------------------------------------


async def test_nobody_waits_for_one_that_has_said_its_last(pair: Pair) -> None:
    one, two = pair
    lead = (await one.beat()).lead
    await two.beat()
    assert await one.beat(last=True) == base.Beating(True, 0, "", False)
    assert await two.beat() == base.Beating(True, lead + 1, "n2", True)
    assert [each.alive for each in await two.ask(base.Nodes())] == [False, True]
    for world in pair:
        await world.store.close()


async def test_the_first_who_beats_leads(pair: Pair) -> None:
    one, two = pair
    lead = (await one.beat()).lead
    assert await two.beat() == base.Beating(False, 0, "n1", False)
    assert await one.beat() == base.Beating(True, lead, "n1", False)


async def test_who_shares_a_store_is_told_its_time(pair: Pair) -> None:
    for world in pair:
        op = base.Beat(world.node, "first", world.role, "", BEAT_LEASE_MS)
        assert (await world.get(base.Beating, op)).at == world.now


async def test_a_lease_that_ran_out_goes_to_whoever_beats_next(pair: Pair) -> None:
    one, two = pair
    lead = (await one.beat()).lead
    await two.beat()
    pass_time(pair, BEAT_LEASE_MS - 1)
    assert (await two.beat()).lead == 0
    pass_time(pair, 1)
    beating = await two.beat()
    assert (beating.leader, beating.alone) == ("n2", True)
    assert beating.lead > lead


async def test_a_primary_takes_the_lease_from_a_failover_and_not_the_other_way(
    pair: Pair,
) -> None:
    one, two = pair
    lead = (await two.beat()).lead
    assert lead > 0
    taken = await one.beat()
    assert (taken.leader, taken.lead > lead) == ("n1", True)
    assert await two.beat() == base.Beating(True, 0, "n1", False)


async def test_who_drains_gives_the_lease_back(pair: Pair) -> None:
    one, two = pair
    await one.beat()
    await two.beat()
    assert (await one.beat(leads=False)).leader == ""
    assert (await one.beat(leads=False)).lead == 0
    assert (await two.beat()).leader == "n2"
    assert (await one.beat(leads=False)).leader == "n2"


async def test_only_the_leader_of_now_sweeps_for_all_and_ends_nodes(pair: Pair) -> None:
    one, two = pair
    old = (await two.beat()).lead
    new = (await one.beat()).lead
    assert await two.do(base.Sweep(10, "n2", old), base.EndNode("n1", old, 10)) == [
        base.Fenced(new),
        base.Fenced(new),
    ]
    await one.beat(leads=False)
    assert await one.do(base.Sweep(10, "n1", new)) == [base.Fenced(0)]


# --- nodes that stop --------------------------------------------------------------------------


async def test_a_node_whose_beats_stopped_is_found_and_ended_in_pieces(pair: Pair) -> None:
    one, two = pair
    lead = (await one.beat()).lead
    await two.beat()
    await two.meet("ada", caps=("plan",))
    await two.meet("bob", ephemeral=True)
    await one.meet("cyd")
    sent = await one.send("cyd", "@plan", "m1")
    await two.do(two.read("ada", sent.seq))
    swept = await one.sweep(lead)
    assert (swept.dead, swept.next_at) == ((), one.now + BEAT_LEASE_MS)
    pass_time(pair, BEAT_LEASE_MS)
    await one.beat()
    assert (await one.sweep()).dead == ()
    assert (await one.sweep(lead)).dead == ("n2",)
    [first] = await one.do(base.EndNode("n2", lead, 1))
    assert first == base.NodeEnded(("ada",), True, one.now + LEASE_MS)
    assert (await one.sweep(lead)).dead == ("n2",)
    [second] = await one.do(base.EndNode("n2", lead, 1))
    assert second == base.NodeEnded(("bob",), False, one.now + EPHEMERAL_MS)
    assert (await one.sweep(lead)).dead == ()
    assert [r.id for r in await one.ask(base.Agents(online=True))] == ["cyd"]
    fate = (await one.fate("cyd", "m1"))["ada"]
    assert (fate.attempts, fate.lease_until) == (1, None)
    [_, record] = await one.ask(base.Nodes())
    assert (record.node, record.alive, record.since, record.agents) == ("n2", False, one.now, 0)


async def test_an_ended_node_that_wakes_up_is_no_member_and_its_sessions_are_fenced(
    pair: Pair,
) -> None:
    one, two = pair
    lead = (await one.beat()).lead
    await two.beat()
    await two.meet("ada")
    await one.meet("bob")
    sent = await one.send("bob", "ada", "m1")
    pass_time(pair, BEAT_LEASE_MS)
    await one.beat()
    await one.do(base.EndNode("n2", lead, 10))
    assert await two.do(two.settle("ada", sent.seq), two.mail("ada", "bob", "m2")) == [
        base.Fenced(0),
        base.Fenced(0),
    ]
    assert not (await two.beat()).member
    assert (await two.beat()).member
    [_, record] = await one.ask(base.Nodes())
    assert (record.alive, record.since) == (True, one.now)


async def test_a_node_that_beats_again_in_time_is_not_ended(pair: Pair) -> None:
    one, two = pair
    lead = (await one.beat()).lead
    await two.beat()
    await two.meet("ada")
    pass_time(pair, BEAT_LEASE_MS)
    await one.beat()
    assert (await one.sweep(lead)).dead == ("n2",)
    assert (await two.beat()).member  # late, and nobody has ended it
    [ended] = await one.do(base.EndNode("n2", lead, 10))
    assert ended == base.NodeEnded((), False, None)
    assert (await one.agent("ada")).online


async def test_another_life_of_a_node_ends_its_sessions_and_no_others(pair: Pair) -> None:
    one, two = pair
    await one.beat()
    await two.beat()
    await one.meet("ada")
    await two.meet("bob")
    two.life = "second"
    pass_time(pair, 10)
    assert not (await two.beat()).member
    assert [r.id for r in await one.ask(base.Agents(online=True))] == ["ada"]
    assert (await one.agent("bob")).since == two.now
    assert await two.do(two.settle("bob", 1)) == [base.Fenced(0)]


async def test_a_node_that_opens_the_store_ends_nobody_elsewhere(pair: Pair) -> None:
    one, two = pair
    await one.beat()
    await two.beat()
    await one.meet("ada")
    await two.restart()
    assert (await one.agent("ada")).online


# --- sweeping ---------------------------------------------------------------------------------


async def test_each_node_hears_of_its_own_expired_mail_and_the_leader_of_nobodys(
    pair: Pair,
) -> None:
    one, two = pair
    lead = (await one.beat()).lead
    await two.beat()
    await one.meet("ada")
    await two.meet("bob")
    await two.meet("cyd")
    sent = [await one.send("ada", to, f"m-{to}", ttl=100) for to in ("bob", "cyd")]
    sent.append(await two.send("bob", "ada", "m-ada", ttl=100))
    await two.go("cyd")
    assert (await two.sweep()).next_at == two.now + 100
    pass_time(pair, 100)

    def names(swept: base.Swept) -> list[str]:
        return [mailbox for mailbox, _ in swept.expired]

    assert names(await one.sweep()) == ["ada"]
    assert names(await one.sweep(lead)) == ["cyd", "ada"]
    assert names(await two.sweep()) == ["bob"]


async def test_only_the_leader_hears_of_orphans_ghosts_and_pools(pair: Pair) -> None:
    one, two = pair
    lead = (await one.beat()).lead
    await two.beat()
    await two.meet("ada", caps=("plan",))
    await two.meet("eph", ephemeral=True)
    await two.send("ada", "@plan", "m1")
    await two.meet("bob")
    await two.send("bob", "@plan", "m2")
    await two.go("ada")
    await two.go("eph")
    pass_time(pair, EPHEMERAL_MS)
    await one.beat()
    await two.beat()
    swept = await two.sweep()
    assert (swept.orphans, swept.ghosts, swept.pools, swept.next_at) == ((), (), (), None)
    swept = await one.sweep(lead)
    assert (swept.orphans, swept.ghosts) == (("ada",), ("eph",))
    await one.do(base.Unassign("ada"))
    await two.meet("ada")
    assert (await two.sweep()).pools == ()
    assert (await one.sweep(lead)).pools == ("plan",)


async def test_a_duty_spares_what_another_node_has_in_hand(pair: Pair) -> None:
    one, two = pair
    await two.meet("ada")
    await one.meet("bob")
    sent = await one.send("bob", "ada", "m1", ttl=10)
    pass_time(pair, 10)

    def discard(node: str = "", *, offline_only: bool = False) -> base.Discard:
        return base.Discard(
            "ada", 0, sent.seq, "expired", "ttl", None, node=node, offline_only=offline_only
        )

    assert await one.do(discard("n1")) == [base.Discarded(False)]
    assert await two.do(discard(offline_only=True)) == [base.Discarded(False)]
    assert await two.do(discard("n2")) == [base.Discarded(True, "expired")]


async def test_a_duty_ends_what_is_nobodys(pair: Pair) -> None:
    one, two = pair
    await two.meet("ada")
    await one.meet("bob")
    sent = [await one.send("bob", "ada", f"m{n}") for n in range(2)]
    await two.go("ada")
    ops = [
        base.Discard("ada", 0, sent[0].seq, "dead", "x", None, node="n1"),
        base.Discard("ada", 0, sent[1].seq, "dead", "x", None, offline_only=True),
    ]
    assert await one.do(*ops) == [base.Discarded(True, "dead")] * 2


# --- hints ------------------------------------------------------------------------------------


async def test_mail_is_told_to_the_node_of_its_recipient_and_nowhere_else(pair: Pair) -> None:
    one, two = pair
    await two.meet("ada")
    await one.meet("bob")
    sent = await one.send("bob", "ada", "m1", thread="t", priority=2)
    await two.send("ada", "ada", "m2")
    [waiting, _] = (await two.fetch("ada")).copies
    assert await two.heard() == [base.Mail("ada", waiting)]
    assert waiting.message.seq == sent.seq
    await two.go("ada")
    await one.send("bob", "ada", "m3")
    assert await two.heard() == []
    assert await one.heard() == []


async def test_a_fan_out_is_told_where_its_recipients_are(pair: Pair) -> None:
    one, two = pair
    await one.meet("ada")
    for name in ("bob", "cyd"):
        await two.meet(name)
    await one.send("ada", "broadcast", "m1")
    assert sorted(hint.agent for hint in await two.heard() if isinstance(hint, base.Mail)) == [
        "bob",
        "cyd",
    ]


async def test_hints_come_before_the_commit_returns_that_came_after(pair: Pair) -> None:
    one, two = pair
    await two.meet("ada")
    await two.meet("bob")
    await one.meet("cyd")
    for n in range(2):
        await one.send("cyd", "ada", f"m{n}")
        await two.send("bob", "ada", f"n{n}")
        assert len(two.hints) == n + 1


async def test_mail_that_was_tried_before_is_told_without_its_copy(pair: Pair) -> None:
    one, two = pair
    await two.meet("ada", caps=("plan",), lease_ms=1)
    await one.meet("bob", caps=("plan",))
    sent = await two.send("ada", "@plan", "m1")  # it may not have its own
    await one.do(one.requeue("bob", sent.seq))
    await one.go("bob")
    pass_time(pair, LEASE_MS)
    await one.do(base.Unassign("bob"))
    await two.meet("cyd", caps=("plan",))
    [assigned] = await one.do(base.Assign("plan", 10))
    assert [name for name, _ in assigned.copies] == ["cyd"]
    assert await two.heard() == [base.Mail("cyd", None)]


async def test_notices_are_told(pair: Pair) -> None:
    one, two = pair
    await two.meet("ada")
    await one.meet("bob")
    sent = await two.send("ada", "bob", "m1")
    notice = base.Notice("ada", "n1", None, b"{}")
    [discarded] = await one.do(base.Discard("bob", 0, sent.seq, "dead", "x", notice))
    assert await two.heard() == [base.Mail("ada", base.Copy(discarded.notice, 0, 0, None))]


async def test_what_is_taken_back_is_withdrawn_at_its_recipients_node(pair: Pair) -> None:
    one, two = pair
    await two.meet("ada")
    await one.meet("bob")
    sent = await one.send("bob", "ada", "m1")
    await two.heard()
    await one.do(base.Discard("ada", 0, sent.seq, "recalled", "", None, unread_only=True))
    assert await two.heard() == [base.Withdrawn("ada", sent.seq)]


async def test_a_dead_letter_tried_again_is_told(pair: Pair) -> None:
    one, two = pair
    await two.meet("ada")
    await one.meet("bob")
    sent = await one.send("bob", "ada", "m1")
    await two.do(two.discard("ada", sent.seq, "dead"))
    await two.heard()
    [retried] = await one.do(base.Retry("ada", sent.seq))
    assert await two.heard() == [base.Mail("ada", retried.copy)]


async def test_an_agent_that_registers_elsewhere_has_ended_here(pair: Pair) -> None:
    one, two = pair
    await one.meet("ada")
    moved = await two.meet("ada")
    assert await one.heard() == [base.Ended("ada", moved.epoch)]
    assert await one.do(one.mail("ada", "ada", "m1")) == [base.Fenced(moved.epoch)]
    await two.meet("ada")
    await one.meet("bob", receive=False)
    assert await one.heard() == []
    assert await two.heard() == []


async def test_who_is_paused_or_goes_on_is_looked_at_where_it_is_online(pair: Pair) -> None:
    one, two = pair
    await two.meet("ada")
    for on in (True, False):
        assert await one.do(base.Pause("ada", on)) == [base.Paused(True)]
        assert await two.heard() == [base.Mail("ada", None)]
    await two.do(base.Pause("ada", True))
    assert await one.heard() == await two.heard() == []
    await one.meet("ada")
    assert await one.fetch("ada") == base.Fetched((), False, None, paused=True)


async def test_what_cores_tell_each_other(pair: Pair) -> None:
    one, two = pair
    await one.beat()
    await two.beat()
    await two.meet("ada")
    receipt = base.Receipt("ada", "read", "bob", ("m1", "m2"))
    change = base.Presence(b'{"event":"presence"}')
    await one.do(base.Tell("ada", receipt), base.Tell(None, change), base.Tell("bob", receipt))
    assert await two.heard() == [receipt, change]
    assert await one.heard() == []
    await two.do(base.Tell("ada", receipt))
    assert await two.heard() == []


async def test_what_a_core_tells_one_node(pair: Pair) -> None:
    one, two = pair
    await one.beat()
    await two.beat()
    message = base.Message(7, "m1", "dc", "STATUS", "agni", 3, None, False, 5, None, b"\xff{}")
    passed = (base.Passed(message, ("agni",)), base.Passed(message, ("agni",), None, "done"))
    tapping = base.Tapping("n1", 3, (base.Wanted("dc", None, "STATUS", None),))
    tapped = base.Tapped("n1", 3, 41, passed)
    await one.do(base.Tell(None, tapping, "n2"), base.Tell(None, tapped, "n2"))
    assert await two.heard() == [tapping, tapped]
    await one.do(base.Tell(None, tapping, "n1"), base.Tell(None, tapping, "n9"))
    assert await two.heard() == await one.heard() == []
