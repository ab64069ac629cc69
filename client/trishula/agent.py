"""``Agent``: the one class an application needs."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl as tls
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from trishula.ending import Ending, done_or_set, on_signals
from trishula.engine import Engine
from trishula.errors import AgentClosed, RemoteError, TakenOver
from trishula.folder.settings import folder_settings
from trishula.intake import Handler, Intake, Messages
from trishula.life import Life, State
from trishula.message import Message
from trishula.news import Audience
from trishula.operations import Operations, checked
from trishula.options import agent_name, bearer, failback_seconds, hub_urls, tag_list, trust
from trishula.receipt import Receipt
from trishula.verdict import Token
from trishula.websocket import check_url
from trishula_protocol import limits
from trishula_protocol.bodies import Join, Leave, Op, Register, Tap

CLOSE_SECONDS: Final = 5.0
"""How long leaving the context waits for handlers, acceptances and confirmations, each."""

FINISH_SECONDS: Final = 10.0
"""How long handlers may take to finish when a program is asked to end, as hubs drain."""

C = TypeVar("C", bound=Callable[["State"], object])
H = TypeVar("H", bound=Handler)

_log = logging.getLogger("trishula")


class Agent(Operations):
    """An agent on a hub; use it as ``async with Agent(...) as agent``.

    It reconnects by itself, resends what was not accepted under the same ids, settles what the
    application finished, and does not hand that out again. Delivery is at least once; handling
    is once as long as this process lives. With ``state_dir`` unaccepted messages and finished
    ids survive its crash too: effectively once then holds for an effect that is stored together
    with the finished id, in other words for all but a crash between an effect and ``done()``;
    there use :attr:`Message.key` in the effect's own transaction.

    Handlers (``on_command``, ``on_status``, ``on_message``) and :meth:`messages` share the mail:
    a handler gets the types it is for, ``messages()`` all others. What neither takes waits.

    Args:
        name: the agent's id; default ``TRISHULA_AGENT``.
        urls: hubs in the order in which to try them, one or several; default
            ``TRISHULA_URL`` (comma-separated), then ``ws://127.0.0.1:8765/ws``. Without a
            path ``/ws`` is meant.
        token: sent as ``Authorization: Bearer``; or what makes a fresh one, for every attempt to
            connect, and in time before one expires: the session goes on with it. It is called in
            the event loop. Default ``TRISHULA_TOKEN``.
        capabilities: what ``@name`` finds this agent by; None keeps what the hub knows.
        groups: what ``#name`` finds this agent by; None keeps what the hub knows.
        prefetch: messages the hub may have delivered that are neither read nor settled, 1-10000.
        lease: seconds after which the hub gives up a message that is being handled and not
            renewed, 1-86400. Renewals are automatic while this process runs.
        heartbeat: seconds, 2-60; a silent hub is left after two.
        concurrency: handlers that run at the same time. 1 handles in order.
        state_dir: a directory for what must survive a crash; one process at a time.
        receive: False opens a side session: it sends and asks, beside the agent's own session.
        ephemeral: forgotten by the hub a minute after it has left.
        shared_folder: a directory to exchange files in with other agents while no hub answers
            or a hub orders all to it (docs/folder.md). Mail in its own inbox there is always
            read. For agents that receive.
        fallback_after: seconds without a hub after which sends go to the folder.
        folder_key: a file of keys: what is written is signed with its first one, and what none
            of them has signed is rejected.
        failback_after: seconds for which a hub earlier in ``urls`` has to be ready before the agent
            goes back to it from a later one; None: it stays where it is.
        connect_timeout: seconds entering the context waits for a hub, or for ``fallback_after``
            to pass; None for ever.
        ssl: the context for ``wss://``.
        ca_file: certificates to trust for ``wss://``, instead of the system's; default
            ``TRISHULA_CA_FILE``.

    Raises:
        ValueError: an argument breaks a rule; the text names both.
    """

    def __init__(
        self,
        name: str | None = None,
        urls: str | Sequence[str] | None = None,
        *,
        token: Token = None,
        capabilities: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        prefetch: int = limits.PREFETCH_DEFAULT,
        lease: float = limits.LEASE_DEFAULT_MS / 1000,
        heartbeat: float = limits.HEARTBEAT_SDK_MS / 1000,
        concurrency: int = 16,
        state_dir: str | os.PathLike[str] | None = None,
        receive: bool = True,
        ephemeral: bool = False,
        shared_folder: str | os.PathLike[str] | None = None,
        fallback_after: float = 2.0,
        folder_key: str | os.PathLike[str] | None = None,
        failback_after: float | None = 30.0,
        connect_timeout: float | None = 30.0,
        ssl: tls.SSLContext | None = None,
        ca_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self.name = name = agent_name(name)
        self.urls = hub_urls(urls)
        shown = [check_url(url) for url in self.urls]
        ssl = trust(ssl, ca_file)
        register = checked(
            Register(
                name,
                tag_list("capabilities", capabilities),
                tag_list("groups", groups),
                prefetch,
                int(lease * 1000),
                int(heartbeat * 1000),
                receive,
                ephemeral,
                folder=shared_folder is not None,
            )
        )
        self._shown = ", ".join(shown)
        self._receive = receive
        if shared_folder is not None and not receive:
            raise ValueError("shared_folder: a side session has no inbox; leave it out")
        self._connect_timeout = connect_timeout
        self._life = Life(name)
        self._audience = Audience()
        if concurrency < 1:
            raise ValueError(f"concurrency: 1 or more, not {concurrency}")
        self._intake = Intake(concurrency)
        self._engine = self._intake.engine = self._audience.engine = Engine(
            register,
            self.urls,
            token=bearer(token),
            ssl=ssl,
            failback_after=failback_seconds(failback_after),
            directory=None if state_dir is None else Path(state_dir),
            folder=folder_settings(shared_folder, fallback_after, folder_key),
            on_mail=self._intake.deliver,
            on_lost=self._intake.lost,
            on_settled=self._intake.settled,
            on_presence=self._audience.hear,
            on_change=self._changed,
        )

    def __repr__(self) -> str:
        return f"<Agent {self.name} {self._life.state} {self._engine.url or self._shown}>"

    # --- life ---

    @property
    def state(self) -> State:
        """``connecting`` also between two connections; ``taken_over`` and ``refused`` are ends."""
        return self._life.state

    def on_state(self, callback: C) -> C:
        """Have ``callback`` called with every new :attr:`state`, in the event loop.

        ``active`` says that the hub is there (again), ``connecting`` after it that the hub was
        lost, ``folder`` that sends go to the shared folder, for no hub answers or because it says
        so; the log says why. What the callback
        raises is logged. May be used as a decorator.
        """
        self._life.tell(callback)
        return callback

    @property
    def url(self) -> str | None:
        """The hub it is connected to."""
        return self._engine.url

    async def __aenter__(self) -> Agent:
        """Connect and register.

        Raises:
            NotConnected: no hub was reached within ``connect_timeout``, or what answered at
                once is none; says why, each.
            Unauthorized, RegistrationRefused: the hub does not let it in.
            StateDirHeld, StateDirError: the state directory cannot be used.
            FolderError: the shared folder cannot be used.
            AgentClosed: it was entered before; make a new one.
        """
        if self._life.state is not State.NEW:
            raise AgentClosed(self.name, "was entered before")
        self._life.enter(State.CONNECTING)
        await self._engine.start(self._connect_timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close(0.0 if error is not None else CLOSE_SECONDS)

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Let handlers finish, what was sent be accepted, what was settled be confirmed.

        Each for ``seconds`` at most; then handlers are cancelled and waiting calls raise
        :class:`AgentClosed`. Mail that was not settled is delivered again some time.
        """
        if self._life.state is State.CLOSED or self._life.state is State.NEW:
            return
        if self._engine.failure is None:
            self._life.enter(State.CLOSING)
        try:
            await self._intake.close(seconds)
            if self._engine.failure is None:
                await self._engine.settled(seconds)
        finally:
            await self._engine.stop()

    async def run(self, *, signals: bool = True, seconds: float = FINISH_SECONDS) -> None:
        """Serve the handlers until :meth:`close`, SIGTERM or Ctrl-C.

        At a signal no handler is begun any more; those that run get ``seconds`` to finish, what
        they answered is stored, and this returns: the program can end with 0. A second signal
        cancels them at once. What was not finished is delivered again, to whoever is this agent
        next.

        Args:
            signals: whether SIGTERM and SIGINT are heard, while this runs and in the main thread
                only; False leaves them to the application, which calls :meth:`close`.
            seconds: as in :meth:`close`.

        Raises:
            TakenOver, Unauthorized, RegistrationRefused: what ended the agent.
        """
        ending = Ending(asyncio.get_running_loop())
        with on_signals(ending, signals):
            await self.run_until(ending, seconds)

    async def run_until(self, ending: Ending, seconds: float) -> None:
        """As :meth:`run`, for a program that hears signals in its own way."""
        over = self._engine.over
        if over is not None:
            await done_or_set(over, ending.asked)
            if not over.done():
                await self._finish(ending, seconds)
        if self._engine.failure is not None and not isinstance(self._engine.failure, AgentClosed):
            raise self._engine.failure.with_traceback(None)

    async def _finish(self, ending: Ending, seconds: float) -> None:
        """Close in ``seconds``, or at once when urged."""
        if self._intake.running:
            _log.info(
                "%s: ending; %d handlers have %g s to finish, a second signal ends them now",
                self.name,
                self._intake.running,
                seconds,
            )
        closing = asyncio.ensure_future(self.close(seconds))
        try:
            await done_or_set(closing, ending.urged)
        finally:
            closing.cancel()
            await asyncio.wait({closing})
        if not closing.cancelled():
            closing.result()

    # --- sending ---

    def send(
        self,
        to: str,
        payload: Any = None,
        *,
        type: str = "STATUS",
        priority: int = limits.PRIORITY_DEFAULT,
        ttl: float | None = None,
        reply_to: str | None = None,
        thread: str | None = None,
        headers: Mapping[str, str] | None = None,
        receipt: bool = False,
        id: str | None = None,
    ) -> Coroutine[Any, Any, Receipt]:
        """Send a message; awaiting this returns once the hub, or the shared folder, has stored it.

        Waits while 10 000 messages or 8 MiB are on their way, and while no hub is connected.
        Cancelling does not take it back: it goes on being sent, unless it was waiting for room.

        Args:
            to: an agent, ``#group``, ``@capability`` or ``broadcast``.
            payload: any JSON value; dataclasses, dates and such are written as plain values.
            type: ``STATUS``, ``COMMAND``, ``RESULT`` or ``ERROR``.
            priority: 1, the most urgent, to 5.
            ttl: seconds after which it expires, unless somebody has it by then.
            reply_to: id of the message it answers.
            thread: the conversation it belongs to.
            headers: extensions, strings.
            receipt: hear what becomes of it; see :meth:`Receipt.reached`.
            id: its own, unique; the same id with the same content is accepted once.

        Raises:
            ValueError, TypeError: an argument, or something in the payload, cannot be sent.
            Refused: the hub refused it; ``retryable`` says whether later may be better.
            TakenOver, AgentClosed, ...: the agent's end; whether it was stored is unknown.
        """
        return self._engine.sending.send(
            type, to, payload, id, receipt, priority, ttl, reply_to, thread, headers
        )

    async def command(
        self,
        to: str,
        payload: Any = None,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Any], object] | None = None,
        priority: int = limits.PRIORITY_DEFAULT,
        ttl: float | None = None,
        thread: str | None = None,
        headers: Mapping[str, str] | None = None,
        id: str | None = None,
    ) -> Any:
        """Send a COMMAND and wait for its RESULT; returns that one's payload.

        A timeout, or cancelling, does not take the command back; give it a ``ttl`` when it is
        of no use later. An answer that comes too late, and every further one from a group, is
        settled and dropped.

        Args:
            timeout: seconds; None waits for as long as it takes.
            on_progress: called in the event loop with the payload of every STATUS about it.
            id: its own, unique, to ``trace`` or ``recall`` it by.

        Raises:
            RemoteError: it was answered by ERROR, by the agent or by the hub (``expired``,
                ``undeliverable``).
            TimeoutError: no answer within ``timeout``; names the command's id.
            Also as :meth:`send`.
        """
        if not self._receive:
            raise ValueError("receive: a side session gets no mail, so no answer to a command")
        envelope = await self._engine.sending.command(
            to,
            payload,
            timeout,
            on_progress,
            id,
            priority=priority,
            ttl=ttl,
            thread=thread,
            headers=headers,
        )
        if envelope.type == "ERROR":
            raise RemoteError.of(envelope.payload, envelope.sender)
        return envelope.payload

    # --- receiving ---

    def messages(self) -> AsyncIterator[Message]:
        """The mail no handler takes, until the agent is closed.

        Settle each with ``done``, ``reply``, ``error`` or ``reject``. Several may iterate; each
        message goes to one. While 10 000 are unsettled no more are handed out.

        Raises:
            TakenOver, Unauthorized, RegistrationRefused: what ended the agent.
        """
        return Messages(self._intake)

    def give_back(self, messages: list[Message]) -> None:
        """Put messages that were taken and could not be used back to the front, unsettled."""
        for message in reversed(messages):
            self._intake.give_back(message.delivery)
        messages.clear()

    def on_command(self, handler: H) -> H:
        """Handle COMMANDs with a function of the message, sync or async.

        What it returns becomes the RESULT, unless it settled the message itself. A
        :class:`RemoteError` it raises becomes the ERROR; any other exception one with code
        ``handler_failed`` and the exception's type and text, and is logged.
        """
        self._intake.handle("COMMAND", handler)
        return handler

    def on_status(self, handler: H) -> H:
        """Handle STATUSes; settled when it returns, tried again later when it raises.

        After five attempts the hub puts the message to the dead letters.
        """
        self._intake.handle("STATUS", handler)
        return handler

    def on_message(self, handler: H) -> H:
        """Handle all that no other handler is for, as :meth:`on_status` and :meth:`on_command`."""
        self._intake.handle(None, handler)
        return handler

    # --- asking ---

    async def ask(self, op: Op) -> Any:
        """Ask the hub an operation of ``trishula_protocol.bodies``; its answer's payload.

        Asked again after a lost connection.

        Raises:
            ValueError: a field breaks a rule of the protocol.
            Refused: the hub's ERROR.
            TakenOver, AgentClosed, ...: the agent's end.
        """
        answer = await self._engine.sending.ask(checked(op))
        if isinstance(op, (Join, Leave)):
            self._engine.core.joined(op.group, isinstance(op, Join))
        return answer

    def watch(self) -> AsyncIterator[Any]:
        """Presence and status changes of the namespace, each as the hub's payload.

        Changes while the connection is down are missed; :meth:`agents` tells the present.
        Of a watcher that does not read the last 10 000 are kept. Raises as :meth:`ask`.
        """
        return self._audience.watch()

    def tap(
        self,
        *,
        sender: str | None = None,
        to: str | None = None,
        type: str | None = None,
        thread: str | None = None,
    ) -> AsyncIterator[Any]:
        """For operators: what passes in the namespace from now on, at whichever hub, each as the
        hub's payload (docs/protocol.md §7): ``tap`` is ``accepted``, ``settled`` or ``missed``.

        Each filter narrows; ``to`` is an address, or an agent that has a copy. Listening changes
        nobody's mail. An agent has one tap: an earlier one ends. What passes while the connection
        is down is missed uncounted; of a tap that is not read the first 1 000 copies are kept and
        the others counted. Raises as :meth:`ask`.
        """
        return self._audience.tap(checked(Tap(sender, to, type, thread)))  # type: ignore[arg-type]

    # --- inside ---

    def _failed(self, failure: Exception) -> None:
        """The end, and not of the application's making: it may be doing something else."""
        state = State.TAKEN_OVER if isinstance(failure, TakenOver) else State.REFUSED
        if self._life.state is not state and self._engine.info is not None:
            _log.error("%s: this agent is over: %s", self.name, failure)
        self._life.enter(state)

    def _changed(self) -> None:
        failure = self._engine.failure
        if isinstance(failure, AgentClosed):
            self._life.enter(State.CLOSED)
        elif failure is not None:
            self._failed(failure)
        elif self._life.state is not State.CLOSING:
            active = self._engine.core.active
            on_hub = State.ACTIVE if active else State.CONNECTING
            self._life.enter(State.FOLDER if self._engine.in_folder else on_hub)
        self._intake.changed()
        if failure is not None:
            self._audience.wake()
