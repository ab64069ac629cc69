"""Hostile clients on real sockets of a real hub, while honest agents go on.

One hostile session after another; the honest ones lose nothing, hear nothing of it, and the
hub's log has no traceback.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.hub_process import HubProcess
from tests.unit.protocol.hostile_frames import (
    ENVELOPES,
    FRAMES,
    MSGPACK_ENVELOPES,
    MSGPACK_FRAMES,
    Hostile,
    batched,
    batched_msgpack,
)
from tests.unit.protocol.reference import pack, unpack
from trishula_protocol.limits import SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK

Json = dict[str, Any]
GENEROUS_S = 60.0


class Client:
    """One connection's client side, as raw as it gets."""

    def __init__(self, socket: ClientConnection, binary: bool) -> None:
        self.socket = socket
        self._binary = binary
        self._heard: list[Json] = []

    async def raw(self, frame: bytes) -> None:
        """A frame as it is, bad UTF-8 too."""
        await self.socket.send(frame, text=not self._binary)

    async def say(self, *envelopes: Json) -> None:
        many = list(envelopes)
        await self.raw(pack(many) if self._binary else json.dumps(many).encode())

    async def hear(self) -> Json:
        """The next envelope."""
        while not self._heard:
            async with asyncio.timeout(GENEROUS_S):
                frame = await self.socket.recv()
            decoded = unpack(frame) if isinstance(frame, bytes) else json.loads(frame)
            self._heard += decoded if isinstance(decoded, list) else [decoded]
        return self._heard.pop(0)

    async def until_heartbeat(self) -> list[Json]:
        """All that is heard before the answer to a heartbeat: the session lives."""
        await self.say({"type": "HEARTBEAT"})
        heard: list[Json] = []
        while (envelope := await self.hear())["type"] != "HEARTBEAT":
            heard.append(envelope)
        return heard

    async def register(self, name: str) -> None:
        await self.say(_command("r", op="register", agent=name, heartbeat_ms=60_000))
        answer = await self.hear()
        assert answer["type"] == "RESULT", answer


def _command(request: str, **payload: Any) -> Json:
    return {"type": "COMMAND", "to": "hub", "id": request, "payload": payload}


def _ack(stage: str, seqs: list[int], **fields: Any) -> Json:
    return {"type": "ACK", "to": "hub", "payload": {"stage": stage, "seqs": seqs, **fields}}


@asynccontextmanager
async def client(
    hub: HubProcess, name: str | None, *, binary: bool = False
) -> AsyncIterator[Client]:
    subprotocol = Subprotocol(SUBPROTOCOL_MSGPACK if binary else SUBPROTOCOL_JSON)
    async with connect(
        hub.url, subprotocols=[subprotocol], ping_interval=None, max_size=None, proxy=None
    ) as socket:
        connected = Client(socket, binary)
        if name is not None:
            await connected.register(name)
        yield connected


class Honest:
    """Two agents, ``dc`` sending to ``agni`` one message after another until they are stopped."""

    def __init__(self, hub: HubProcess) -> None:
        self._hub = hub
        self._stop = asyncio.Event()
        self._moved = asyncio.Event()
        self._settled: set[int] = set()
        self._task = asyncio.create_task(self._run())
        self.sent = 0

    async def _run(self) -> None:
        try:
            async with client(self._hub, "dc") as dc, client(self._hub, "agni") as agni:
                while not self._stop.is_set():
                    await self._exchange(dc, agni)
                    self.sent += 1
                    self._moved.set()
                assert await dc.until_heartbeat() == []
        finally:
            self._moved.set()

    async def _exchange(self, dc: Client, agni: Client) -> None:
        name = f"m{self.sent}"
        payload = {"n": self.sent, "x": [1e22, -0.0, 2**64 - 1, "é"]}
        await dc.say({"type": "STATUS", "to": "agni", "id": name, "payload": payload})
        accepted = await dc.hear()
        assert accepted["payload"] == {"stage": "accepted", "ids": [name]}, accepted
        mail = await self._mail(agni)
        while mail["from"] == "evil":  # a good neighbour in one of its frames
            mail = await self._mail(agni)
        assert (mail["id"], mail["from"], mail["payload"]) == (name, "dc", payload)
        assert mail["attempt"] == 1
        while mail["seq"] not in self._settled:
            await self._told(agni)

    async def _mail(self, agni: Client) -> Json:
        while (mail := await self._told(agni)) is None:
            pass
        return mail

    async def _told(self, agni: Client) -> Json | None:
        """Mail, done with at once; None when something was settled instead."""
        envelope = await agni.hear()
        if envelope["type"] == "ACK":
            assert envelope["payload"]["stage"] == "settled", envelope
            self._settled.update(envelope["payload"]["seqs"])
            return None
        assert envelope["type"] == "STATUS", envelope
        await agni.say(_ack("done", [envelope["seq"]]))
        return envelope

    async def move(self, messages: int) -> None:
        """Wait until so many more have arrived."""
        end = self.sent + messages
        async with asyncio.timeout(GENEROUS_S):
            while self.sent < end:
                self._moved.clear()
                if self._task.done():
                    await self._task
                await self._moved.wait()

    async def stop(self) -> None:
        """Let them finish; raises what went wrong."""
        self._stop.set()
        async with asyncio.timeout(GENEROUS_S):
            await self._task


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubProcess]:
    async with HubProcess(tmp_path / "data") as process:
        honest = Honest(process)
        await honest.move(1)
        yield process
        await honest.move(2)
        await honest.stop()
        assert "Traceback" not in process.log
        assert not [line for line in process.log.splitlines() if "bug" in line.split()]


