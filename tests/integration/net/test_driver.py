"""Commits, questions, time and the end, between a scripted core and a scripted store."""

import asyncio
from typing import Any

import pytest

from tests.integration.net.rig import HEARTBEAT, ONE_OP, TIMEOUT_S, Rig
from trishula_broker.hub.effects import Note, Send
from trishula_broker.hub.now import Now
from trishula_broker.net.asking import QUESTIONS
from trishula_broker.net.driver import Driver
from trishula_broker.net.websocket import WebSocketConnection
from trishula_broker.store.base import (
    Agents,
    Batch,
    Missed,
    Retention,
    Retry,
    StoreUnavailable,
    Swept,
)


class Asked:
    """A question of the core."""

    query = Agents()


def submit(rig: Rig, count: int = 1) -> None:
    rig.hub.ops += [ONE_OP] * count
    rig.driver.wake()


async def test_what_arrives_during_a_commit_is_the_next_one(rig: Rig) -> None:
    rig.store.gate.clear()
    submit(rig)
    await rig.heard.next("begun")
    for _ in range(5):
        submit(rig, 3)
        await asyncio.sleep(0)
    rig.store.gate.set()
    (outcomes,) = await rig.heard.next("committed")
    assert len(outcomes) == 1
    (outcomes,) = await rig.heard.next("committed")
    assert len(outcomes) == 15
    assert len(rig.store.commits) == 2
    assert rig.store.most_at_once == 1


def order(rig: Rig) -> list[str]:
    """What the store was asked and the core was told, as it came."""
    told = ("asked", "committed", "commit_failed")
    return [str(event[0]) for event in rig.heard.all if event[0] in told]


async def test_the_next_commit_begins_before_the_core_hears_of_the_last(rig: Rig) -> None:
    rig.store.gate.clear()
    submit(rig)
    await rig.heard.next("begun")
    submit(rig, 3)
    rig.store.gate.set()
    await rig.heard.next("committed")
    await rig.heard.next("committed")
    assert order(rig) == ["asked", "asked", "committed", "committed"]


async def test_after_a_failure_the_core_hears_of_it_before_the_next_commit(rig: Rig) -> None:
    rig.store.gate.clear()
    rig.store.failure = StoreUnavailable("disk full")
    submit(rig)
    await rig.heard.next("begun")
    submit(rig, 3)
    rig.store.gate.set()
    await rig.heard.next("commit_failed")
    rig.store.failure = None
    await rig.heard.next("committed")
    assert order(rig) == ["asked", "commit_failed", "asked", "committed"]


async def test_what_the_store_does_at_once_is_told_and_sent_in_the_same_turn(rig: Rig) -> None:
    rig.store.is_quick = True
    rig.hub.on_committed = lambda: rig.hub.do(Note("decided", {}))
    rig.hub.ops.append(ONE_OP)
    rig.driver.turn()
    assert order(rig) == ["asked", "committed"]
    assert rig.log.heard.count("decided") == 1


async def test_what_a_core_decides_by_what_was_done_at_once_is_committed_too(rig: Rig) -> None:
    rig.store.is_quick = True
    more = [2, 1]

    def decide() -> None:
        if more:
            rig.hub.ops += [ONE_OP] * more.pop()

    rig.hub.on_committed = decide
    submit(rig, 3)
    for count in (3, 1, 2):
        (outcomes,) = await rig.heard.next("committed")
        assert len(outcomes) == count
    assert order(rig) == ["asked", "committed"] * 3


