"""Agents that are known by a token, and tokens that were taken back."""

from __future__ import annotations

import pytest

from tests.contract.test_nodes import NodeWorld, Pair, pair
from tests.contract.world import World
from trishula_broker.store import base
from trishula_broker.store.revoked import REVOCATION_SPARE_MS
from trishula_protocol.limits import EPHEMERAL_MS

__all__ = ["pair"]


def token(id_: str, until: int | None = None) -> base.Revoke:
    return base.Revoke(base.Revocation(id_, "", 0, until))


def agent(name: str, issued_before: int, until: int | None = None) -> base.Revoke:
    return base.Revoke(base.Revocation("", name, issued_before, until))


async def test_who_is_introduced_is_known_offline_and_gets_mail(world: World) -> None:
    await world.come("ada")
    assert await world.get(base.Noted, base.Introduce("bob")) == base.Noted(True)
    record = await world.agent("bob")
    assert (record.online, record.epoch, record.since) == (False, 0, world.now)
    assert (record.capabilities, record.groups, record.ephemeral) == ((), (), False)
    sent = await world.send("ada", "bob", "m1")
    assert sent.recipients == ("bob",)
    assert (await world.send("ada", "broadcast", "m2")).recipients == ("bob",)
    await world.restart()
    assert (await world.agent("bob")).unsettled == 2
    await world.come("bob")
    assert len(await world.waiting("bob")) == 2


async def test_introducing_somebody_who_is_known_changes_nothing(world: World) -> None:
    await world.come("ada", caps=("plan",), groups=("ops",))
    before = await world.agent("ada")
    world.now += 5
    assert await world.get(base.Noted, base.Introduce("ada")) == base.Noted(False)
    assert await world.agent("ada") == before
    await world.go("ada")
    assert await world.get(base.Noted, base.Introduce("ada")) == base.Noted(False)


@pytest.mark.parametrize("receive", [False, True])
async def test_who_was_ephemeral_and_is_introduced_stays(world: World, receive: bool) -> None:
    # A command that used the token before the hub had seen the line about it.
    await world.come("ada", ephemeral=True, receive=receive)
    await world.come("bob")
    assert (await world.send("bob", "broadcast", "m1")).recipients == ()
    if receive:
        await world.go("ada")
    assert await world.get(base.Noted, base.Introduce("ada")) == base.Noted(True)
    assert not (await world.agent("ada")).ephemeral
    assert (await world.send("bob", "broadcast", "m2")).recipients == ("ada",)
    await world.restart()
    world.now += EPHEMERAL_MS
    assert (await world.get(base.Swept, base.Sweep(100))).ghosts == ()
    assert await world.get(base.Noted, base.Introduce("ada")) == base.Noted(False)


async def test_who_was_forgotten_can_be_introduced_again_with_nothing_left(world: World) -> None:
    await world.come("ada", groups=("ops",), caps=("plan",))
    await world.go("ada")
    await world.get(base.Forgotten, base.Forget("ada", 0))
    assert await world.get(base.Noted, base.Introduce("ada")) == base.Noted(True)
    record = await world.agent("ada")
    assert (record.groups, record.capabilities, record.status) == ((), (), None)


async def test_revocations_are_kept_in_order_over_restarts_and_by_namespace(world: World) -> None:
    assert await world.ask(base.Revocations()) == ()
    assert (
        await world.do(token("t2", world.now + 10), agent("ada", 5), token("t1"))
        == [base.Noted(True)] * 3
    )
    expected = (
        base.Revocation("", "ada", 5, None),
        base.Revocation("t1", "", 0, None),
        base.Revocation("t2", "", 0, world.now + 10),
    )
    assert await world.ask(base.Revocations()) == expected
    await world.restart()
    assert await world.ask(base.Revocations()) == expected
    world.namespace = "other"
    assert await world.ask(base.Revocations()) == ()


@pytest.mark.parametrize(
    ("first", "second", "kept", "new"),
    [
        ((5, 100), (9, 100), (9, 100), True),
        ((9, 100), (5, 50), (9, 100), False),
        ((9, 100), (9, None), (9, None), True),
        ((9, None), (9, 2_000_000), (9, None), False),
        ((9, 100), (8, 2_000_000), (9, 2_000_000), True),
    ],
)
async def test_revocations_of_the_same_are_joined(
    world: World,
    first: tuple[int, int | None],
    second: tuple[int, int | None],
    kept: tuple[int, int | None],
    new: bool,
) -> None:
    world.now = 1
    assert await world.do(agent("ada", *first), agent("ada", *second)) == [
        base.Noted(True),
        base.Noted(new),
    ]
    assert await world.ask(base.Revocations()) == (base.Revocation("", "ada", *kept),)


async def test_what_cannot_matter_any_more_is_let_go_of_some_time_later(world: World) -> None:
    end = world.now + 10
    await world.do(token("old", end), token("for-ever"))
    world.now = end + REVOCATION_SPARE_MS - 1
    await world.do(token("new", world.now + 10))
    assert len(await world.ask(base.Revocations())) == 3
    world.now += 1
    assert await world.get(base.Noted, token("newer", world.now + 10)) == base.Noted(True)
    found = [each.token_id for each in await world.ask(base.Revocations())]
    assert found == ["for-ever", "new", "newer"]


async def test_other_nodes_hear_what_was_revoked(pair: Pair) -> None:
    first, second = pair
    await first.beat()
    await second.beat()
    await first.heard()
    await second.heard()
    revoke = agent("ada", 7, 99_999_999_999_999)
    await first.do(revoke)
    assert await second.heard() == [base.Revoked(revoke.what)]
    assert await first.heard() == []
    assert await second.ask(base.Revocations()) == (revoke.what,)
    await _close(first, second)


async def _close(*worlds: NodeWorld) -> None:
    for world in worlds:
        await world.store.close()
