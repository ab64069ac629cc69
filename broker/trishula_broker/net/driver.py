"""Between the hub's core, the store and the sockets.

The core decides and does no I/O; the driver does what it asks: it commits its operations, one
commit at a time while what arrives meanwhile becomes the next one, asks its questions, carries
out its effects and wakes it when it wants to be woken. All of it happens in one *turn* an
iteration of the event loop, so that whatever arrived at the same moment is committed and
written together. It knows neither WebSocket nor HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from trishula_broker.auth.identity import Identity
from trishula_broker.hub.effects import Close, Note, Pause, Record, Resume, Send
from trishula_broker.hub.now import Now
from trishula_broker.net.asking import Asking
from trishula_broker.net.committing import Committing
from trishula_broker.net.errands import Errands
from trishula_broker.net.meter import Meter
from trishula_broker.net.often import Often
from trishula_broker.net.ports import Auditor, Committer, Connection, Core, Log
from trishula_broker.net.spans import Spans
from trishula_broker.net.trimming import keep_trimming
from trishula_broker.store.base import (
    Discard,
    EndNode,
    Hint,
    NodeEnded,
    Operation,
    Outcome,
    Retention,
    Revocation,
    Store,
)
from trishula_protocol.address import Address
from trishula_protocol.codec import Codec, Item
from trishula_protocol.errors import CloseCode, ProtocolError

REFUSED: Final = "refused"
"""The core's record of something that a session was refused."""
TOLD: Final = ("code", "agent", "peer", "link", "type", "to", "field", "id")
"""What the log has of that; the audit has all of it. Not ``op``, which may be any text."""
REGISTERED: Final = "registered"
"""The core's note that the connection ``link`` has registered."""


