"""A store with short ways to say the operations that tests need most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from trishula_broker.store import base
from trishula_protocol.address import parse_address

T = TypeVar("T")
LEASE_MS = 30_000


def body(size: int = 20) -> bytes:
    """A stored envelope of ``size`` bytes."""
    return b'{"payload":"' + b"x" * (size - 14) + b'"}'


class World:
    """One namespace of a store, and a clock that stands still until it is moved."""

    def __init__(self, make: Callable[[], base.Store], namespace: str = "default") -> None:
        self.make = make
        self.store = make()
        self.namespace = namespace
        self.now = 1_000_000
        self.epochs: dict[str, int] = {}

    async def restart(self) -> None:
        """Close the store and open it again."""
        await self.store.close()
        self.store = self.make()
        await self.store.open()

    async def do(self, *ops: base.Operation) -> list[Any]:
        """Commit ``ops`` as one batch."""
        return list((await self.store.commit(self.now, [base.Batch(self.namespace, ops)]))[0])

    async def get(self, kind: type[T], op: base.Operation) -> T:
        """Commit one operation, whose outcome is to be a ``kind``."""
        (outcome,) = await self.do(op)
        assert isinstance(outcome, kind), outcome
        return outcome

    async def ask(self, query: base.Query) -> Any:
        """Answer a question."""
        return await self.store.query(self.namespace, query)

    async def come(
        self,
        agent: str,
        *,
        caps: tuple[str, ...] | None = None,
        groups: tuple[str, ...] | None = None,
        receive: bool = True,
        ephemeral: bool = False,
        lease_ms: int = LEASE_MS,
        node: str = "n1",
    ) -> base.Registered:
        """Register ``agent``."""
        op = base.Register(agent, node, "s", receive, ephemeral, lease_ms, caps, groups)
        outcome = await self.get(base.Registered, op)
        if receive:
            self.epochs[agent] = outcome.epoch
        return outcome

    async def go(self, agent: str, *unread: int) -> base.Left:
        """End the session of ``agent``."""
        return await self.get(base.Left, base.Leave(agent, self.epochs.pop(agent), unread))

    def mail(
        self,
        sender: str,
        to: str,
        id_: str,
        *,
        priority: int = 3,
        thread: str | None = None,
        ttl: int | None = None,
        size: int = 20,
        settles: int | None = None,
        epoch: int | None = None,
        full_notice: base.FullNotice | None = None,
        delivered_at: int | None = None,
    ) -> base.Accept:
        """The operation of ``sender`` that sends a message."""
        return base.Accept(
            sender=sender,
            epoch=self.epochs.get(sender, 0) if epoch is None else epoch,
            address=parse_address(to),
            id=id_,
            type="COMMAND",
            priority=priority,
            thread=thread,
            reply_to=None,
            receipt=False,
            ttl=ttl,
            body=body(size),
            settles=settles,
            full_notice=full_notice,
            delivered_at=delivered_at,
        )

    async def send(self, sender: str, to: str, id_: str, **fields: Any) -> base.Accepted:
        """Send a message, which is to be accepted."""
        return await self.get(base.Accepted, self.mail(sender, to, id_, **fields))

    async def fetch(
        self,
        agent: str,
        after: tuple[int, int] | None = None,
        limit: int = 100,
        limit_bytes: int = 1 << 20,
    ) -> base.Fetched:
        """What waits for ``agent``."""
        op = base.Fetch(agent, self.epochs.get(agent, 0), after, limit, limit_bytes)
        return await self.get(base.Fetched, op)

    async def waiting(self, agent: str) -> list[int]:
        """The seqs that wait for ``agent``."""
        return [copy.message.seq for copy in (await self.fetch(agent)).copies]

    def settle(self, agent: str, *seqs: int, at: int | None = None) -> base.Settle:
        """The operation of ``agent`` that settles."""
        return base.Settle(agent, self.epochs.get(agent, 0), seqs, (at,) * len(seqs))

    def read(self, agent: str, *seqs: int, want: bool = False) -> base.Read:
        """The operation of ``agent`` that says it has read."""
        return base.Read(agent, self.epochs.get(agent, 0), seqs, LEASE_MS, want)

    def requeue(self, agent: str, *seqs: int) -> base.Requeue:
        """The operation of ``agent`` that ends attempts."""
        return base.Requeue(agent, self.epochs.get(agent, 0), seqs)

    def discard(
        self,
        mailbox: str,
        seq: int,
        outcome: base.Settled,
        notice: base.Notice | None = None,
        *,
        unread_only: bool = False,
    ) -> base.Discard:
        """The operation of the hub that ends a copy."""
        return base.Discard(mailbox, 0, seq, outcome, "because", notice, unread_only)

    async def fate(self, sender: str, id_: str) -> dict[str, base.Fate]:
        """What became of the copies of a message, by mailbox."""
        (traced,) = await self.ask(base.Trace(sender, id_))
        return {fate.agent: fate for fate in traced.copies}

    async def agent(self, name: str) -> base.AgentRecord:
        """What the directory says of ``name``."""
        (record,) = await self.ask(base.Agents(id=name))
        assert isinstance(record, base.AgentRecord)
        return record
