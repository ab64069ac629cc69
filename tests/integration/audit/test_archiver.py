"""The archive follows the trail: all of it, once, in order, over crashes and full disks."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.contract.world import World
from tests.support.trails import START, Clock, as_file, told
from trishula_broker.audit import chain, segment, verify
from trishula_broker.audit import follower as following
from trishula_broker.audit import writer as writing
from trishula_broker.audit.archiver import Archiver
from trishula_broker.audit.heads import NodeKey
from trishula_broker.audit.lock import Held
from trishula_broker.audit.port import Port
from trishula_broker.audit.records import SLICE, VERSION
from trishula_broker.audit.settings import AuditSettings
from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore
from trishula_protocol.codec import encode_json
from trishula_protocol.envelope import Envelope

NS = "default"


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    warning = error = info


class Envelopes(World):
    """Its mail says of itself who sent it to whom, as a hub's does."""

    def mail(self, *args: Any, **fields: Any) -> base.Accept:
        op = super().mail(*args, **fields)
        envelope = Envelope("COMMAND", op.id, op.sender, str(op.address), payload=1)
        return replace(op, body=encode_json(envelope))


class Node:
    """A store, and the archiver of a node of it."""

    def __init__(self, folder: Path, store: base.Store, name: str = "n1", several: bool = True):
        self.folder = folder
        self.name = name
        self.world = Envelopes(lambda: store, NS)
        self.log = Lines()
        self.heard: asyncio.Queue[str | None] = asyncio.Queue()
        self.told: asyncio.Queue[base.Archive] = asyncio.Queue()
        self.lock = asyncio.Lock()
        self.several = several
        self.archiver = self.make()

    def make(self) -> Archiver:
        return Archiver(
            self.folder / self.name / "audit",
            self.name,
            NS,
            NodeKey.load_or_make(self.folder / self.name / "node.key"),
            AuditSettings(),
            Port(self.submit, self.world.store.query),
            Clock(),
            self.log,
            self.heard.put_nowait,
            several=self.several,
        )

    async def submit(self, namespace: str, op: Any) -> Any:
        async with self.lock:
            batch = base.Batch(namespace, [op])
            [[outcome]] = await self.world.store.commit(START, [batch])
        self.told.put_nowait(op)
        return outcome

    async def again(self) -> None:
        """As after ``kill -9``: nothing was said or flushed."""
        await self.archiver.close()
        self.archiver = self.make()
        await self.archiver.open()

    def records(self, kind: str = segment.TRAIL) -> list[dict[str, Any]]:
        name = segment.ChainName(kind, NS if kind == segment.TRAIL else "")
        root = self.folder / self.name / "audit"
        return [
            record
            for each in segment.segments(name.folder(root))
            for record in told(segment.lines(segment.read(each, name, None).text))
        ]

    def events(self) -> list[tuple[str, Any]]:
        return [
            (each["event"], each.get("id") or each.get("seqs"))
            for each in self.records()
            if each["event"] in ("accepted", "done")
        ]

    async def whole(self, against: str | None = None) -> list[str]:
        """What ``broker audit verify`` finds."""
        archives = {NS: await self.world.ask(base.Archives())}
        kid = NodeKey.load_or_make(self.folder / self.name / "node.key").kid
        reports = verify.verify(
            self.folder / self.name / "audit", verify.Store(archives, kid=kid), None, against
        )
        return [str(finding) for report in reports for finding in report.findings]


@pytest.fixture
async def node(tmp_path: Path) -> Any:
    made = Node(tmp_path, MemoryStore())
    await made.world.store.open()
    await made.archiver.open()
    await made.world.come("dc")
    await made.world.come("agni")
    yield made
    await made.archiver.close()


def iter_now(queue: asyncio.Queue[base.Archive]) -> Iterator[base.Archive]:
    """What is in it."""
    while not queue.empty():
        yield queue.get_nowait()


