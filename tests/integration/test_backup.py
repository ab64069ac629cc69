"""`broker backup` beside real hubs and agents, and what agents find after `broker restore`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.world import World
from tests.integration.cli.command import Broker, Done
from tests.support.history import (
    Accepted,
    Ended,
    Event,
    Handed,
    Log,
    MessageKey,
    Sent,
    Settled,
    Started,
    assert_kept,
    digest,
)
from tests.support.hub_process import HubProcess
from tests.support.redis_server import RedisServer
from trishula import Agent, Message, TrishulaError
from trishula_broker.store import base
from trishula_broker.store.redis import RedisStore
from trishula_broker.store.sqlite import SqliteStore

PATIENCE_S = 60.0
SENDERS = ("ada", "cid")
TO = ("bob", "#ops")
AHEAD = 60
"""Messages that are out beyond what was settled, about."""


async def broker(*args: str) -> Done:
    """The command, which asks no hub."""
    return await Broker("ws://127.0.0.1:1/ws")(*args)


async def made(*args: str) -> Done:
    """The command, which is to succeed."""
    done = await broker(*args)
    assert done.code == 0, done
    return done


class Place:
    """Where hubs keep their mail, and where a backup of it is put back."""

    def __init__(self, folder: Path, redis: RedisServer | None) -> None:
        self.folder = folder
        self._redis = redis
        self.there = () if redis is None else ("--redis", redis.url)

    def hub(self, name: str) -> HubProcess:
        """One with its own data directory."""
        return HubProcess(self.folder / name, *self.there)

    async def back_up(self, file: Path) -> None:
        await made("backup", "--data", str(self.folder / "hub"), *self.there, str(file))

    async def restore(self, file: Path, name: str, *more: str) -> None:
        """Into an empty place, which is the hub's of that name."""
        if self._redis is not None:
            self._redis.ask("FLUSHALL")
        data = str(self.folder / name)
        await made("restore", "--data", data, *self.there, *more, str(file))

    def look(self, name: str) -> World:
        """What is there, while no hub is."""
        if self._redis is not None:
            url = self._redis.url
            return World(lambda: RedisStore(url, timeout=60, own_clock=False))
        return World(lambda: SqliteStore(self.folder / name))


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Both stores."""
    if request.param == "sqlite":
        yield Place(tmp_path, None)
        return
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield Place(tmp_path, server)
    server.kill()


class Crowd:
    """Senders that go on and on, and receivers that settle; what they saw is in their logs."""

    def __init__(self, url: str, part: int) -> None:
        self.url = url
        self._part = part
        self.logs = {name: Log(name) for name in (*SENDERS, "bob", "dan")}
        self.handed = 0
        self.sent = 0
        self._changed = asyncio.Condition()

    async def receive(self, name: str, stack: AsyncExitStack, fresh: bool = False) -> None:
        """Have an agent settle what it is handed."""
        log = self.logs[name]
        log(Started, fresh=fresh)
        agent = Agent(name, self.url, groups=["ops"], prefetch=64, concurrency=1)

        async def handle(message: Message) -> None:
            key = MessageKey(message.sender, message.id)
            said = digest(
                message.type, message.to or "", message.priority, message.reply_to, message.payload
            )
            log(
                Handed,
                sender=key.sender,
                id=key.id,
                seq=message.seq,
                attempt=message.attempt,
                priority=message.priority,
                digest=said,
            )
            await message.done()
            log(Ended, sender=key.sender, id=key.id, how="done")
            self.handed += 1
            async with self._changed:
                self._changed.notify_all()

        agent.on_message(handle)
        await stack.enter_async_context(agent)

    async def send(self, name: str) -> None:
        """Send until cancelled."""
        log = self.logs[name]
        async with Agent(name, self.url) as agent:
            n = 0
            while True:
                batch = []
                for _ in range(20):
                    n += 1
                    to, payload, id_ = TO[n % 2], {"n": n}, f"{name}.{self._part}.{n}"
                    expects = ("bob",) if to == "bob" else ("bob", "dan")
                    log(
                        Sent,
                        id=id_,
                        to=to,
                        priority=3,
                        n=log.number(to, 3),
                        expects=expects,
                        digest=digest("STATUS", to, 3, None, payload),
                    )
                    batch.append(agent.send(to, payload, type="STATUS", id=id_))
                for receipt in await asyncio.gather(*batch):
                    log(Accepted, id=receipt.id)
                self.sent += len(batch)
                await self.until(self.sent - AHEAD)

    async def until(self, handed: int) -> None:
        """So many hand-overs were settled."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: self.handed >= handed)