def _is_refusal(heard: list[Json], hostile: Hostile) -> None:
    [error] = [each for each in heard if each["type"] == "ERROR"]
    assert error["payload"]["code"] == hostile.code, (hostile.name, error)
    assert all(word in error["payload"]["message"] for word in hostile.says), (hostile.name, error)
    assert error["reply_to"] == ("bad" if hostile.named else None), (hostile.name, error)
    assert "seq" not in error


@pytest.mark.parametrize("binary", [False, True], ids=["json", "msgpack"])
async def test_hostile_frames_cost_themselves_alone(hub: HubProcess, binary: bool) -> None:
    cases = MSGPACK_ENVELOPES + MSGPACK_FRAMES if binary else ENVELOPES + FRAMES
    for start in range(0, len(cases), 10):  # a session for a few of them
        async with client(hub, "evil", binary=binary) as evil:
            for hostile in cases[start : start + 10]:
                await evil.raw(hostile.frame)
                _is_refusal(await evil.until_heartbeat(), hostile)


@pytest.mark.parametrize("binary", [False, True], ids=["json", "msgpack"])
async def test_good_neighbours_of_hostile_envelopes_are_accepted(
    hub: HubProcess, binary: bool
) -> None:
    good = [each for each in ENVELOPES if not each.frame.startswith(b"[")]
    async with client(hub, "evil", binary=binary) as evil:
        for hostile in MSGPACK_ENVELOPES if binary else good:
            await evil.raw(batched_msgpack(hostile) if binary else batched(hostile))
            heard: list[Json] = []
            accepted: list[str] = []
            while len(accepted) < 2:
                envelope = await evil.hear()
                heard.append(envelope)
                if envelope["type"] == "ACK":
                    accepted += envelope["payload"]["ids"]
            assert accepted == ["good1", "good2"]
            _is_refusal(heard + await evil.until_heartbeat(), hostile)


@pytest.mark.parametrize("binary", [False, True], ids=["json", "msgpack"])
async def test_hostile_frames_before_registering_are_refused_too(
    hub: HubProcess, binary: bool
) -> None:
    for hostile in (MSGPACK_FRAMES if binary else FRAMES)[:9]:
        async with client(hub, None, binary=binary) as evil:
            await evil.raw(hostile.frame)
            assert (await evil.hear())["payload"]["code"] == "bad_message"
            await evil.say({"type": "HEARTBEAT"}, _command("q", op="peek"), _ack("done", [1]))
            codes = [(await evil.hear())["payload"]["code"] for _ in range(3)]
            assert codes == ["not_registered"] * 3
            await evil.register("evil")


async def test_text_in_a_binary_session_and_the_other_way_round(hub: HubProcess) -> None:
    beat = b'{"type":"HEARTBEAT"}'
    for binary in (False, True):
        async with client(hub, "evil", binary=binary) as evil:
            await evil.socket.send(beat, text=binary)
            [error] = await evil.until_heartbeat()
            assert error["payload"]["code"] == "bad_message"
            assert error["reply_to"] is None


async def test_ten_unreadable_frames_in_a_row_close_with_4400(hub: HubProcess) -> None:
    async with client(hub, "evil") as evil:
        for _ in range(10):
            await evil.raw(b"nope")
        for _ in range(10):
            assert (await evil.hear())["payload"]["code"] == "bad_message"
        with pytest.raises(ConnectionClosed) as closed:
            await evil.hear()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4400