async def test_a_store_is_asked_to_keep_the_trail_until_it_has_heard(tmp_path: Path) -> None:
    node = Node(tmp_path, MemoryStore())
    failures = iter(range(3))
    heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    async def submit(namespace: str, op: Any) -> Any:
        if next(failures, None) is not None:
            raise base.StoreUnavailable("away")
        heard.put_nowait((namespace, op))
        return base.Archived(1, 0)

    async def query(namespace: str, query: Any) -> Any:
        raise base.StoreUnavailable("away")  # so what follows the trail says nothing itself

    node.archiver._port = Port(submit, query)
    await node.archiver.open()
    async with asyncio.timeout(60):
        assert await heard.get() == (NS, base.Archive("n1", 0))
    await node.archiver.close()


async def test_a_head_is_of_what_would_survive_a_crash(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncing, go_on = threading.Event(), threading.Event()
    sync = writing.ChainWriter.sync

    def slow(self: writing.ChainWriter) -> None:
        if self.name.kind == segment.LOCAL and not self.is_synced:
            syncing.set()
            go_on.wait(60)
        sync(self)

    local = node.archiver.local
    async with asyncio.timeout(60):
        while not local.writer.durable.number:
            await node.told.get()
        monkeypatch.setattr(writing.ChainWriter, "sync", slow)
        before = local.writer.durable
        local.record("", "refused", {"why": "none"})
        await asyncio.to_thread(syncing.wait, 60)
        heads = node.archiver._local_heads()
        go_on.set()
        assert [head.number for head in heads] == [before.number]
        while not any(
            head.chain == segment.LOCAL and head.number > before.number
            for head in (await node.told.get()).heads
        ):
            pass


def rewrite(
    each: segment.Segment,
    name: segment.ChainName,
    change: Callable[[list[bytes]], list[bytes]],
    packed: bool = True,
) -> None:
    """Change the lines of an open segment; not ``packed`` as earlier versions wrote it."""
    lines = segment.read(each, name, None).text.splitlines(keepends=True)
    each.path.unlink()
    path = each.path.with_name(segment.file_name(each.number, False, False, packed))
    anew = each._replace(path=path, packed=packed)
    path.write_bytes(as_file(anew, b"".join(change(lines)), None))


async def test_the_log_hears_once_that_the_archive_lags_and_that_it_does_no_more(
    node: Node,
) -> None:
    follower = node.archiver._followers[NS]
    times: list[float] = []
    follower._lateness._seconds = lambda: times[-1]

    def written(*what: tuple[float, int]) -> None:
        """At these seconds, entries so many milliseconds old."""
        for second, behind_ms in what:
            times.append(second)
            follower._lateness.archived(START - behind_ms)

    written((0, 0), (1, 11_000), (5, 60_000), (6, 500), (7, 20_000), (16, 20_000))
    assert node.log.lines == []
    written((17, 21_000), (40, 60_000), (41, 20))
    assert node.log.lines == [
        ("audit_lags", {"namespace": NS, "seconds": 21}),
        ("audit_caught_up", {"namespace": NS}),
    ]


async def exchange(world: World, first: int, last: int) -> None:
    for n in range(first, last + 1):
        sent = await world.send("dc", "agni", f"m{n}")
        await world.do(world.settle("agni", sent.seq))


async def test_all_that_is_committed_is_archived_once_and_in_order(node: Node) -> None:
    await exchange(node.world, 1, 20)
    await node.archiver.finish(60)
    expected = [pair for n in range(1, 21) for pair in (("accepted", f"m{n}"), ("done", [n]))]
    assert node.events() == expected
    assert await node.whole() == []
    [record] = await node.world.ask(base.Archives())
    assert record.node == "n1"
    assert {head.chain for head in record.heads} == {"trail", "local"}
    assert record.upto == node.records()[-1]["pos"]
    assert await node.world.ask(base.Trail(0, 1000)) == ()  # nothing is kept any more


async def test_much_that_was_committed_singly_is_archived_a_little_at_a_time(node: Node) -> None:
    await node.archiver.finish(60)  # and from here on it does not follow by itself
    await exchange(node.world, 1, 200)
    turns = 0
    loop = asyncio.get_running_loop()

    def turn() -> None:
        nonlocal turns
        turns += 1
        handle[:] = [loop.call_soon(turn)]

    handle = [loop.call_soon(turn)]
    follower = node.archiver._followers[NS]
    news = await follower._news()
    assert len(news) == 400
    made = [0]
    begun = chain.close

    def close(link: chain.Link, some: list[bytes]) -> tuple[chain.Link, list[bytes]]:
        made.append(len(some))
        return begun(link, some)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(chain, "close", close)
        before = turns
        await follower._write(news)
    handle[0].cancel()
    assert sum(made) == 400
    assert max(made) <= SLICE // 4
    assert turns - before >= len(made) - 2  # the loop did other things between any two
    assert len(node.events()) == 400


async def test_it_follows_by_itself(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_S", 0.01)
    monkeypatch.setattr(following, "COMMIT_S", 0.01)
    await exchange(node.world, 1, 3)
    async with asyncio.timeout(60):
        while (await node.told.get()).upto < 8:
            pass  # two agents came, and three messages had two entries each
    assert len(node.events()) == 6


@given(st.lists(st.integers(0, 60), min_size=1, max_size=4))
@settings(max_examples=25)
def test_crashes_lose_and_double_nothing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int]
) -> None:
    async def play() -> None:
        node = Node(tmp_path_factory.mktemp("crashes"), MemoryStore())
        await node.world.store.open()
        await node.archiver.open()
        await node.world.come("dc")
        await node.world.come("agni")
        done = 0
        for pause in steps:
            await exchange(node.world, done + 1, done + 5)
            done += 5
            follower = node.archiver._followers[NS]
            node.archiver._tasks[NS].cancel()
            await asyncio.wait([node.archiver._tasks[NS]])
            step = asyncio.ensure_future(follower.finish())
            for _ in range(pause):
                await asyncio.sleep(0)
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)
            await node.again()
        await node.archiver.finish(60)
        ids = [id_ for event, id_ in node.events() if event == "accepted"]
        assert ids == [f"m{n}" for n in range(1, done + 1)]
        assert await node.whole() == []
        await node.archiver.close()

    asyncio.run(play())


