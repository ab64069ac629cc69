"""What an operator has ordered of all agents of a namespace (docs/decisions/0017)."""

from __future__ import annotations

import msgspec

from trishula_broker.store.op import Op, Outcome


class FolderOrder(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All agents that have a shared folder are to go by it."""

    reason: str
    since: int
    """When it was first ordered, by the store's clock."""


class OrderFolder(Op, frozen=True, gc=False):
    """Order the agents of the namespace to their shared folder (``on``), or back.

    It holds until it is taken back, over restarts. Each answer to a beat tells it, so every node
    knows with its next one, and before it lets anybody in. Ordered twice: the last reason
    counts, and the first time.
    """

    on: bool
    reason: str = ""


class FolderOrdered(Outcome, frozen=True, gc=False):
    """What holds from here on; ``new``: it was not so before."""

    new: bool
    order: FolderOrder | None
