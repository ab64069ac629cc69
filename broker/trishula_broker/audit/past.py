"""Whether what was found at the start is what this node had signed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from trishula_broker.audit.heads import NodeKey
from trishula_broker.audit.port import InThread
from trishula_broker.audit.times import iso
from trishula_broker.audit.writer import ChainWriter
from trishula_broker.store.trail import ArchiveRecord, Head


class Past:
    """Of some chains.

    Args:
        writers: theirs.
        node: this one.
        archives: asks the store what it has of all nodes.
        alarm: told what an operator must know, once each.
    """

    def __init__(
        self,
        writers: Sequence[ChainWriter],
        node: str,
        key: NodeKey,
        archives: Callable[[], Awaitable[Sequence[ArchiveRecord]]],
        in_thread: InThread,
        alarm: Callable[[str], None],
    ) -> None:
        self._unseen = list(writers)
        self._node = node
        self._key = key
        self._archives = archives
        self._in_thread = in_thread
        self._alarm = alarm

    @property
    def seen(self) -> bool:
        """Whether all of them were compared with the heads that the store has of them."""
        return not self._unseen

    async def look(self) -> None:
        """Compare. The next head takes the place of what was signed, so the chain itself has to say
        what does not fit.

        Raises:
            OSError: a chain cannot be written; those that are left are compared the next time.
            StoreUnavailable: the store cannot be asked now.
        """
        archives = await self._archives()
        heads = [head for each in archives if each.node == self._node for head in each.heads]
        while self._unseen:
            writer = self._unseen[0]
            for head in heads:
                if head.chain == writer.name.kind:
                    await self._compare(writer, head)
            self._unseen.pop(0)

    async def _compare(self, writer: ChainWriter, head: Head) -> None:
        when = iso(head.at)
        if head.kid != self._key.kid:
            self._alarm(
                f"node.key is not what {writer.name} was signed with at {when}: it was lost, or "
                "replaced; heads that were copied elsewhere are of the earlier one"
            )
        what = await self._in_thread(lambda: writer.contradicts(head.number, head.hash, when))
        if what is None:
            return
        fields = {"what": what, "had": head.number, "signed": head.hash, "kid": head.kid}
        await self._in_thread(lambda: writer.say("altered", fields))
        self._alarm(
            f"the audit was altered while this hub did not run: of {writer.name} {what}; "
            "its chain says so from here on, and so does `broker audit verify`"
        )