@given(version=st.integers(1, VERSION), cut=st.integers(0, 8), again=st.booleans())
@settings(max_examples=50)
def test_an_archive_of_any_version_goes_on_wherever_a_crash_tore_it(
    tmp_path_factory: pytest.TempPathFactory, version: int, cut: int, again: bool
) -> None:
    async def play() -> None:
        node = Node(tmp_path_factory.mktemp("version"), MemoryStore())
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(writing, "VERSION", version)
            patched.setattr(following, "VERSION", version)
            await node.world.store.open()
            await node.archiver.open()
            for agent in ("dc", "agni", "indra"):
                await node.world.come(agent)
            await node.archiver.finish(60)
            sent = [await node.world.send("dc", "agni", f"m{n}") for n in range(1, 4)]
            sent += [await node.world.send("dc", "indra", f"m{n}") for n in range(4, 7)]
            who = [*["agni"] * 3, *["indra"] * 3]
            done = [
                node.world.settle(agent, each.seq) for agent, each in zip(who, sent, strict=True)
            ]
            late = [node.world.mail("dc", "agni", id_) for id_ in ("m7", "m8")]
            await node.world.store.commit(START, [base.Batch(NS, [*done[:2], *late, *done[2:]])])
            follower = node.archiver._followers[NS]
            await follower.step()
            await node.archiver.close()
        rewrite(
            segment.segments(follower.writer.folder)[-1],
            follower.writer.name,
            lambda lines: lines[: len(lines) - cut],
            packed=version == VERSION,
        )
        node.archiver = node.make()
        await node.archiver.open()
        if again:
            await node.again()
        await node.world.send("dc", "agni", "m9")
        await node.archiver.finish(60)
        accepted = [id_ for event, id_ in node.events() if event == "accepted"]
        assert accepted == [f"m{n}" for n in range(1, 10)]
        ended = [seq for event, seqs in node.events() if event == "done" for seq in seqs]
        assert sorted(ended) == [each.seq for each in sent]
        assert await node.whole() == []
        headers = [each["version"] for each in node.records() if each["event"] == "segment"]
        assert headers[0] == version
        assert headers[-1] == VERSION
        await node.archiver.close()

    asyncio.run(play())


