"""A hub's core on a bench: the real core and the real memory store, no sockets, time by hand.

Everything a peer sends is encoded and decoded as on the wire.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec

from trishula_broker.auth.errors import TokenRefused
from trishula_broker.auth.identity import Identity
from trishula_broker.auth.revocations import Revocations
from trishula_broker.hub.effects import Close, Note, Pause, Record, Resume, Send
from trishula_broker.hub.hub import Hub
from trishula_broker.hub.now import Now
from trishula_broker.hub.settings import HubSettings
from trishula_broker.store.base import Batch, Hint, MailboxLimits, Op
from trishula_broker.store.memory import MemoryStore
from trishula_protocol.codec import JSON, Codec
from trishula_protocol.errors import ProtocolError

Json = dict[str, Any]


def _finish(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("the memory store waited for something")


START = 1_700_000_000_000


class Peer:
    """One connection's other side; it keeps all it hears."""

    def __init__(self, bench: Bench, link: int, codec: Codec) -> None:
        self._bench = bench
        self.link = link
        self._codec = codec
        self.heard: list[Json] = []
        self.closed: tuple[int, str] | None = None
        self.paused = False
        self._count = 0

    def send(self, *envelopes: Json) -> None:
        """One frame with these."""
        self.raw(msgspec.json.encode(list(envelopes)))

    def raw(self, frame: bytes) -> None:
        """A frame as it is."""
        hub, now = self._bench.hub, self._bench.now
        try:
            items = self._codec.decode(frame)
        except ProtocolError as error:
            hub.unreadable(self.link, error, now)
        else:
            hub.receive(self.link, items, len(frame), now)
        self._bench.run()

    def register(self, agent: str, **fields: Any) -> Peer:
        """Register and check that it worked."""
        answer = self.ask("register", agent=agent, **fields)
        assert answer["type"] == "RESULT", answer
        return self

    def ask(self, op: str, **fields: Any) -> Json:
        """A hub operation; the whole answer."""
        self._count += 1
        request = f"op-{self.link}-{self._count}"
        payload = {"op": op, **fields}
        self.send({"type": "COMMAND", "to": "hub", "id": request, "payload": payload})
        answers = [each for each in self.heard if each.get("reply_to") == request]
        assert len(answers) == 1, (op, answers)
        self.heard.remove(answers[0])
        return answers[0]

    def tell(self, to: str, envelope_id: str, payload: Any = None, **fields: Any) -> None:
        """Send one message."""
        self.send({"type": "STATUS", "to": to, "id": envelope_id, "payload": payload, **fields})

    def ack(self, stage: str, *seqs: int, **fields: Any) -> None:
        """Say what became of mail."""
        payload = {"stage": stage, "seqs": list(seqs), **fields}
        self.send({"type": "ACK", "to": "hub", "payload": payload})

    def take(self) -> list[Json]:
        """All heard since the last time."""
        heard, self.heard = self.heard, []
        return heard

    def mail(self) -> list[Json]:
        """Take the stored messages heard since the last time."""
        return [each for each in self.take() if "seq" in each]

    def errors(self) -> list[str]:
        """Take the codes of direct errors heard since the last time."""
        return [
            each["payload"]["code"]
            for each in self.take()
            if each["type"] == "ERROR" and "seq" not in each
        ]

    def acks(self, stage: str) -> list[Any]:
        """Take the ids or seqs of the hub's ACKs of this stage."""
        found = [
            each["payload"]
            for each in self.take()
            if each["type"] == "ACK" and each["payload"]["stage"] == stage
        ]
        return [item for ack in found for item in ack.get("ids", []) + ack.get("seqs", [])]

    def close_code(self) -> int | None:
        """How the hub closed the connection, None when it did not."""
        return None if self.closed is None else self.closed[0]

    def drop(self) -> None:
        """The connection breaks."""
        self._bench.hub.disconnect(self.link, "dropped", self._bench.now)
        self._bench.run()