class Driver:
    """Runs one core a namespace against one store.

    Args:
        store: opened once this is made, before the first core is; closed by whoever opened it.
        make_core: a new core for a namespace.
        clock: the time.
        log: where notes and failures go.
        retention: what :meth:`Store.trim` may remove; None leaves trimming to others.
        trim_every_s: seconds between two looks at it.
        auditor: keeps what no commit tells of; None without an audit.
        spans: follows messages that are traced; None without tracing.
    """

    def __init__(
        self,
        store: Store,
        make_core: Callable[[str], Core],
        clock: Callable[[], Now],
        log: Log,
        *,
        retention: Retention | None = None,
        trim_every_s: float = 60.0,
        auditor: Auditor | None = None,
        spans: Spans | None = None,
    ) -> None:
        self.clock = clock
        self.draining = False
        self.meter = Meter()
        self.meter.ended = self._ended
        self._often = Often(log)
        self._store = store
        self._make_core = make_core
        self._log = log
        self._auditor = auditor
        self._spans = spans
        self._errands = Errands()
        self._not_accepting: str | None = None
        self._loop = asyncio.get_running_loop()
        store.on_hints(self._hinted)
        self._cores: dict[str, Core] = {}
        self._connections: dict[int, Connection] = {}
        self._unregistered: set[int] = set()
        self._links = 0
        self._awake = False
        self._closed = False
        self._committing = Committing(
            store,
            self._cores,
            self._errands,
            self.meter,
            spans,
            clock,
            log,
            self._cut_off,
            self.wake,
        )
        self._asking = Asking(store, clock, log, self.wake)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0
        self._quiet: asyncio.Event | None = None
        self._trimming: asyncio.Task[None] | None = None
        if retention is not None:
            self._trimming = self._loop.create_task(
                keep_trimming(store, self._cores, clock, log, retention, trim_every_s)
            )

    def __repr__(self) -> str:
        return (
            f"<Driver cores={len(self._cores)} connections={len(self._connections)} "
            f"{self._committing!r} asking={len(self._asking)}>"
        )

    @property
    def trouble(self) -> str | None:
        """Why the last commit failed; None when it did not."""
        return self._committing.trouble

    @property
    def cores(self) -> dict[str, Core]:
        """The cores by namespace."""
        return self._cores

    @property
    def connections(self) -> int:
        """Connections the cores know."""
        return len(self._connections)

    @property
    def unregistered(self) -> int:
        """Those of them that have not registered."""
        return len(self._unregistered)

    def core(self, namespace: str) -> Core:
        """The core of ``namespace``, made when it is asked for the first time."""
        core = self._cores.get(namespace)
        if core is None:
            core = self._cores[namespace] = self._make_core(namespace)
            if self._not_accepting is not None:
                core.accepting(self._not_accepting, self.clock())
            if self.draining:
                core.drain(self.clock())
            self.wake()
        return core

    def submit(self, namespace: str, op: Operation) -> asyncio.Future[Outcome]:
        """Commit an operation that is no core's, before what the cores have for that commit.

        Its outcome, or :class:`StoreUnavailable` when what became of it is unknown.
        """
        done = self._errands.add(namespace, op)
        if self._closed:
            self._errands.fail("this hub has ended", self.clock())
        self.wake()
        return done

    def post(
        self, namespace: str, to: Address, id_: str, payload: Any
    ) -> asyncio.Future[str | None]:
        """Send a STATUS of the hub's own: None once it is stored, else why it is not."""
        done: asyncio.Future[str | None] = self._loop.create_future()

        def then(why: str | None, now: Now) -> None:
            if not done.done():
                done.set_result(why)

        self.core(namespace).post(to, id_, payload, then, self.clock())
        self.wake()
        return done

    def accepting(self, why: str | None) -> None:
        """Have the cores refuse new messages because of ``why``, or take them again."""
        self._not_accepting = why
        for core in self._cores.values():
            core.accepting(why, self.clock())
        self.wake()

    # --- what the list of tokens has to say ---

    def introduce(self, namespace: str, agent: str) -> None:
        """A token was made for ``agent``: it is known from now on."""
        self.core(namespace).introduce(agent, self.clock())
        self.wake()

    def revoke(self, namespace: str, what: Revocation) -> None:
        """Tokens were taken back: their sessions end, on every node."""
        self.core(namespace).revoke(what, self.clock())
        self.wake()

    # --- what connections have to say ---

    def connect(
        self,
        namespace: str,
        connection: Connection,
        codec: Codec,
        peer: str,
        identity: Identity | None = None,
    ) -> None:
        """Give a new connection its number and its core; ``identity`` as in ``Hub.connect``."""
        self._links += 1
        connection.link = self._links
        connection.core = self.core(namespace)
        self._connections[connection.link] = connection
        self._unregistered.add(connection.link)
        self._tell(connection, connection.core.connect, codec, peer, identity)

    def receive(self, connection: Connection, items: list[Item], size: int) -> None:
        """A frame's envelopes; ``size`` is the frame's, in bytes."""
        self.meter.arrived(len(items))
        if self._spans is not None:
            self._spans.arrived(items)
        self._tell(connection, connection.core.receive, items, size)

    def unreadable(self, connection: Connection, error: ProtocolError) -> None:
        """A frame that was refused whole."""
        self._tell(connection, connection.core.unreadable, error)

    def alive(self, connection: Connection) -> None:
        """A ping or pong."""
        self._tell(connection, connection.core.alive)

    def writable(self, connection: Connection, yes: bool) -> None:
        """The transport's buffer has drained, or is full."""
        self._tell(connection, connection.core.writable, yes)

    def disconnect(self, connection: Connection, reason: str) -> None:
        """The connection is over; it is not heard of again."""
        if self._connections.pop(connection.link, None) is not None:
            self._unregistered.discard(connection.link)
            self._tell(connection, connection.core.disconnect, reason)

    def bug(self, connection: Connection, error: Exception) -> None:
        """A failure of this program while it served ``connection``: that connection ends, alone."""
        self._log.error("bug", link=connection.link, exc_info=error)
        connection.close(CloseCode.INTERNAL, "internal error")
        self.wake()

    def _tell(self, connection: Connection, event: Callable[..., None], *args: Any) -> None:
        try:
            event(connection.link, *args, self.clock())
        except Exception as error:
            self.bug(connection, error)
        if not self._awake:
            self.wake()

    # --- the turn ---

    def wake(self) -> None:
        """Have a :meth:`turn` in this iteration of the loop, after what else it has to do."""
        if not self._awake and not self._closed:
            self._awake = True
            self._loop.call_soon(self.turn)

    def turn(self) -> None:
        """Commit, ask, carry out, and see when to look again."""
        self._awake = False
        if self._closed:
            return
        # The commit first: the store works while this thread writes to the sockets.
        if self._committing.task is None:
            self._committing.run()
        for namespace, core in self._cores.items():
            for question in core.questions():
                self._asking.add(namespace, core, question)
        self._asking.run()
        self._carry_out()
        self._set_timer()
        if self._quiet is not None and self._is_quiet():
            self._quiet.set()

    def _carry_out(self) -> None:
        connections = self._connections
        touched: dict[Connection, None] = {}
        for namespace, core in self._cores.items():
            for effect in core.effects():
                if isinstance(effect, Note):
                    self._on_note(namespace, effect)
                    continue
                if isinstance(effect, Record):
                    self.record(namespace, effect.event, effect.fields)
                    if effect.event == REFUSED:
                        kind = namespace, effect.fields["code"]
                        told = {name: effect.fields[name] for name in TOLD if name in effect.fields}
                        self._often.info(REFUSED, kind, namespace=namespace, **told)
                    continue
                connection = connections.get(effect.link)
                if connection is None:
                    continue
                if isinstance(effect, Send):
                    connection.send(effect.frame, effect.binary)
                    touched[connection] = None
                elif isinstance(effect, Close):
                    connection.close(effect.code, effect.reason)
                elif isinstance(effect, Pause):
                    connection.pause()
                elif isinstance(effect, Resume):
                    connection.resume()
        # Deliveries come behind the acknowledgements of what they are about, and are waited for.
        for connection in reversed(touched):
            connection.flush()

    def record(self, namespace: str, event: str, fields: dict[str, Any]) -> None:
        """Have the audit record what no commit tells of."""
        if self._auditor is not None:
            self._auditor.record(namespace, event, fields)

    def _on_note(self, namespace: str, note: Note) -> None:
        if note.event == REGISTERED:
            link = note.fields["link"]
            self._unregistered.discard(link)
            if (connection := self._connections.get(link)) is not None:
                connection.registered()
        self.meter.noted(note.event)
        self._log.info(note.event, namespace=namespace, **note.fields)

    def _ended(self, namespace: str, op: Operation, outcome: Outcome) -> None:
        """What a commit ended that a person may have to look after."""
        if isinstance(op, Discard):
            self._often.info(
                "dead_letter",
                (namespace, op.agent, op.outcome),
                namespace=namespace,
                agent=op.agent,
                sender=None if op.notice is None else op.notice.to,
                seq=op.seq,
                outcome=op.outcome,
            )
        elif isinstance(op, EndNode) and isinstance(outcome, NodeEnded):
            agents = len(outcome.agents)
            self._log.warning("node_ended", namespace=namespace, ended=op.node, agents=agents)

    # --- the store ---

    def _cut_off(self, core: Committer) -> None:
        """Close the connections of a core that failed."""
        for connection in list(self._connections.values()):
            if connection.core is core:
                connection.close(CloseCode.INTERNAL, "internal error")

    def _hinted(self, namespace: str, hints: Sequence[Hint]) -> None:
        core = self._cores.get(namespace)
        if core is None:
            return  # nobody of that namespace is here
        try:
            core.hinted(hints, self.clock())
        except Exception as error:
            self._log.error("bug", during="hinted", exc_info=error)
        self.wake()

    # --- time ---

    def _set_timer(self) -> None:
        due = min(
            (at for core in self._cores.values() if (at := core.next_timeout()) is not None),
            default=None,
        )
        if due is None or (self._timer is not None and self._timer_due <= due):
            return  # a timer that comes too early looks and is set again
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        # One more millisecond, for the loop's clock is coarser than the core's.
        delay = max(0, due - self.clock().mono) + 1
        self._timer = self._loop.call_later(delay / 1000, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self.clock()
        for core in self._cores.values():
            try:
                core.timeout(now)
            except Exception as error:
                self._log.error("bug", during="timeout", exc_info=error)
        self.wake()

    # --- the end ---

    def _is_quiet(self) -> bool:
        # A store in trouble promises no end of its commits.
        committing = self._committing.task is not None and self.trouble is None
        return not (self._connections or committing or self._asking)

    async def drain(self, timeout: float) -> bool:
        """Have the cores finish and close every session; whether they did within ``timeout``.

        What is connected after ``timeout`` seconds is cut off.
        """
        self.draining = True
        self._quiet = asyncio.Event()
        for core in self._cores.values():
            core.drain(self.clock())
        self.wake()
        try:
            await asyncio.wait_for(self._quiet.wait(), timeout)
        except TimeoutError:
            for connection in list(self._connections.values()):
                connection.abort()
            await asyncio.sleep(0)  # for their connection_lost
            return False
        return True

    async def close(self) -> None:
        """Stop at once. A commit in flight is waited for, others are not begun."""
        self._closed = True
        self._often.close()
        self._committing.stop()
        self._errands.fail("this hub has ended", self.clock())
        if self._timer is not None:
            self._timer.cancel()
        tasks = self._asking.tasks()
        if self._trimming is not None:
            tasks.append(self._trimming)
        for task in tasks:
            task.cancel()
        if self._committing.task is not None:
            tasks.append(self._committing.task)
        await asyncio.gather(*tasks, return_exceptions=True)