async def test_a_disk_that_is_full_stops_acceptance_until_there_is_room(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "POLL_S", 0.01)
    monkeypatch.setattr(following, "RETRY_S", 0.01)

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for each in node.archiver._followers.values():
        monkeypatch.setattr(each.writer, "_sync", full)
    await exchange(node.world, 1, 5)
    why = await asyncio.wait_for(node.heard.get(), 20)
    assert why is not None
    assert "No space left" in why
    assert node.archiver.problem == why
    assert node.archiver.describe()["problem"] == why
    for each in node.archiver._followers.values():
        monkeypatch.setattr(each.writer, "_sync", writing._sync)
    assert await asyncio.wait_for(node.heard.get(), 20) is None
    await node.archiver.finish(60)
    assert len(node.events()) == 10
    assert await node.whole() == []
    assert [event for event, _ in node.log.lines if event.startswith("audit_")] == [
        "audit_unavailable",
        "audit_available",
    ]


async def test_the_store_hears_only_of_what_would_survive_a_crash(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    [follower] = node.archiver._followers.values()
    synced: list[int] = []

    def noted(file: int) -> None:
        writing._sync(file)
        synced.append(follower.writer.mark.pos)

    monkeypatch.setattr(follower.writer, "_sync", noted)
    await exchange(node.world, 1, 5)
    await node.archiver.finish(60)
    heard = [op.upto for op in iter_now(node.told) if op.upto]
    assert heard
    assert set(heard) <= {0, *synced}


async def test_what_only_this_node_sees_has_a_chain_of_its_own(node: Node) -> None:
    node.archiver.local.record("default", "refused", {"code": "forbidden", "agent": "dc"})
    node.archiver.local.record("", "refused", {"code": "unauthorized", "peer": "127.0.0.1"})
    await node.archiver.finish(60)
    found = [each for each in node.records(segment.LOCAL) if each["event"] == "refused"]
    assert [each["code"] for each in found] == ["forbidden", "unauthorized"]
    assert [each["ns"] for each in found] == ["default", ""]
    assert await node.whole() == []
    node.archiver.local.record("", "disconnected", {})
    await node.archiver.close()  # what came last is not lost
    assert node.records(segment.LOCAL)[-1]["event"] == "disconnected"


async def test_only_one_hub_writes_an_archive(node: Node) -> None:
    with pytest.raises(Held, match="n1"):
        await node.make().open()


async def test_a_store_that_was_set_back_is_told(tmp_path: Path) -> None:
    old = Node(tmp_path, MemoryStore())
    await old.world.store.open()
    await old.archiver.open()
    await old.world.come("dc")
    await old.world.come("agni")
    await exchange(old.world, 1, 10)
    await old.archiver.finish(60)
    await old.archiver.close()
    new = Node(tmp_path, MemoryStore())
    await new.world.store.open()
    await new.archiver.open()
    await new.world.come("dc")
    await new.world.come("agni")
    await new.archiver.finish(60)  # says how far it is, and hears that the store is not
    await exchange(new.world, 11, 12)
    await new.archiver.finish(60)
    assert "rewound" in [each["event"] for each in new.records()]
    assert any("set back" in alarm for alarm in new.archiver.alarms)
    assert await new.whole() == []
    await new.archiver.close()


async def test_entries_that_took_the_place_of_archived_ones_are_archived_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that had not all became the master, and went on before anybody looked."""
    store = MemoryStore()
    node = Node(tmp_path, store)
    await store.open()
    await node.archiver.open()
    await node.world.come("dc")
    await node.world.come("agni")
    monkeypatch.setattr(following, "COMMIT_S", 3_600)
    await exchange(node.world, 1, 3)
    await node.archiver.finish(60)
    follower = node.archiver._followers[NS]
    trail = store._books.spaces[NS].trail
    copied = trail.last + 2
    await exchange(node.world, 4, 6)
    assert await follower.step()  # archived, and not yet said to the store
    for pos in range(copied + 1, trail.last + 1):
        del trail.entries[pos]
    trail.last = copied
    node.world.now += 5_000
    await exchange(node.world, 7, 10)
    follower._commit_at = 0
    await node.archiver.finish(60)
    ids = [id_ for event, id_ in node.events() if event == "accepted"]
    assert ids == [f"m{n}" for n in range(1, 11)]
    [rewound] = [each for each in node.records() if each["event"] == "rewound"]
    assert (rewound["had"], rewound["to"]) == (copied + 4, copied)
    assert any("set back" in alarm for alarm in node.archiver.alarms)
    assert await node.whole() == []
    await node.archiver.close()


async def test_what_an_operator_must_know_is_told_once_while_the_disk_is_full(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await exchange(node.world, 1, 3)
    await node.archiver.finish(60)
    follower = node.archiver._followers[NS]

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(follower.writer, "_sync", full)
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            await follower._rewound(2)
    [alarm] = node.archiver.alarms
    assert "set back" in alarm
    assert [event for event, _ in node.log.lines].count("audit_alarm") == 1


async def test_entries_that_the_store_no_longer_has_are_told_as_a_gap(tmp_path: Path) -> None:
    model = MemoryStore()
    one = Node(tmp_path, model.node("n1"), "n1")
    two = Node(tmp_path, model.node("n2"), "n2")
    for each in (one, two):
        await each.world.store.open()
        await each.archiver.open()
    await one.world.come("dc")
    await one.world.come("agni")
    await exchange(one.world, 1, 3)
    for each in (one, two):
        await each.archiver.finish(60)
    await two.archiver.close()
    await exchange(one.world, 4, 6)
    await one.archiver.finish(60)
    await one.submit(NS, base.Archive("n2", 0, ends=True))  # as if it was given up
    await exchange(one.world, 7, 7)
    await one.archiver.finish(60)
    two.archiver = two.make()
    await two.archiver.open()
    await exchange(one.world, 8, 9)
    for each in (one, two):
        await each.archiver.finish(60)
    assert [id_ for event, id_ in two.events() if event == "accepted"][-2:] == ["m8", "m9"]
    [gap] = [each for each in two.records() if each["event"] == "gap"]
    assert gap["missing"][0] <= gap["missing"][1]
    assert any("lacks entries" in alarm for alarm in two.archiver.alarms)
    assert await two.whole() == []
    for each in (one, two):
        await each.archiver.close()


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of ten entries."""
    from trishula_broker.audit import blocks, scan

    monkeypatch.setattr(blocks, "SIZE", 10)
    monkeypatch.setattr(scan, "SIZE", 10)


@pytest.mark.usefixtures("short_blocks")
async def test_nodes_see_when_their_archives_differ(tmp_path: Path) -> None:
    model = MemoryStore()
    nodes = [Node(tmp_path, model.node(name), name) for name in ("n1", "n2")]
    for each in nodes:
        await each.world.store.open()
        await each.archiver.open()
    await nodes[0].world.come("dc")
    await nodes[0].world.come("agni")
    await exchange(nodes[0].world, 1, 12)
    for each in nodes:
        await each.archiver.finish(60)
    one, two = await nodes[0].world.ask(base.Archives())
    assert one.digests == two.digests
    assert [number for number, _ in one.digests] == [0, 1]
    assert await nodes[0].whole(against="n2") == []
    assert nodes[0].archiver.mismatches == 0
    await nodes[0].submit(NS, base.Archive("n2", 0, (), ((1, "0" * 64),)))
    follower = nodes[0].archiver._followers[NS]
    follower._beside.compare(await nodes[0].world.ask(base.Archives()))
    assert nodes[0].archiver.mismatches == 1
    assert "block 1" in nodes[0].archiver.alarms[0]
    [finding] = await nodes[0].whole(against="n2")
    assert "entries 11 to 20" in finding
    for each in nodes:
        await each.archiver.close()


async def test_a_node_that_is_new_lacks_nothing_that_an_operator_must_know(tmp_path: Path) -> None:
    store = MemoryStore()
    one, two = Node(tmp_path, store, "n1"), Node(tmp_path, store, "n2")
    await store.open()
    await one.archiver.open()
    await one.world.come("dc")
    await one.archiver.finish(60)
    await two.archiver.open()
    await one.world.come("agni")
    await two.archiver.finish(60)
    assert [(each["event"], each.get("missing")) for each in two.records()][1] == ("gap", [1, 1])
    assert two.archiver.alarms == []
    assert "audit_begins" in [event for event, _ in two.log.lines]
    await one.archiver.close()
    await two.archiver.close()


async def test_a_namespace_is_archived_from_its_first_commit_on(node: Node) -> None:
    node.archiver.follow("elsewhere")
    await asyncio.sleep(0)
    other = World(lambda: node.world.store, "elsewhere")
    await other.come("dc")
    assert len(await other.ask(base.Trail(0, 10))) == 1


@pytest.mark.parametrize("kind", [segment.TRAIL, segment.LOCAL])
@pytest.mark.parametrize("goes_on", [False, True])
async def test_a_cut_end_is_still_found_when_a_hub_has_gone_on_behind_it(
    node: Node, kind: str, goes_on: bool
) -> None:
    await exchange(node.world, 1, 20)
    for n in range(3):
        node.archiver.local.record(NS, "refused", {"times": n})
    await node.archiver.finish(60)
    last = node.records(kind)[-1]["n"]
    await node.archiver.close()
    name = segment.ChainName(kind, NS if kind == segment.TRAIL else "")
    [each] = segment.segments(name.folder(node.archiver.root))
    rewrite(each, name, lambda lines: lines[:-2])
    for turn in range(2):  # what is said once is enough, and stays
        node.archiver = node.make()
        await node.archiver.open()
        if goes_on:
            await node.world.send("dc", "agni", f"late{turn}")
            node.archiver.local.record(NS, "refused", {"times": 4})
        await node.archiver.finish(60)
        [found] = await node.whole()
        assert f"its end was cut off: it ended with record {last - 2}" in found
        assert f"it had {last}" in found
        await node.archiver.close()
    altered = [record for record in node.records(kind) if record["event"] == "altered"]
    assert [record["had"] for record in altered] == [last]
    alarms = [fields["what"] for event, fields in node.log.lines if event == "audit_alarm"]
    assert "its end was cut off" in alarms[0]


async def test_an_end_written_anew_is_still_found_when_a_hub_has_gone_on_behind_it(
    node: Node,
) -> None:
    await exchange(node.world, 1, 5)
    await node.archiver.finish(60)
    await node.archiver.close()
    name = segment.ChainName(segment.TRAIL, NS)
    [each] = segment.segments(name.folder(node.archiver.root))

    def forged(lines: list[bytes]) -> list[bytes]:
        *before, accepted, done = (line[:-1] for line in lines)
        end = chain.take_apart(before[-1])
        assert end is not None
        assert b'"m5"' in accepted
        records = [
            line[line.index(b",") + 1 : -chain.TAIL]
            for line in (accepted.replace(b'"m5"', b'"m6"'), done, done)
        ]
        _, anew = chain.extend(chain.Link(end.number, end.digest), records)
        return [*lines[:-2], *anew]

    rewrite(each, name, forged)
    await node.again()
    await node.archiver.finish(60)
    found = await node.whole()
    assert any("is not what the node signed at" in each for each in found)


async def test_a_key_that_was_replaced_is_told(node: Node) -> None:
    await exchange(node.world, 1, 5)
    await node.archiver.finish(60)
    (node.folder / node.name / "node.key").unlink()
    await node.again()
    await node.archiver.finish(60)
    assert any("node.key" in each for each in node.archiver.alarms)
    assert await node.whole() == []