class Bench:
    """A hub, its store, its peers and their time.

    Args:
        store: one that is shared with other benches, as this node has it.
        tokens: who each token proves somebody to be; None: a hub without keys.
        patience_ms: how long settlements wait for another commit; so that most tests need not.
    """

    def __init__(
        self,
        settings: HubSettings | None = None,
        limits: MailboxLimits | None = None,
        *,
        store: MemoryStore | None = None,
        node: str = "bench",
        role: str = "primary",
        tokens: dict[str, Identity] | None = None,
        patience_ms: int = 0,
    ) -> None:
        self.store = store or MemoryStore(mailbox_limits=limits or MailboxLimits())
        self._settings = msgspec.structs.replace(settings or HubSettings(), patience_ms=patience_ms)
        self._node = node
        self._role = role
        self._life = 0
        self.tokens: dict[str, Identity] = {} if tokens is None else tokens
        self._has_keys = tokens is not None
        self.revocations = None if tokens is None else Revocations()
        """Shared with what stands for the handshake here, :meth:`peer`."""
        self.store.on_hints(self._hinted)
        _finish(self.store.open())
        self.now = Now(1_000, START)
        self.peers: dict[int, Peer] = {}
        self.notes: list[Note] = []
        self.records: list[Record] = []
        self.failing: str | None = None
        self.unheard: set[type[Op]] = set()
        """The next commit with one of these is applied, and nobody hears of it."""
        self.hold_commits = False
        self.hold_questions = False
        self._links = 0
        self.hub = self._make_hub()
        self.advance(0)

    def _make_hub(self) -> Hub:
        self._life += 1
        return Hub(
            namespace="default",
            node=self._node,
            role=self._role,
            life=f"{self._life}",
            address="ws://bench",
            settings=self._settings,
            identify=self._identify if self._has_keys else None,
            revocations=self.revocations,
        )

    def _identify(self, token: str) -> Identity:
        identity = self.tokens.get(token)
        if identity is None:
            raise TokenRefused("signature", "no key of this hub signed it")
        return identity

    def _hinted(self, namespace: str, hints: Sequence[Hint]) -> None:
        self.hub.hinted(hints, self.now)
        self.run()

    def peer(self, codec: Codec = JSON, identity: Identity | None = None) -> Peer:
        """A new connection, of whom it was proven to be."""
        self._links += 1
        peer = Peer(self, self._links, codec)
        self.peers[peer.link] = peer
        self.hub.connect(peer.link, codec, "bench", identity, self.now)
        self.run()
        return peer

    def recorded(self, event: str) -> list[Json]:
        """Take the records of this kind."""
        found = [each.fields for each in self.records if each.event == event]
        self.records = [each for each in self.records if each.event != event]
        return found

    def proven(self, identity: Identity, **fields: Any) -> Peer:
        """A registered agent whose token said so."""
        return self.peer(identity=identity).register(identity.subject, **fields)

    def agent(self, name: str, **fields: Any) -> Peer:
        """A registered agent with its first answer out of the way."""
        return self.peer().register(name, **fields)

    def restart(self) -> None:
        """The hub dies and a new one opens the same store."""
        self.peers.clear()
        if self._has_keys:
            self.revocations = Revocations()
        _finish(self.store.open())
        self.hub = self._make_hub()
        self.advance(0)

    def run(self) -> None:
        """Go on until nothing more happens at this moment."""
        busy = True
        while busy:
            busy = False
            for question in () if self.hold_questions else self.hub.questions():
                busy = True
                answer = self.store.answer("default", question.query)
                self.hub.answered(question, answer, self.now)
            ops = [] if self.hold_commits else self.hub.ops_to_commit()
            if ops:
                busy = True
                if self.failing is not None:
                    self.hub.commit_failed(self.failing, self.now)
                else:
                    [outcomes] = self.store.apply(self.now.wall, [Batch("default", ops)])
                    lost = self.unheard & {type(op) for op in ops}
                    self.unheard -= lost
                    if lost:
                        self.hub.commit_failed("no answer", self.now)
                    else:
                        self.hub.committed(outcomes, self.now)
            busy = self._carry_out() or busy

    def _carry_out(self) -> bool:
        effects = self.hub.effects()
        for effect in effects:
            if isinstance(effect, Note):
                self.notes.append(effect)
                continue
            if isinstance(effect, Record):
                self.records.append(effect)
                continue
            peer = self.peers[effect.link]
            if isinstance(effect, Send):
                decoded = (
                    msgspec.msgpack.decode(effect.frame)
                    if effect.binary
                    else msgspec.json.decode(effect.frame)
                )
                peer.heard += decoded if isinstance(decoded, list) else [decoded]
            elif isinstance(effect, Close):
                peer.closed = (effect.code, effect.reason)
            elif isinstance(effect, Pause | Resume):
                peer.paused = isinstance(effect, Pause)
        return bool(effects)

    def advance(self, ms: int) -> None:
        """Let time pass, waking the hub when it wants to be."""
        end = self.now.mono + ms
        while (due := self.hub.next_timeout()) is not None and due <= end:
            self.jump(max(due, self.now.mono))
            self.hub.timeout(self.now)
            self.run()
        self.jump(end)

    def jump(self, mono: int) -> None:
        """Let time pass while the hub stands still."""
        self.now = Now(mono, self.now.wall + mono - self.now.mono)
