"""What a rule is tried with: agents of its own at the hub, and no trace of them afterwards."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from trishula_broker.conformance.peer import Peer
from trishula_broker.conformance.rule import Broken

JSON: Final = "trishula.v2.json"
MSGPACK: Final = "trishula.v2.msgpack"
CLIENT_FRAME_BYTES: Final = 4 << 20
"""What a client must take (§1)."""
TIDY_SECONDS: Final = 2.0
"""How long the hub may take for each answer while agents are removed."""


class Site(NamedTuple):
    """The hub that is tried."""

    url: str
    patience: float
    """Seconds in which it has to answer."""
    token_for: Callable[[str], str] | None
    """Makes an agent's token, in a thread; None for a hub without authentication."""
    ssl: ssl.SSLContext | None
    broadcast: bool
    """Whether mail to everybody reaches nobody who should not get it."""


class Lab:
    """For one rule.

    Args:
        site: the hub.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self._prefix = f"conformance-{secrets.token_hex(4)}"
        self._names = 0
        self._peers: list[Peer] = []

    def __repr__(self) -> str:
        return f"<Lab {self._prefix}>"

    def name(self) -> str:
        """A name that nobody has: an agent's, a group's or a capability's."""
        self._names += 1
        return f"{self._prefix}-{self._names}"

    async def connect(
        self, name: str = "", subprotocols: Sequence[str] = (JSON,), token: str | None = None
    ) -> Peer:
        """A connection that has not registered, for the agent ``name``.

        Args:
            token: instead of the agent's own.

        Raises:
            WebSocketException: the hub refused the upgrade.
        """
        site = self.site
        if token is None and site.token_for is not None:
            token = await asyncio.to_thread(site.token_for, name or self.name())
        connection = await connect(
            site.url,
            subprotocols=[Subprotocol(each) for each in subprotocols] or None,
            additional_headers={"Authorization": f"Bearer {token}"} if token else None,
            ssl=(site.ssl or True) if site.url.startswith("wss:") else None,
            ping_interval=None,
            open_timeout=site.patience,
            close_timeout=TIDY_SECONDS,
            max_size=CLIENT_FRAME_BYTES,
            proxy=None,
        )
        peer = Peer(connection, site.patience)
        self._peers.append(peer)
        return peer

    async def agent(self, name: str = "", **fields: Any) -> Peer:
        """A registered agent; an ephemeral one, unless ``fields`` say otherwise."""
        name = name or self.name()
        peer = await self.connect(name)
        await peer.register(name, **{"ephemeral": True, **fields})
        return peer

    async def back(self, peer: Peer, **fields: Any) -> Peer:
        """The agent leaves, and registers anew."""
        await peer.close()
        return await self.agent(peer.name, **fields)

    async def gone(self, **fields: Any) -> str:
        """The name of an agent that was here and is not any more."""
        peer = await self.agent(**fields)
        await peer.close()
        return peer.name

    async def tidy(self) -> None:
        """Close all, settle what is left of their mail, and have the hub forget them. A hub that
        does otherwise is not asked twice."""
        names = {peer.name for peer in self._peers if peer.name and peer.receives}
        for peer in self._peers:
            await peer.close()
        for name in sorted(names):
            try:
                await self._forget(name)
            except (Broken, OSError, WebSocketException, LookupError, TypeError):
                continue

    async def _forget(self, name: str) -> None:
        quick = Lab(self.site._replace(patience=min(self.site.patience, TIDY_SECONDS)))
        peer = await quick.agent(name)
        try:
            seqs = [each["seq"] for each in (await peer.ask("peek", limit=1000))["heads"]]
            if seqs:
                await peer.settle(*seqs)
            await peer.operation("deregister")
        finally:
            await peer.close()