async def fates(world: World) -> dict[MessageKey, dict[str, base.Fate]]:
    """Every message of a store, with what became of its copies."""
    found = {}
    for sender in SENDERS:
        for message in await world.ask(base.History(sender, None, 0, 100_000)):
            if message.sender == sender:
                key = MessageKey(sender, message.id)
                found[key] = await world.fate(sender, message.id)
    return found


def renumbered(events: list[Event]) -> list[Event]:
    """With counts as their logs would have them."""
    return [msgspec.structs.replace(event, count=n) for n, event in enumerate(events, 1)]


async def test_a_backup_under_load_keeps_every_promise_up_to_its_moment(place: Place) -> None:
    file = place.folder / "file"
    hub = place.hub("hub")
    async with hub, AsyncExitStack() as stack:
        crowd = Crowd(hub.url, 1)
        for name in ("bob", "dan"):
            await crowd.receive(name, stack)
        sending = [asyncio.create_task(crowd.send(name)) for name in SENDERS]
        await crowd.until(100)
        before = {name: len(log.events) for name, log in crowd.logs.items()}
        await place.back_up(file)
        begun = crowd.handed
        await crowd.until(begun + 50)  # it goes on, and this is lost
        await hub.kill()
        for task in sending:
            task.cancel()
            with suppress(asyncio.CancelledError, TrishulaError):
                await task
        with suppress(TrishulaError):
            await stack.aclose()
    await made("backup", "--verify", str(file))

    await place.restore(file, "seen")
    world = place.look("seen")
    await world.store.open()
    there = await fates(world)
    await world.store.close()
    history: list[Event] = []
    for name in SENDERS:
        events = crowd.logs[name].events
        accepted = {e.id for e in events[: before[name]] if isinstance(e, Accepted)}
        kept = [e for e in events if isinstance(e, Sent) and MessageKey(name, e.id) in there]
        # All that was acknowledged before, and then nothing but a beginning of what came later.
        assert accepted <= {event.id for event in kept}
        sent = [event for event in events if isinstance(event, Sent)]
        assert kept == sent[: len(kept)]
        history += renumbered(
            [each for e in kept for each in (e, Accepted(e.instance, e.agent, 0, id=e.id))]
        )
    waiting = 0
    after = Crowd(hub.url, 2)
    for name in ("bob", "dan"):
        done = {key for key, copies in there.items() if name in copies and copies[name].outcome}
        waiting += sum(name in copies and not copies[name].outcome for copies in there.values())
        # What the agent had done by the moment, by its own log.
        mine = [
            e
            for e in crowd.logs[name].events
            if isinstance(e, Started)
            or (isinstance(e, (Handed, Ended)) and MessageKey(e.sender, e.id) in done)
        ]
        settled = [
            Settled(name, name, 0, sender=key.sender, id=key.id)
            for key in sorted(done)
            if any(isinstance(e, Ended) and e.id == key.id for e in mine)
        ]
        after.logs[name].events += renumbered([*mine, *settled])
        after.logs[name]._count = len(after.logs[name].events)
    assert len(there) > 60
    place_of_hub = place.hub("new")
    await place.restore(file, "new")
    async with place_of_hub as again, AsyncExitStack() as stack:
        after.url = again.url
        for name in ("bob", "dan"):
            await after.receive(name, stack, fresh=True)
        await after.until(waiting)
        # Whatever else there were would be handed out before this.
        async with Agent("ada", again.url) as ada:
            log = after.logs["ada"]
            expects, payload = ("bob", "dan"), {"n": "last"}
            said = digest("STATUS", "#ops", 3, None, payload)
            log(Sent, id="last", to="#ops", priority=3, n=1, expects=expects, digest=said)
            await ada.send("#ops", payload, type="STATUS", id="last")
            log(Accepted, id="last")
        await after.until(waiting + 2)
    assert after.handed == waiting + 2
    for name in ("bob", "dan"):
        history += after.logs[name].events
    last = [msgspec.structs.replace(event, instance="ada-2") for event in after.logs["ada"].events]
    assert_kept([*history, *last], f"{len(there)} messages, {waiting} handed out after it")