async def test_who_was_spoken_to_last_is_written_to_first(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A core acknowledges before it delivers; a delivery is what somebody waits for."""
    written: list[int] = []
    flush = WebSocketConnection.flush

    def noted(connection: WebSocketConnection) -> None:
        written.append(connection.link)
        flush(connection)

    raws = [await rig.upgraded() for _ in range(3)]
    links = sorted(rig.hub.links)
    monkeypatch.setattr(WebSocketConnection, "flush", noted)
    rig.hub.do(*(rig.sent(link, b"{}") for link in (*links, links[0])))
    rig.driver.turn()
    assert written == links[::-1]
    for raw in raws:
        assert await raw.frame() == (1, b"{}")


async def test_what_fails_at_once_is_told_and_the_next_commit_is_tried(rig: Rig) -> None:
    rig.store.is_quick = True
    rig.store.failure = StoreUnavailable("disk full")
    submit(rig)
    assert await rig.heard.next("commit_failed") == ("disk full",)
    assert rig.driver.trouble == "disk full"
    rig.store.failure = None
    submit(rig, 3)
    await rig.heard.next("committed")
    assert rig.driver.trouble is None


async def test_a_failed_commit_is_told_and_the_next_one_is_tried(rig: Rig) -> None:
    rig.store.failure = StoreUnavailable("disk full")
    submit(rig)
    (why,) = await rig.heard.next("commit_failed")
    assert why == "disk full"
    rig.store.failure = None
    submit(rig)
    await rig.heard.next("committed")
    assert [event for event, _ in rig.log.heard.all] == ["store_unavailable", "store_available"]


async def test_a_store_that_is_well_again_is_noticed_without_work(rig: Rig) -> None:
    rig.store.failure = StoreUnavailable("cut off")
    submit(rig)
    await rig.heard.next("commit_failed")
    rig.store.failure = None
    await rig.log.heard.next("store_available")
    assert rig.store.commits[-1] == []


async def test_a_hub_that_ends_while_its_store_fails_begins_no_commit_it_does_not_wait_for(
    rig: Rig,
) -> None:
    rig.store.failure = StoreUnavailable("cut off")
    submit(rig)
    await rig.heard.next("commit_failed")
    await rig.driver.close()
    assert order(rig) == ["asked", "commit_failed"]


async def test_an_unexpected_failure_of_the_store_is_logged_and_told(rig: Rig) -> None:
    rig.store.failure = ZeroDivisionError("a bug")
    submit(rig)
    await rig.heard.next("commit_failed")
    (fields,) = await rig.log.heard.next("bug")
    assert isinstance(fields["exc_info"], ZeroDivisionError)
    rig.store.failure = None
    submit(rig)
    await rig.heard.next("committed")


async def test_a_core_that_fails_over_a_commit_lets_its_clients_come_back(
    rig: Rig, monkeypatch: Any
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    raw = await rig.upgraded()
    monkeypatch.setattr(rig.hub, "committed", fail)
    submit(rig)
    assert await raw.close_code() == 1011
    await rig.log.heard.next("bug")


async def test_questions_are_bounded_and_all_answered(rig: Rig) -> None:
    rig.store.gate.clear()
    rig.hub.asks += [Asked() for _ in range(3 * QUESTIONS)]
    rig.driver.wake()
    for _ in range(QUESTIONS):
        await rig.heard.next("begun")
    rig.store.gate.set()
    for _ in range(3 * QUESTIONS):
        question, answer = await rig.heard.next("answered")
        assert answer is question.query
    assert rig.store.most_at_once == QUESTIONS


async def test_a_question_the_store_cannot_answer_is_told(rig: Rig) -> None:
    rig.store.failure = StoreUnavailable("gone")
    rig.hub.asks.append(Asked())
    rig.driver.wake()
    assert (await rig.heard.next("question_failed"))[1] == "gone"
    rig.store.failure = ZeroDivisionError()
    rig.hub.asks.append(Asked())
    rig.driver.wake()
    assert (await rig.heard.next("question_failed"))[1] == "internal error of the store"


async def test_the_core_is_woken_when_it_asked_to_be(rig: Rig) -> None:
    due = rig.driver.clock().mono + 30
    rig.hub.due = due
    rig.driver.wake()
    (now,) = await rig.heard.next("timeout")
    assert now.mono >= due


async def test_a_nearer_deadline_comes_first(rig: Rig) -> None:
    rig.hub.due = rig.driver.clock().mono + 3_600_000
    rig.driver.wake()
    await asyncio.sleep(0)
    rig.hub.due = rig.driver.clock().mono + 10
    rig.driver.wake()
    await rig.heard.next("timeout")


async def test_notes_are_log_lines_and_frames_to_nobody_are_dropped(rig: Rig) -> None:
    rig.hub.do(Note("something", {"agent": "dc"}), Send(999, b"", False))
    rig.driver.wake()
    told = {"namespace": "default", "agent": "dc"}
    assert (await rig.log.heard.next("something")) == (told,)


async def test_a_registered_connection_is_no_stranger(rig: Rig) -> None:
    raw = await rig.upgraded()
    (link, _) = await rig.heard.next("connect")
    assert rig.driver.unregistered == 1
    rig.hub.do(Note("registered", {"link": link}))
    rig.driver.wake()
    await rig.log.heard.next("registered")
    assert rig.driver.unregistered == 0
    await raw.close()


async def test_trimming_goes_on_while_there_is_something_to_remove(rig: Rig) -> None:
    rig.store.trims = [100, 100, 7]
    driver = Driver(
        rig.store,
        lambda namespace: rig.hub,
        lambda: Now(0, 0),
        rig.log,
        retention=Retention(),
        trim_every_s=0.01,
    )
    driver.core("default")
    assert (await rig.log.heard.next("trimmed")) == ({"messages": 207},)
    await driver.close()


async def test_only_who_leads_trims(rig: Rig) -> None:
    looked = asyncio.Event()
    looks: list[bool] = []

    class Watched:
        @property
        def leads(self) -> bool:
            looks.append(True)
            if len(looks) == 3:
                looked.set()
            return False

        def __getattr__(self, name: str) -> Any:
            return getattr(rig.hub, name)

    driver = Driver(
        rig.store,
        lambda namespace: Watched(),
        lambda: Now(0, 0),
        rig.log,
        retention=Retention(),
        trim_every_s=0.01,
    )
    rig.store.trims = [7]
    driver.core("default")
    await asyncio.wait_for(looked.wait(), TIMEOUT_S)
    assert rig.store.trims == [7]
    await driver.close()


async def test_a_drain_waits_for_commits_and_closes_sessions_with_1012(rig: Rig) -> None:
    raw = await rig.upgraded()
    rig.store.gate.clear()
    submit(rig)
    draining = asyncio.create_task(rig.driver.drain(TIMEOUT_S))
    assert await raw.close_code() == 1012
    await raw.send(b"\x88\x80" + bytes(4))
    await rig.heard.next("disconnect")
    assert not draining.done()
    rig.store.gate.set()
    assert await draining
    await rig.heard.next("committed")


async def test_a_drain_that_takes_too_long_cuts_connections(rig: Rig) -> None:
    raw = await rig.upgraded()
    assert not await rig.driver.drain(0.1)
    await rig.heard.next("disconnect")
    assert rig.driver.connections == 0
    await raw.close()


async def test_envelopes_of_one_moment_share_a_turn(rig: Rig) -> None:
    rig.hub.on_receive = lambda link, items: rig.hub.ops.append(ONE_OP)
    clients = [await rig.client() for _ in range(10)]
    rig.store.gate.clear()
    for client in clients:
        await client.send(HEARTBEAT.decode())
    for _ in clients:
        await rig.heard.next("receive")
    rig.store.gate.set()
    while sum(len(batch.ops) for commit in rig.store.commits for batch in commit) < 10:
        await rig.heard.next("committed")
    assert len(rig.store.commits) < 10
    for client in clients:
        await client.close()


async def test_hints_are_told_to_the_core_of_their_namespace(rig: Rig) -> None:
    [namespace] = rig.driver.cores
    rig.store.tell("nobody-here", [Missed()])
    rig.store.tell(namespace, [Missed()])
    assert await rig.heard.next("hinted") == ([Missed()],)


async def test_an_errand_is_committed_before_what_the_core_has(rig: Rig) -> None:
    errand = Retry("agni", 1)
    done = rig.driver.submit("elsewhere", errand)
    submit(rig)
    assert isinstance(await done, Swept)
    await rig.heard.next("committed")
    assert rig.store.commits == [[Batch("elsewhere", [errand]), Batch("default", [ONE_OP])]]


async def test_an_errand_hears_that_its_commit_failed_or_never_comes(rig: Rig) -> None:
    rig.store.failure = StoreUnavailable("disk full")
    with pytest.raises(StoreUnavailable, match="disk full"):
        await rig.driver.submit("default", ONE_OP)
    rig.store.failure = None
    await rig.driver.close()
    with pytest.raises(StoreUnavailable, match="has ended"):
        await rig.driver.submit("default", ONE_OP)


async def test_cores_hear_whether_messages_may_be_accepted(rig: Rig) -> None:
    rig.driver.core("default")
    rig.driver.accepting("the disk is full")
    assert await rig.heard.next("accepting") == ("the disk is full",)
    rig.driver.core("another")  # one that is made meanwhile
    assert await rig.heard.next("accepting") == ("the disk is full",)
    rig.driver.accepting(None)
    assert await rig.heard.next("accepting") == (None,)