async def test_a_frame_over_the_limit_closes_with_1009(hub: HubProcess) -> None:
    # Compressed it is small: the limit holds for what it inflates to.
    async with client(hub, "evil") as evil:
        await evil.raw(b" " * (1 << 20) + b'{"type":"HEARTBEAT"}')
        with pytest.raises(ConnectionClosed) as closed:
            await evil.hear()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_settling_nonsense_changes_nothing(hub: HubProcess) -> None:
    nonsense: list[list[int]] = [
        list(range(1, 10_001)),
        [2**53, 2**53 - 1],
        [1] * 10_000,
    ]
    async with client(hub, "evil") as evil:
        for seqs in nonsense:
            for stage, fields in (
                ("done", {}),
                ("read", {}),
                ("rejected", {}),
                ("rejected", {"requeue": True}),
            ):
                await evil.say(_ack(stage, seqs, **fields))
                error = await evil.hear()
                assert error["payload"]["code"] == "stale_ack"
                assert sorted(error["payload"]["details"]["seqs"]) == sorted(set(seqs))
        await evil.say(
            *(
                {"type": "RESULT", "to": "agni", "id": f"a{n}", "reply_to": "x", "settles": seq}
                for n, seq in enumerate((1, 2, 2**53))
            )
        )
        for _ in range(3):
            assert (await evil.hear())["payload"]["code"] == "stale_ack"
        assert await evil.until_heartbeat() == []


async def test_hostile_operations_are_refused(hub: HubProcess) -> None:
    payloads: list[Any] = [
        {"op": "history", "after": -1},
        {"op": "history", "after": 2**63},
        {"op": "history", "limit": 10**30},
        {"op": "deadletters", "agent": "../../etc/passwd"},
        {"op": "deadletters", "after": 2**64},
        {"op": "retry", "agent": "nobody", "seq": 1},
        {"op": "drop", "agent": "agni", "seq": 2**53},
        {"op": "recall", "id": "m0"},
        {"op": "trace", "id": "m0"},
        {"op": "join", "group": "a\n"},
        {"op": "status", "details": "x" * 5_000},
        {"op": "register", "agent": "agni"},
        {"op": ["peek"]},
        None,
        [[]],
    ]
    async with client(hub, "evil") as evil:
        for n, payload in enumerate(payloads):
            await evil.say({"type": "COMMAND", "to": "hub", "id": f"q{n}", "payload": payload})
            error = await evil.hear()
            assert (error["type"], error["reply_to"]) == ("ERROR", f"q{n}"), error
            assert error["payload"]["code"] in ("bad_message", "unknown_op", "too_large"), error
        assert await evil.until_heartbeat() == []


async def test_a_thousand_bad_envelopes_a_frame_are_a_thousand_refusals(hub: HubProcess) -> None:
    filling = "[1," * 60 + '"\\ud800"' + "]" * 60
    bad = (
        f'{{"type":"STATUS","id":"m{n}","to":"agni","payload":[{filling},"{"x" * 600}"]}}'
        for n in range(1000)
    )
    frame = f"[{','.join(bad)}]".encode()
    async with client(hub, "evil") as evil:
        for _ in range(3):
            await evil.raw(frame)
            errors = await evil.until_heartbeat()
            assert [each["reply_to"] for each in errors] == [f"m{n}" for n in range(1000)]


async def test_a_thousand_questions_a_frame_are_answered_or_put_off(hub: HubProcess) -> None:
    async with client(hub, "evil") as evil:
        await evil.say(*(_command(f"q{n}", op="history") for n in range(1000)))
        told = [await evil.hear() for _ in range(1000)]
        assert {each["reply_to"] for each in told} == {f"q{n}" for n in range(1000)}
        codes = {each["payload"]["code"] for each in told if each["type"] == "ERROR"}
        assert codes == {"rate_limited"}


async def _half_a_frame(evil: Client) -> None:
    await evil.raw(b'[{"type":"STATUS","id":"m1","to":"agni"}')
    evil.socket.transport.abort()


async def _leave_in_the_middle(evil: Client) -> None:
    # The head of a text frame of 65 535 bytes, and nothing behind it.
    evil.socket.transport.write(b"\x81\xfe\xff\xff\x00\x00\x00\x00[[[[")
    evil.socket.transport.abort()


async def _reserved_bits(evil: Client) -> None:
    evil.socket.transport.write(b"\xf1\x80\x00\x00\x00\x00")
    with pytest.raises(ConnectionClosed):
        await evil.hear()


async def _no_mask(evil: Client) -> None:
    evil.socket.transport.write(b"\x81\x02{}")
    with pytest.raises(ConnectionClosed):
        await evil.hear()


async def _messages_unread(evil: Client) -> None:
    await evil.say(*({"type": "STATUS", "to": "evil", "id": f"m{n}"} for n in range(1000)))
    evil.socket.transport.abort()


@pytest.mark.parametrize(
    "leave",
    [_half_a_frame, _leave_in_the_middle, _reserved_bits, _no_mask, _messages_unread],
    ids=lambda leave: leave.__name__.strip("_"),
)
async def test_clients_that_break_the_connection(
    hub: HubProcess, leave: Callable[[Client], Awaitable[None]]
) -> None:
    for _ in range(5):
        async with client(hub, "evil") as evil:
            await leave(evil)