async def test_the_audit_says_what_a_restore_left_out_and_is_whole(place: Place) -> None:
    file = place.folder / "file"
    async with place.hub("hub") as hub:
        async with Agent("ada", hub.url) as ada:
            await ada.send("ada", {"n": 1}, type="STATUS", id="kept")
            await place.back_up(file)
            await ada.send("ada", {"n": 2}, type="STATUS", id="lost")
        await hub.terminate()
    await place.restore(file, "hub", "--force")
    async with place.hub("hub") as hub:
        async with Agent("ada", hub.url) as ada:
            await ada.send("ada", {"n": 3}, type="STATUS", id="later")
        await hub.terminate()
    data = ("--data", str(place.folder / "hub"))
    store = place.there
    done = await made("audit", "verify", *data, *store)
    assert "trail default of hub: whole" in done.out
    assert "were never here" in done.out
    shown = await made("audit", "export", *data)
    records = [json.loads(line) for line in shown.out.splitlines()]
    accepted = [each["id"] for each in records if each["event"] == "accepted"]
    assert list(dict.fromkeys(accepted)) == ["kept", "lost", "later"]
    later = next(each for each in records if each.get("id") == "later")
    assert later["pos"] > 4_000_000_000


async def test_a_restore_beside_a_running_hub_is_refused(place: Place) -> None:
    file = place.folder / "file"
    async with place.hub("hub") as hub:
        async with Agent("ada", hub.url) as ada:
            await ada.send("ada", {}, type="STATUS")
        await place.back_up(file)
        data = str(place.folder / "hub")
        done = await broker("restore", "--force", "--data", data, *place.there, str(file))
        assert done.code == 1
        assert "is held by process" in done.err or "hub serves namespace" in done.err
        async with Agent("ada", hub.url) as ada:
            await ada.send("ada", {}, type="STATUS")


async def test_the_command_tells_what_it_did_and_what_is_wrong(tmp_path: Path) -> None:
    async with HubProcess(tmp_path / "data") as hub, Agent("ada", hub.url) as ada:
        await ada.send("ada", {}, type="STATUS", id="one")
        file = str(tmp_path / "file")
        done = await made("backup", "--data", str(hub.data), file)
        assert "made; SQLite, as it was at 20" in done.out
        assert "  default: 1 agent, 1 message, 1 waiting\n" in done.out
        assert done.err.splitlines()[0] == "copying …"
        done = await made("backup", "--verify", "--json", file)
        manifest: dict[str, Any] = done.json["manifest"]
        assert manifest["namespaces"][0]["messages"] == 1
        assert [part["name"] for part in manifest["parts"]] == ["store.db"]
    wrong = (
        (("backup", "--data", str(hub.data), file), 1, "it is there already: name another"),
        (("backup", "--namespace", "x", file + "2"), 2, "--namespace is of a Redis"),
        (("backup", file + "/in/no/folder"), 1, "cannot be made in that folder"),
        (("restore", "--redis", "redis://127.0.0.1:1/0", file), 1, "is of a SQLite store: leave"),
        (("backup", "--redis", "http://x", file + "2"), 1, "the Redis URL begins with 'http'"),
    )
    for (args, code, text), said in zip(
        wrong, await asyncio.gather(*(broker(*args) for args, _, _ in wrong)), strict=True
    ):
        assert said.code == code, (args, said)
        assert text in said.err, (args, said)
        assert said.err.count("Error:") == 1
    assert not Path(file + "2").exists()
