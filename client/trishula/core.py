"""The agent's core: what outlives connections. No asyncio, no sockets, no clock, no randomness.

Whoever drives it (``trishula.connector`` over a socket, the simulation over simulated links) gives
it frames, the time in monotonic milliseconds (``now``) and ids, and carries out what it reports.

The link::

    core.connect(register_id, now)      # a WebSocket is up; one link at a time
    core.receive(frame, now)            # a data frame came; alive(now): a ping or pong did
    core.disconnect(code, reason, now)  # the link is gone (1006 when without a close frame)
    core.frames() -> list[bytes]        # write these; ask after every call, once a turn is enough
    core.next_timeout(); core.timeout(now)
    core.hang_up(code, reason)          # reports a Hangup; core.idle says nothing is on its way
    core.hold_back = True               # send no more messages, until core.underway is False
    core.adopt(session, events, now)    # another link has registered meanwhile: go over to it

The application::

    core.send(Outgoing(id, core.encode(envelope), waiter), ...)   # while not core.outbox.full
    core.ask(Outgoing(id, core.encode(question), waiter, stored=False))
    core.commands.expect(id, waiter); core.commands.abandon(id)   # RESULT/ERROR of a COMMAND
    core.take(delivery)                 # it is handed to the application: `read`, and renewals
    core.done(delivery); core.reject(delivery, reason, requeue)
    core.answer(delivery, outgoing)     # outgoing's envelope has `settles`

What happened, in order, from ``core.events()``, each once; the types are in
``trishula.events``: Active, Accepted, Refused, Answered, Returned, Progress, NewMail, Receipts,
Presence, FolderMode, StaleMail, Confirmed, Trouble, Waits, Hangup, Lost.

What it promises while it lives: every message sent is accepted once or refused to its waiter;
what the application finished is settled and never handed out again; what is in progress goes on
over a lost connection; what was delivered and not begun is given back (the hub redelivers it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from trishula.commands import Commands
from trishula.events import (
    Accepted,
    Active,
    Answered,
    Confirmed,
    Event,
    FolderMode,
    Hangup,
    Lost,
    NewMail,
    Presence,
    Receipts,
    Refused,
    StaleMail,
    Trouble,
    Waits,
)
from trishula.inbox import FINISHED, Delivery, Inbox, Key
from trishula.outbox import BYTES, MESSAGES, Outbox, Outgoing
from trishula_protocol import client_session as session
from trishula_protocol import limits
from trishula_protocol.address import HUB
from trishula_protocol.bodies import AgentAck, ErrorBody, Op, Register, Registered
from trishula_protocol.client_session import ClientSession
from trishula_protocol.codec import JSON
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode, ProtocolError

NORMAL: Final = 1000
"""Close code of an ending that was wanted (RFC 6455 §7.4.1)."""
ACK_PART: Final = 2000
"""Seqs in one ACK at most; about 20 KiB."""


class AgentCore:
    """One agent.

    Args:
        register: what to register as at every connection.
        fraction: uniform in [0, 1), for the jitter of resending after ``unavailable``.
        messages: unaccepted messages at which :attr:`outbox` is full.
        bytes_: the same in bytes.
        finished: how many finished ids are remembered at most.
    """

    def __init__(
        self,
        register: Register,
        *,
        fraction: Callable[[], float],
        messages: int = MESSAGES,
        bytes_: int = BYTES,
        finished: int = FINISHED,
    ) -> None:
        self.register = register
        self.outbox = Outbox(fraction, messages, bytes_)
        self.inbox = Inbox(register.lease_ms, finished)
        self.session: ClientSession | None = None
        self.frame_bytes = limits.HUB_FRAME_BYTES
        self.subscriptions: dict[str, Op] = {}
        """What is asked of the hub again at each registration, by operation."""
        self.hold_back = False
        """Whether messages and questions wait although there is a session. Settling goes on."""
        self.commands = Commands()
        self._waits_for = ""
        self._events: list[Event] = []
        self._refusal: ErrorBody | None = None
        self._hanging_up = False

    def __repr__(self) -> str:
        state = self.session.state.value if self.session else "no link"
        return f"<AgentCore {self.register.agent} {state} {self.outbox!r} {self.inbox!r}>"

    @property
    def active(self) -> bool:
        """Whether there is a registered session."""
        return self.session is not None and self.session.state is session.State.ACTIVE

    @property
    def idle(self) -> bool:
        """Whether everything sent is accepted and everything settled is confirmed."""
        return not len(self.outbox) and not self.inbox.unconfirmed

    @property
    def underway(self) -> bool:
        """Whether the hub has been told something that it has not answered."""
        return bool(self.inbox.unconfirmed) or self.outbox.underway

    @property
    def hub_ready(self) -> bool:
        """False while the hub says that it cannot reach its store."""
        return self.session is None or self.session.hub_ready

    def events(self) -> list[Event]:
        """What happened since the last call."""
        events, self._events = self._events, []
        return events

    # --- the link ---

    def connect(self, register_id: str, now: int) -> None:
        """A link is up: register on it."""
        self._refusal = None
        self._hanging_up = False
        self.session = ClientSession(self.register, register_id, JSON, now)

    def receive(self, frame: bytes, now: int) -> None:
        """A data frame arrived."""
        if self.session is None:
            return
        try:
            items = JSON.decode(frame, from_hub=True)
        except ProtocolError as error:
            self.session.alive(now)
            self._events.append(Trouble(str(error)))
            return
        for event in self.session.receive(items, now):
            self._on_session(event, now)

    def alive(self, now: int) -> None:
        """A ping or pong arrived."""
        if self.session is not None:
            self.session.alive(now)

    def disconnect(self, code: int, reason: str, now: int) -> None:
        """The link is gone."""
        if self.session is None:
            return
        self.session.closed(code, reason)
        self.session = None
        self.inbox.disconnected()
        self._events.append(Lost(code, reason, self._refusal))

    def adopt(self, registered: ClientSession, events: Iterable[session.Event], now: int) -> None:
        """Go over to a session that has registered on another link; the present one is over.

        Args:
            events: what that session has reported, beginning with ``Opened``.
        """
        self.disconnect(NORMAL, "moved to another hub", now)
        self._refusal = None
        self._hanging_up = False
        self.session = registered
        for event in events:
            self._on_session(event, now)

    @property
    def ready(self) -> bool:
        """Whether :meth:`frames` may have something to write."""
        return self.inbox.waiting or self.outbox.waiting

    def frames(self) -> list[bytes]:
        """All that can be written now."""
        current = self.session
        if current is None or current.state is session.State.CLOSED:
            return []
        if current.state is session.State.ACTIVE:
            if self.inbox.waiting:
                for ack in self.inbox.acks():
                    self._say_ack(current, ack)
            if self.outbox.waiting and not self.hold_back:
                for out in self.outbox.take():
                    try:
                        current.send(out.encoded)
                    except ProtocolError as error:
                        self._refused(out, ErrorBody(str(error.code), error.message))
        return current.frames()

    def hang_up(self, code: int, reason: str) -> None:
        """Have the link ended."""
        if self.session is not None and not self._hanging_up:
            self._hanging_up = True
            self._events.append(Hangup(code, reason))

    def next_timeout(self) -> int | None:
        """When to call :meth:`timeout`; None: not before something happens."""
        if self.session is None:
            return None
        due = self.session.next_timeout()
        for other in (self.inbox.next_timeout(), self.outbox.next_timeout()):
            if other is not None and (due is None or other < due):
                due = other
        return due

    def timeout(self, now: int) -> None:
        """Do what is due: heartbeat, renewals, resending, giving up a silent hub."""
        if self.session is None:
            return
        self.inbox.timeout(now)
        self.outbox.timeout(now)
        for event in self.session.timeout(now):
            self._on_session(event, now)

    # --- the application ---

    def encode(self, envelope: Envelope) -> bytes:
        """The bytes of an :class:`Outgoing`."""
        return JSON.encode(envelope)

    def send(self, out: Outgoing) -> None:
        """Put a message at the end of the outbox; the caller heeds ``outbox.full``.

        Raises:
            ValueError: its id is on its way already.
        """
        self.outbox.add(out)

    ask = send

    def take(self, delivery: Delivery) -> None:
        """It is handed to the application."""
        self.inbox.take(delivery)

    def done(self, delivery: Delivery) -> None:
        """The application has finished with it."""
        self.inbox.done(delivery)

    def reject(self, delivery: Delivery, reason: str, requeue: bool) -> None:
        """The application refuses it, for now when ``requeue``."""
        self.inbox.reject(delivery, reason, requeue)

    def answer(self, delivery: Delivery, out: Outgoing) -> None:
        """Send the RESULT or ERROR that settles ``delivery``."""
        out.answers = delivery
        self.outbox.add(out)
        self.inbox.answered(delivery)

    def withdraw(self, out: Outgoing) -> None:
        """Nobody wants ``out`` sent any more, or it must not be; it may be with the hub already."""
        self.outbox.withdraw(out)
        if out.answers is not None:
            self.inbox.answer_refused(out.answers)

    def resume(self, outs: Iterable[Outgoing], finished: Iterable[tuple[Key, str | None]]) -> None:
        """Before the first connection: what an earlier life of this agent left behind."""
        for out in outs:
            out.patient = True  # nobody waits to be told that a mailbox was full
            self.outbox.add(out)
        for key, reason in finished:
            self.inbox.finished.add(key, reason)

    # --- the shared folder: a second way out for the outbox, a second way in for the inbox ---

    def leave_hub(self) -> None:
        """From now on :meth:`take_out` gives what is to be written; all that waits first."""
        self.outbox.reconnected()

    def take_out(self) -> list[Outgoing]:
        """Messages to be written to the folder, in order, each once; questions wait for a hub."""
        return [out for out in self.outbox.take() if out.stored]

    def filed_out(self, outs: Iterable[Outgoing]) -> None:
        """These are in the folder, which is as good as the hub's acceptance."""
        accepted: list[Outgoing] = []
        for out in outs:
            if self.outbox.remove(out.id) is not None:
                accepted.append(out)
                if out.answers is not None:
                    # Also to the hub, if it knows the question: it has not seen the answer.
                    self.inbox.done(out.answers)
        if accepted:
            self._events.append(Accepted(accepted))

    def refuse_out(self, out: Outgoing, error: ErrorBody) -> None:
        """The folder cannot take it."""
        if out.id in self.outbox:
            self._refused(out, error)

    def file_in(self, envelopes: Iterable[Envelope]) -> None:
        """Messages were found in the folder; :meth:`Inbox.put_away` says when they are settled."""
        fresh = self.inbox.offer_filed(envelopes)
        fresh = [delivery for delivery in fresh if not self._answers_command(delivery)]
        if fresh:
            self._events.append(NewMail(fresh))

    def notice(self, envelope: Envelope) -> None:
        """News about a message of ours that came over the folder; it needs no settling."""
        delivery = Delivery.of(envelope)
        if not self._answers_command(delivery):
            self._events.append(NewMail([delivery]))

    def joined(self, group: str, member: bool) -> None:
        """Keep the registration in step with a ``join`` or ``leave`` the hub has granted.

        A registration that names groups replaces what the hub knew, at every reconnection.
        """
        groups = self.register.groups
        if groups is None:
            return
        rest = [name for name in groups if name != group]
        self.register = msgspec.structs.replace(
            self.register, groups=[*rest, group] if member else rest
        )

    # --- inside ---

    def _say_ack(self, current: ClientSession, ack: AgentAck) -> None:
        # 20 bytes for a seq and its comma, and room for the longest reason.
        step = max(1, min(ACK_PART, (self.frame_bytes - 8192) // 20))
        if len(ack.seqs) <= step:
            current.send(JSON.encode(Envelope("ACK", to=HUB, payload=ack)))
            return
        for start in range(0, len(ack.seqs), step):
            part = msgspec.structs.replace(ack, seqs=ack.seqs[start : start + step])
            current.send(JSON.encode(Envelope("ACK", to=HUB, payload=part)))

    def _on_session(self, event: session.Event, now: int) -> None:
        match event:
            case session.Mail():
                self._mail(event.envelopes)
            case session.Accepted():
                self._accepted(event.ids)
            case session.Settled():
                self.inbox.confirmed(event.seqs)
                self._events.append(Confirmed())
            case session.Answer():
                out = self.outbox.remove(event.reply_to)
                if out is not None:
                    self._events.append(Answered(out, event.payload))
            case session.Refused():
                self._refused_by_hub(event.reply_to, event.error, now)
            case session.Receipt():
                self._events.append(Receipts(event.stage, event.ids, event.by))
            case session.Opened():
                self._opened(event.info, now)
            case session.FolderMode():
                self._events.append(FolderMode(event.on))
            case session.Trouble():
                self._events.append(Trouble(event.reason))
            case session.Closed():
                self._refusal = event.error
                self.hang_up(event.code, event.reason)
            case _:
                pass

    def _opened(self, info: Registered, now: int) -> None:
        assert self.session is not None
        self.frame_bytes = self.session.frame_bytes
        self.hold_back = False
        self.outbox.reconnected()
        self.inbox.connected(now)
        for name, op in self.subscriptions.items():
            asked = msgspec.to_builtins(op)
            again = f"{info.session[:100]}.{name}"
            self.session.send(JSON.encode(Envelope("COMMAND", id=again, to=HUB, payload=asked)))
        self._events.append(Active(info))

    def _accepted(self, ids: list[str]) -> None:
        outs = self.outbox.accepted(ids)
        for out in outs:
            if out.answers is not None:
                self.inbox.answer_accepted(out.answers)
        if outs:
            self._waits_for = ""
            self._events.append(Accepted(outs))

    def _refused_by_hub(self, reply_to: str | None, error: ErrorBody, now: int) -> None:
        if reply_to is not None and reply_to in self.outbox:
            out = self.outbox.refuse(reply_to, error, now)
            if out is not None:
                self._refused(out, error)
            elif error.code == ErrorCode.UNAVAILABLE and error.message != self._waits_for:
                self._waits_for = error.message
                self._events.append(Waits(error.message))
            return
        if error.code == ErrorCode.STALE_ACK:
            seqs = (error.details or {}).get("seqs", [])
            lost = self.inbox.stale(seq for seq in seqs if isinstance(seq, int))
            self._events.append(StaleMail(lost))
            return
        self._events.append(Trouble(f"{error.code}: {error.message}"))

    def _refused(self, out: Outgoing, error: ErrorBody) -> None:
        self.outbox.remove(out.id)
        if out.answers is not None:
            self.inbox.answer_refused(out.answers)
        self._events.append(Refused(out, error))

    def _mail(self, envelopes: list[Envelope]) -> None:
        fresh = self.inbox.offer(envelopes)
        if self.commands:
            fresh = [delivery for delivery in fresh if not self._answers_command(delivery)]
        if fresh and fresh[0].seq is None:
            self._unsettled(fresh)
        elif fresh:
            self._events.append(NewMail(fresh))

    def _unsettled(self, fresh: list[Delivery]) -> None:
        """Envelopes outside the log: the hub's news, or copies shown to an operator."""
        for delivery in fresh:
            envelope = delivery.envelope
            if envelope.sender == HUB and envelope.type == "STATUS":
                self._events.append(Presence(envelope.payload))
            else:
                self._events.append(NewMail([delivery]))

    def _answers_command(self, delivery: Delivery) -> bool:
        """Settle and pass on what belongs to a command of ours."""
        if not self.commands.answered(delivery.envelope, self._events):
            return False
        self.inbox.done(delivery)
        return True
