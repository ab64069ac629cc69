"""What an agent can ask its hub, each with its type (docs/protocol.md §7)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeVar

import msgspec

from trishula_protocol import bodies


class Operations(ABC):
    """The typed helpers, over :meth:`ask`."""

    @abstractmethod
    async def ask(self, op: bodies.Op) -> Any:
        """Ask the hub; its answer's payload."""

    async def agents(
        self,
        *,
        capability: str | None = None,
        group: str | None = None,
        online: bool | None = None,
    ) -> list[dict[str, Any]]:
        """Who there is, each filter narrowing.

        Each has ``id``, ``capabilities``, ``groups``, ``online``, ``status``, ``node``,
        ``since`` (ms since the epoch) and ``unsettled``. Raises as :meth:`ask`.
        """
        found: list[dict[str, Any]] = []
        after: str | None = ""
        while after is not None:
            page = await self.ask(bodies.Agents(capability, group, online, after))
            found += page["agents"]
            after = page.get("next")
        return found

    async def status(self, text: str = "", details: Any = None) -> Any:
        """Set the status that others see, until replaced. Raises as :meth:`ask`."""
        return await self.ask(bodies.Status(text, details))

    async def join(self, group: str) -> Any:
        """Become a member of ``group``; also at every reconnection. Raises as :meth:`ask`."""
        return await self.ask(bodies.Join(group))

    async def leave(self, group: str) -> Any:
        """Stop being a member of ``group``. Raises as :meth:`ask`."""
        return await self.ask(bodies.Leave(group))

    async def peek(self, limit: int = 20) -> Any:
        """Look at the own mailbox (count, oldest, by priority, heads); settles nothing."""
        return await self.ask(bodies.Peek(limit))

    async def history(self, thread: str | None = None, *, after: int = 0, limit: int = 100) -> Any:
        """A thread, or all own mail, oldest first; ``after`` is a seq. Raises as :meth:`ask`."""
        return await self.ask(bodies.History(thread, after, limit))

    async def trace(self, id: str) -> Any:
        """Where a message is that this agent sent or received. Raises as :meth:`ask`."""
        return await self.ask(bodies.Trace(id))

    async def recall(self, id: str) -> Any:
        """Take back what nobody has read yet. Raises as :meth:`ask`."""
        return await self.ask(bodies.Recall(id))

    async def deregister(self) -> Any:
        """Be forgotten by the hub; refused while the mailbox holds anything."""
        return await self.ask(bodies.Deregister())


S = TypeVar("S", bound=msgspec.Struct)


def checked(op: S) -> S:
    """``op``, if the hub would take it.

    Raises:
        ValueError: a field breaks a rule of the protocol.
    """
    try:
        return msgspec.convert(msgspec.to_builtins(op), type(op))
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
