"""One connection to the hub that is tried: raw frames out, whatever comes in.

Nothing is checked on the way out, for much of what is tried is wrong on purpose.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from trishula_broker.conformance.rule import Broken, need

Envelope = dict[str, Any]
_SHOWN: Final = 300
"""Characters of what was heard that a finding quotes."""
_numbers = itertools.count(1)


class Peer:
    """A client's end.

    Args:
        connection: the WebSocket, connected.
        patience: seconds in which an answer has to come.
    """

    def __init__(self, connection: ClientConnection, patience: float) -> None:
        self.connection = connection
        self.name = ""
        """The agent that registered here; empty before."""
        self.receives = False
        self._binary = connection.subprotocol == "trishula.v2.msgpack"
        self._patience = patience
        self._heard: list[Envelope] = []

    def __repr__(self) -> str:
        return f"<Peer {self.name or 'unregistered'}>"

    # --- saying ---------------------------------------------------------------------------------

    async def raw(self, frame: str | bytes) -> None:
        """Send a frame as it is.

        Raises:
            Broken: the hub has closed.
        """
        try:
            await self.connection.send(frame)
        except ConnectionClosed as closed:
            raise Broken(_closed(closed)) from None

    async def say(self, *envelopes: Envelope) -> None:
        """One frame of them."""
        what = envelopes[0] if len(envelopes) == 1 else envelopes
        if self._binary:
            await self.raw(msgspec.msgpack.encode(what))
        else:
            await self.raw(msgspec.json.encode(what).decode())

    async def ask(self, op: str, **fields: Any) -> Any:
        """An operation of the hub's; the payload of its RESULT.

        Raises:
            Broken: it was refused, or not answered.
        """
        answer = await self.operation(op, **fields)
        payload = answer.get("payload")
        need(answer["type"] == "RESULT", f"{op} was refused: {_brief(payload)}")
        return payload

    async def operation(self, op: str, **fields: Any) -> Envelope:
        """As :meth:`ask`; the answer, whichever it is."""
        (answer,) = await self.operations({"op": op, **fields})
        return answer

    async def operations(self, *payloads: Envelope) -> list[Envelope]:
        """Several in one frame, for who has not registered has little time; their answers."""
        ids = [fresh() for _ in payloads]
        asked = zip(ids, payloads, strict=True)
        await self.say(
            *({"type": "COMMAND", "to": "hub", "id": n, "payload": it} for n, it in asked)
        )
        return [await self._answer(n, it["op"]) for n, it in zip(ids, payloads, strict=True)]

    async def _answer(self, id_: str, op: str) -> Envelope:
        return await self.hear(f"an answer to {op}", lambda it: answers(it, id_))

    async def register(self, name: str, **fields: Any) -> Any:
        """Register; the payload of the answer. Raises as :meth:`ask`."""
        told = await self.ask("register", agent=name, **fields)
        self.name = name
        self.receives = fields.get("receive", True)
        return told

    async def send(self, to: str, payload: Any = None, **fields: Any) -> str:
        """A COMMAND, unless ``fields`` say otherwise, that must be accepted; its id."""
        envelope = command(to, payload, **fields)
        await self.say(envelope)
        await self.accepted(envelope["id"])
        return str(envelope["id"])

    async def settle(self, *seqs: int, stage: str = "done", **fields: Any) -> None:
        """Settle, and hear that it was."""
        await self.ack(stage, *seqs, **fields)
        await self.settled(*seqs)

    async def ack(self, stage: str, *seqs: int, **fields: Any) -> None:
        """Say what becomes of mail."""
        await self.say(
            {"type": "ACK", "to": "hub", "payload": {"stage": stage, "seqs": list(seqs), **fields}}
        )

    # --- hearing --------------------------------------------------------------------------------

    async def hear(self, what: str, wanted: Callable[[Envelope], object]) -> Envelope:
        """The first envelope that is ``wanted``, taken from what was heard.

        Raises:
            Broken: it did not come in time, or the hub closed.
        """
        for each in self._heard:
            if wanted(each):
                self._heard.remove(each)
                return each
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    for each in await self._frame():
                        self._heard.append(each)
                    for each in self._heard:
                        if wanted(each):
                            self._heard.remove(each)
                            return each
        except TimeoutError:
            heard = _brief(self._heard) if self._heard else "nothing"
            text = f"{what} did not come within {self._patience:g} s; heard: {heard}"
            raise Broken(text) from None
        except ConnectionClosed as closed:
            raise Broken(f"{what} did not come: {_closed(closed)}") from None

    async def _frame(self) -> list[Envelope]:
        frame = await self.connection.recv()
        need(
            isinstance(frame, bytes) == self._binary,
            f"a {'text' if self._binary else 'binary'} frame came in a session of the other kind",
        )
        try:
            if isinstance(frame, bytes):
                found = msgspec.msgpack.decode(frame)
            else:
                found = msgspec.json.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Broken(f"a frame came that does not parse: {error}") from None
        envelopes = found if isinstance(found, list) else [found]
        need(0 < len(envelopes) <= 1000, f"a frame came with {len(envelopes)} envelopes")
        for each in envelopes:
            need(isinstance(each, dict) and "type" in each, f"no envelope: {_brief(each)}")
        return envelopes

    async def accepted(self, *ids: str) -> None:
        """Hear that all ``ids`` were accepted.

        Raises:
            Broken: one was refused, or nothing came.
        """
        for id_ in ids:
            found = await self.fate(id_)
            need(found is None, f"refused, instead of accepted: {_brief(found)}")

    async def fate(self, id_: str) -> Envelope | None:
        """None when the message was accepted, the ERROR when it was refused."""

        def wanted(it: Envelope) -> bool:
            return answers(it, id_) or _acks(it, "accepted", "ids", id_)

        found = await self.hear(f"an answer to {id_}", wanted)
        if found["type"] == "ACK":
            left = [each for each in found["payload"]["ids"] if each != id_]
            if left:  # one ACK may speak of several
                self._heard.append({**found, "payload": {**found["payload"], "ids": left}})
            return None
        need(found["type"] == "ERROR", f"answered by a {found['type']} of the hub's")
        return found

    async def settled(self, *seqs: int) -> None:
        """Hear that all ``seqs`` are settled, in one ACK or several."""
        missing = set(seqs)

        def wanted(it: Envelope) -> bool:
            refused = it["type"] == "ERROR" and "seq" not in it
            return refused or _acks(it, "settled", "seqs", *missing)

        while missing:
            found = await self.hear(f"settled of {sorted(missing)}", wanted)
            need(found["type"] == "ACK", f"refused, instead of settled: {_brief(found)}")
            missing -= set(found["payload"]["seqs"])

    async def mail(self, id_: str | None = None) -> Envelope:
        """The next delivery, or that of one message."""
        found = await self.hear(
            f"the delivery of {id_ or 'mail'}",
            lambda it: "seq" in it and id_ in (None, it.get("id")),
        )
        for field in ("seq", "attempt"):
            need(type(found.get(field)) is int, f"{field} of a delivery is {found.get(field)!r}")
        return found

    async def refuses(
        self, frame: str | bytes | Envelope, code: str, reply_to: str | None = None
    ) -> Envelope:
        """Send what is wrong; the payload of the ERROR, which must have that code.

        Raises:
            Broken: it was taken, or refused otherwise.
        """
        if isinstance(frame, dict):
            reply_to = reply_to or frame.get("id")
            await self.say(frame)
        else:
            await self.raw(frame)
        found = await self.hear(
            f"an ERROR {code}",
            lambda it: (
                (it["type"] in ("ERROR", "RESULT") and "seq" not in it)
                or _acks(it, "accepted", "ids")
            ),
        )
        what = _brief(frame)
        need(found["type"] == "ERROR", f"taken, instead of {code}: {what}")
        payload = found.get("payload")
        need(isinstance(payload, dict), f"an ERROR without a payload: {_brief(found)}")
        assert isinstance(payload, dict)
        need(payload.get("code") == code, f"{payload.get('code')}, instead of {code}: {what}")
        need("reply_to" in found, "an ERROR without reply_to")
        need(
            found["reply_to"] == reply_to,
            f"an ERROR with reply_to {found['reply_to']!r}, instead of {reply_to!r}: {what}",
        )
        return payload

    async def closed(self) -> int:
        """The code with which the hub closes.

        Raises:
            Broken: it does not.
        """
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    self._heard += await self._frame()
        except ConnectionClosed as closed:
            return 1006 if closed.rcvd is None else closed.rcvd.code
        except TimeoutError:
            raise Broken(f"it was not closed within {self._patience:g} s") from None

    async def close(self) -> None:
        """Leave."""
        await self.connection.close()

    def heard(self, wanted: Callable[[Envelope], object]) -> list[Envelope]:
        """What has come and nobody took."""
        return [each for each in self._heard if wanted(each)]


def command(to: str, payload: Any = None, **fields: Any) -> Envelope:
    """A COMMAND with an id of its own, as a client writes it."""
    return {"type": "COMMAND", "id": fresh(), "to": to, "payload": payload, **fields}


def fresh() -> str:
    """An id that no other envelope of this run has."""
    return f"c{next(_numbers)}"


def answers(it: Envelope, id_: str) -> bool:
    """Whether it is the hub's direct answer to ``id_``."""
    return it["type"] in ("RESULT", "ERROR") and "seq" not in it and it.get("reply_to") == id_


def _acks(it: Envelope, stage: str, field: str, *wanted: object) -> bool:
    payload = it.get("payload")
    if it["type"] != "ACK" or not isinstance(payload, dict) or payload.get("stage") != stage:
        return False
    named: Iterable[object] = payload.get(field, ())
    return not wanted or bool(set(wanted) & set(named))


def _closed(closed: ConnectionClosed) -> str:
    code = "without a close frame" if closed.rcvd is None else f"with {closed.rcvd.code}"
    return f"the hub closed {code}"


def _brief(what: object) -> str:
    if not isinstance(what, str):
        what = repr(what)
    return what if len(what) <= _SHOWN else f"{what[:_SHOWN]}…"
