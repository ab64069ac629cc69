"""A hub's end of a link made of plain values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trishula.core import AgentCore
from trishula.events import Event
from trishula.outbox import Outgoing
from trishula_protocol.bodies import Register
from trishula_protocol.codec import JSON
from trishula_protocol.envelope import Envelope


class Link:
    """Drives a core: what it writes is kept as envelopes, what the hub says is handed to it."""

    def __init__(self, core: AgentCore) -> None:
        self.core = core
        self.now = 1_000
        self.ids = 0
        self.written: list[Envelope] = []

    def register(self, **limits: int) -> list[Event]:
        self.ids += 1
        self.core.connect(f"reg{self.ids}", self.now)
        self.flush()
        answer = {
            "agent": "dc",
            "namespace": "default",
            "node": "n1",
            "role": "primary",
            "session": f"s{self.ids}",
            "heartbeat_ms": self.core.register.heartbeat_ms,
            "server_time": 0,
            "limits": {"frame_bytes": 1 << 20, "batch": 1000, "prefetch": 256} | limits,
        }
        return self.say(Envelope("RESULT", sender="hub", reply_to=f"reg{self.ids}", payload=answer))

    def say(self, *envelopes: Envelope) -> list[Event]:
        self.core.receive(JSON.frame([JSON.encode(e) for e in envelopes]), self.now)
        return self.core.events()

    def flush(self) -> list[Envelope]:
        fresh: list[Envelope] = []
        for frame in self.core.frames():
            for item in JSON.decode(frame):
                assert isinstance(item, Envelope), item
                fresh.append(item)
        self.written += fresh
        return fresh

    def ack(self, stage: str, **fields: Any) -> list[Event]:
        return self.say(Envelope("ACK", sender="hub", payload={"stage": stage, **fields}))

    def error(self, reply_to: str | None, code: str, **fields: Any) -> list[Event]:
        payload = {"code": code, "message": "no", "retryable": False} | fields
        return self.say(Envelope("ERROR", sender="hub", reply_to=reply_to, payload=payload))

    def mail(self, *seqs: int, attempt: int = 1, **fields: Any) -> list[Event]:
        return self.say(*(delivery(seq, attempt, **fields) for seq in seqs))

    def lose(self, code: int = 1006) -> list[Event]:
        self.core.disconnect(code, "lost", self.now)
        return self.core.events()

    def pass_time(self, ms: int) -> list[Event]:
        """Let time pass, stopping wherever the core asks to be called."""
        end = self.now + ms
        while (due := self.core.next_timeout()) is not None and due <= end:
            self.now = max(due, self.now)
            self.core.timeout(self.now)
            self.flush()
        self.now = end
        return self.core.events()


def delivery(seq: int, attempt: int = 1, **fields: Any) -> Envelope:
    given: dict[str, Any] = {
        "type": "STATUS",
        "id": f"m{seq}",
        "sender": "agni",
        "to": "dc",
        "payload": {"n": seq},
    }
    return Envelope(**(given | fields), seq=seq, attempt=attempt)


def outgoing(core: AgentCore, id: str, **fields: Any) -> Outgoing:
    envelope = Envelope("STATUS", id=id, to="agni", payload={"id": id})
    return Outgoing(id, core.encode(envelope), id, **fields)


def seqs(envelopes: Iterable[Envelope], stage: str) -> list[int]:
    """What the ACKs of ``stage`` among ``envelopes`` name."""
    return [
        seq
        for envelope in envelopes
        if envelope.type == "ACK" and envelope.payload["stage"] == stage
        for seq in envelope.payload["seqs"]
    ]


def ids(envelopes: Iterable[Envelope]) -> list[str | None]:
    return [e.id for e in envelopes if e.type not in ("ACK", "HEARTBEAT")]


def make_link(*, messages: int = 10_000, finished: int = 100_000, **register: Any) -> Link:
    """A link to a core that jitters by a half."""
    body = Register("dc", **({"heartbeat_ms": 2_000} | register))
    return Link(AgentCore(body, fraction=lambda: 0.5, messages=messages, finished=finished))
