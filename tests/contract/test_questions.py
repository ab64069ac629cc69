"""Peek, history and trace."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.world import World
from trishula_broker.store import base


@pytest.fixture(autouse=True)
async def everybody(world: World) -> None:
    for name in ("ada", "bob", "cyd"):
        await world.come(name, groups=("ops",))


async def history(
    world: World, agent: str, thread: str | None = None, after: int = 0, limit: int = 99
) -> list[str]:
    return [m.id for m in await world.ask(base.History(agent, thread, after, limit))]


async def test_peek_tells_of_the_mailbox(world: World) -> None:
    assert await world.ask(base.Peek("bob", 5)) == base.Peeked(0, 0, None, (0, 0, 0, 0, 0), ())
    first = world.now
    low = await world.send("ada", "bob", "m1", priority=5, size=30)
    world.now += 10
    delayed = await world.send("ada", "bob", "m2", priority=1, size=40)
    await world.send("ada", "bob", "m3", priority=5, size=50)
    await world.do(world.requeue("bob", delayed.seq))
    peeked = await world.ask(base.Peek("bob", 2))
    assert (peeked.count, peeked.size, peeked.oldest) == (3, 120, first)
    assert peeked.by_priority == (1, 0, 0, 0, 2)
    assert [(c.message.seq, c.attempts) for c in peeked.heads] == [(delayed.seq, 1), (low.seq, 0)]


async def test_peek_is_the_same_after_a_restart(world: World) -> None:
    await world.send("ada", "bob", "m1", priority=2)
    await world.send("ada", "bob", "m2", priority=4)
    before = await world.ask(base.Peek("bob", 5))
    await world.restart()
    assert await world.ask(base.Peek("bob", 5)) == before


async def test_history_is_what_an_agent_sent_or_received(world: World) -> None:
    await world.send("ada", "bob", "m1")
    await world.send("bob", "cyd", "m2")
    await world.send("cyd", "#ops", "m3")
    await world.send("ada", "ada", "m4")
    assert await history(world, "ada") == ["m1", "m3", "m4"]
    assert await history(world, "bob") == ["m1", "m2", "m3"]
    assert await history(world, "zoe") == []


async def test_history_is_paged_by_seq(world: World) -> None:
    seqs = [(await world.send("ada", "#ops", f"m{n}")).seq for n in range(4)]
    assert await history(world, "bob", limit=2) == ["m0", "m1"]
    assert await history(world, "bob", after=seqs[1], limit=9) == ["m2", "m3"]
    assert await history(world, "bob", after=seqs[3]) == []


async def test_history_keeps_what_is_settled(world: World) -> None:
    sent = await world.send("ada", "bob", "m1")
    await world.do(world.settle("bob", sent.seq))
    assert await history(world, "bob") == ["m1"]


async def test_a_thread_is_its_first_message_and_what_names_it(world: World) -> None:
    first = await world.send("ada", "bob", "t1")
    await world.send("ada", "bob", "other")
    await world.send("bob", "ada", "m2", thread="t1")
    await world.send("ada", "cyd", "m3", thread="t1")
    await world.send("ada", "bob", "m2", thread="m3")  # names another thread
    assert await history(world, "bob", "t1") == ["t1", "m2", "m3"]
    assert await history(world, "cyd", "t1") == ["t1", "m2", "m3"]
    assert await history(world, "bob", "t1", after=first.seq, limit=1) == ["m2"]


async def test_a_thread_is_closed_to_who_took_no_part(world: World) -> None:
    await world.send("ada", "bob", "t1")
    assert await history(world, "cyd", "t1") == []
    assert await history(world, "zoe", "t1") == []


async def test_taking_part_is_asked_of_the_whole_thread_not_of_the_page(world: World) -> None:
    first = await world.send("ada", "bob", "t1")
    await world.send("ada", "cyd", "m2", thread="t1")
    assert await history(world, "bob", "t1", after=first.seq) == ["m2"]


async def test_trace_tells_the_fate_of_every_copy_by_agent(world: World) -> None:
    sent = await world.send("bob", "#ops", "m1")
    await world.do(world.settle("cyd", sent.seq))
    (traced,) = await world.ask(base.Trace("bob", "m1"))
    assert traced.message.seq == sent.seq
    assert [(f.agent, f.outcome) for f in traced.copies] == [("ada", None), ("cyd", "done")]


async def test_trace_is_for_who_sent_or_received_it(world: World) -> None:
    await world.send("ada", "bob", "m1")
    await world.send("cyd", "cyd", "m1")
    for name, count in (("ada", 1), ("bob", 1), ("cyd", 1), ("zoe", 0)):
        assert len(await world.ask(base.Trace(name, "m1"))) == count
    assert await world.ask(base.Trace("ada", "m2")) == ()


async def test_trace_finds_every_message_with_the_id(world: World) -> None:
    await world.send("ada", "bob", "m1")
    await world.send("cyd", "bob", "m1")
    assert [t.message.sender for t in await world.ask(base.Trace("bob", "m1"))] == ["ada", "cyd"]


async def test_namespaces_do_not_see_one_another(world: World) -> None:
    await world.send("ada", "bob", "m1")
    world.namespace, world.epochs = "other", {}
    await world.come("ada")
    await world.come("bob")
    assert await history(world, "ada") == []
    await world.send("ada", "bob", "m2", thread="m1")
    assert await history(world, "bob", "m1") == ["m2"]
    assert await world.ask(base.Trace("ada", "m1")) == ()
    assert [r.id for r in await world.ask(base.Agents())] == ["ada", "bob"]
    world.namespace = "unheard-of"
    assert await world.ask(base.Agents()) == ()
    assert await history(world, "ada") == []


async def test_an_answer_sees_every_commit_that_has_returned(world: World) -> None:
    for n in range(5):
        sent = await world.send("ada", "bob", f"m{n}")
        assert (await world.ask(base.Peek("bob", 1))).count == 1
        await world.do(world.settle("bob", sent.seq))
        assert (await world.fate("ada", f"m{n}"))["bob"].outcome == "done"


async def test_questions_may_be_asked_while_a_commit_runs(world: World) -> None:
    async def commits() -> None:
        for n in range(20):
            sent = await world.send("ada", "bob", f"m{n}")
            await world.do(world.settle("bob", sent.seq))

    async def questions() -> None:
        for _ in range(20):
            received = await history(world, "bob")
            assert received == (await history(world, "ada"))[: len(received)]
            assert len(await world.ask(base.Agents())) == 3

    async with asyncio.TaskGroup() as group:
        group.create_task(commits())
        group.create_task(questions())


async def test_any_text_survives(world: World) -> None:
    text = 'quote " backslash \\ newline \n null \0 snow ☃ 😀'
    sent = await world.send("ada", "bob", "m1")
    await world.do(base.Discard("bob", 0, sent.seq, "rejected", text, None))
    assert (await world.fate("ada", "m1"))["bob"].reason == text
    (letter,) = await world.ask(base.DeadLetters("bob", 0, 9))
    assert letter.reason == text
