"""``Agent`` for programs without asyncio: the same agent, its event loop in a thread.

::

    from trishula.sync import Agent

    with Agent("dc") as agent:
        agent.send("agni", {"n": 1})
        for message in agent.messages():
            message.reply({"ok": True})

Arguments, semantics and errors are those of :class:`trishula.Agent`. Methods may be called from
any thread. Handlers run in a thread of their own each, ``concurrency`` at most. Interrupting a
call (Ctrl-C) does what cancelling does there.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from trishula import agent as asynchronous
from trishula import message as messages
from trishula.ending import Ending, on_signals
from trishula.errors import AgentClosed
from trishula.life import State
from trishula.receipt import Receipt, Stage
from trishula.thread_loop import ThreadLoop
from trishula_protocol.bodies import Op

C = TypeVar("C", bound=Callable[[State], object])
H = TypeVar("H", bound=Callable[["Message"], Any])


class Message:
    """A :class:`trishula.Message`; its attributes are there under the same names."""

    __slots__ = ("_call", "_message")

    def __init__(self, loop: ThreadLoop, message: messages.Message) -> None:
        self._call = loop.call
        self._message = message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)

    def __repr__(self) -> str:
        return repr(self._message)

    def done(self) -> None:
        """See :meth:`trishula.Message.done`."""
        self._call(self._message.done())

    def reply(self, payload: Any = None, **options: Any) -> Receipt:
        """See :meth:`trishula.Message.reply`."""
        return self._call(self._message.reply(payload, **options))

    def error(self, code: str, message: str = "", **options: Any) -> Receipt:
        """See :meth:`trishula.Message.error`."""
        return self._call(self._message.error(code, message, **options))

    def reject(self, reason: str = "", *, requeue: bool = False) -> None:
        """See :meth:`trishula.Message.reject`."""
        self._call(self._message.reject(reason, requeue=requeue))

    def progress(self, payload: Any) -> Receipt:
        """See :meth:`trishula.Message.progress`."""
        return self._call(self._message.progress(payload))


class Agent:
    """See :class:`trishula.Agent` for the arguments; use it as ``with Agent(...) as agent``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._agent = asynchronous.Agent(*args, **options)
        self._pool = concurrent.futures.ThreadPoolExecutor(
            max_workers=options.get("concurrency", 16), thread_name_prefix="trishula-handler"
        )
        self._running: ThreadLoop | None = None

    def __repr__(self) -> str:
        return repr(self._agent)

    @property
    def _loop(self) -> ThreadLoop:
        if self._running is None:
            raise AgentClosed(self._agent.name, "is not entered: use it with `with`")
        return self._running

    @property
    def name(self) -> str:
        """The agent's id."""
        return self._agent.name

    @property
    def state(self) -> State:
        """See :attr:`trishula.Agent.state`."""
        return self._agent.state

    @property
    def url(self) -> str | None:
        """See :attr:`trishula.Agent.url`."""
        return self._agent.url

    def on_state(self, callback: C) -> C:
        """See :meth:`trishula.Agent.on_state`; it is called in the loop's thread: return soon."""
        return self._agent.on_state(callback)

    def __enter__(self) -> Agent:
        if self._agent.state is not State.NEW:
            raise AgentClosed(self._agent.name, "was entered before")
        self._running = ThreadLoop(self._agent.name)
        try:
            self._running.call(self._agent.__aenter__())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._running is not None:
            self.close(0.0 if error is not None else asynchronous.CLOSE_SECONDS)

    def close(self, seconds: float = asynchronous.CLOSE_SECONDS) -> None:
        """See :meth:`trishula.Agent.close`."""
        if self._running is None:
            return
        try:
            self._running.call(self._agent.close(seconds))
        finally:
            self._end()

    def _end(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def run(self, *, signals: bool = True, seconds: float = asynchronous.FINISH_SECONDS) -> None:
        """See :meth:`trishula.Agent.run`. Call it in the main thread, which hears the signals.

        A handler's thread cannot be cancelled: one that does not return keeps the process, and
        its message is delivered again all the same.
        """
        loop = self._loop
        ending = Ending(loop.loop)
        with on_signals(ending, signals):
            loop.call(self._agent.run_until(ending, seconds))

    def send(self, to: str, payload: Any = None, **options: Any) -> Receipt:
        """See :meth:`trishula.Agent.send`."""
        return self._loop.call(self._agent.send(to, payload, **options))

    def reached(self, receipt: Receipt, stage: Stage = "done", timeout: float | None = None) -> str:
        """See :meth:`trishula.Receipt.reached`."""
        return self._loop.call(receipt.reached(stage, timeout))

    def command(self, to: str, payload: Any = None, **options: Any) -> Any:
        """See :meth:`trishula.Agent.command`; ``on_progress`` is called in the loop's thread."""
        return self._loop.call(self._agent.command(to, payload, **options))

    def messages(self, timeout: float | None = None) -> Iterator[Message]:
        """See :meth:`trishula.Agent.messages`; ends when none comes for ``timeout`` seconds."""
        loop = self._loop
        source = self._agent.messages()

        given: list[messages.Message] = []

        async def following() -> None:
            try:
                async with asyncio.timeout(timeout):
                    given.append(await anext(source))
            except (TimeoutError, StopAsyncIteration):
                pass

        while True:
            try:
                loop.call(following())
            except BaseException:
                loop.soon(lambda: self._agent.give_back(given))
                raise
            if not given:
                return
            yield Message(loop, given.pop())

    def watch(self) -> Iterator[Any]:
        """See :meth:`trishula.Agent.watch`."""
        return self._follow(self._agent.watch())

    def tap(self, **filters: str | None) -> Iterator[Any]:
        """See :meth:`trishula.Agent.tap`."""
        return self._follow(self._agent.tap(**filters))

    def _follow(self, source: AsyncIterator[Any]) -> Iterator[Any]:
        loop = self._loop
        over = object()

        async def following() -> Any:
            return await anext(source, over)

        while (change := loop.call(following())) is not over:
            yield change

    def ask(self, op: Op) -> Any:
        """See :meth:`trishula.Agent.ask`."""
        return self._loop.call(self._agent.ask(op))

    def agents(self, **filters: Any) -> list[dict[str, Any]]:
        """See :meth:`trishula.Agent.agents`."""
        return self._loop.call(self._agent.agents(**filters))

    def status(self, text: str = "", details: Any = None) -> Any:
        """See :meth:`trishula.Agent.status`."""
        return self._loop.call(self._agent.status(text, details))

    def join(self, group: str) -> Any:
        """See :meth:`trishula.Agent.join`."""
        return self._loop.call(self._agent.join(group))

    def leave(self, group: str) -> Any:
        """See :meth:`trishula.Agent.leave`."""
        return self._loop.call(self._agent.leave(group))

    def peek(self, limit: int = 20) -> Any:
        """See :meth:`trishula.Agent.peek`."""
        return self._loop.call(self._agent.peek(limit))

    def history(self, thread: str | None = None, *, after: int = 0, limit: int = 100) -> Any:
        """See :meth:`trishula.Agent.history`."""
        return self._loop.call(self._agent.history(thread, after=after, limit=limit))

    def trace(self, id: str) -> Any:
        """See :meth:`trishula.Agent.trace`."""
        return self._loop.call(self._agent.trace(id))

    def recall(self, id: str) -> Any:
        """See :meth:`trishula.Agent.recall`."""
        return self._loop.call(self._agent.recall(id))

    def deregister(self) -> Any:
        """See :meth:`trishula.Agent.deregister`."""
        return self._loop.call(self._agent.deregister())

    def on_command(self, handler: H) -> H:
        """See :meth:`trishula.Agent.on_command`."""
        self._handle(self._agent.on_command, handler)
        return handler

    def on_status(self, handler: H) -> H:
        """See :meth:`trishula.Agent.on_status`."""
        self._handle(self._agent.on_status, handler)
        return handler

    def on_message(self, handler: H) -> H:
        """See :meth:`trishula.Agent.on_message`."""
        self._handle(self._agent.on_message, handler)
        return handler

    def _handle(self, register: Callable[[Any], Any], handler: Callable[[Message], Any]) -> None:
        async def run(message: messages.Message) -> Any:
            wrapped = Message(self._loop, message)
            within = contextvars.copy_context().run
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, within, handler, wrapped)

        if self._running is None:
            register(run)
        else:

            async def registered() -> None:
                register(run)

            self._running.call(registered())
