"""What the driver's neighbours look like from where it stands: core, connection, log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from trishula_broker.auth.identity import Identity
from trishula_broker.hub.counts import Counts
from trishula_broker.hub.effects import Effect
from trishula_broker.hub.now import Now
from trishula_broker.store.base import Hint, Operation, Outcome, Query, Revocation
from trishula_protocol.address import Address
from trishula_protocol.codec import Codec, Item
from trishula_protocol.errors import ProtocolError


class Question(Protocol):
    """What the core asks of the store."""

    @property
    def query(self) -> Query: ...


class Committer(Protocol):
    """Who is told what became of a batch."""

    def committed(self, outcomes: Sequence[Outcome], now: Now) -> None: ...
    def commit_failed(self, why: str, now: Now) -> None: ...


class Core(Protocol):
    """What the driver needs of :class:`trishula_broker.hub.hub.Hub`; see there."""

    counts: Counts

    @property
    def leads(self) -> bool: ...
    def connect(
        self, link: int, codec: Codec, peer: str, identity: Identity | None, now: Now
    ) -> None: ...
    def receive(self, link: int, items: list[Item], size: int, now: Now) -> None: ...
    def unreadable(self, link: int, error: ProtocolError, now: Now) -> None: ...
    def alive(self, link: int, now: Now) -> None: ...
    def writable(self, link: int, yes: bool, now: Now) -> None: ...
    def disconnect(self, link: int, reason: str, now: Now) -> None: ...
    def committed(self, outcomes: Sequence[Outcome], now: Now) -> None: ...
    def commit_failed(self, why: str, now: Now) -> None: ...
    def answered(self, question: Any, answer: Any, now: Now) -> None: ...
    def question_failed(self, question: Any, why: str, now: Now) -> None: ...
    def hinted(self, hints: Sequence[Hint], now: Now) -> None: ...
    def accepting(self, why: str | None, now: Now) -> None: ...
    def introduce(self, agent: str, now: Now) -> None: ...
    def post(
        self, to: Address, id_: str, payload: Any, then: Callable[[str | None, Now], None], now: Now
    ) -> None: ...
    def revoke(self, what: Revocation, now: Now) -> None: ...
    def drain(self, now: Now) -> None: ...
    def timeout(self, now: Now) -> None: ...
    def next_timeout(self) -> int | None: ...
    def ops_to_commit(self, ahead: bool = False) -> list[Operation]: ...
    def questions(self) -> Sequence[Question]: ...
    def effects(self) -> list[Effect]: ...
    def describe(self, now: Now) -> dict[str, Any]: ...


class Connection(Protocol):
    """A connection, as the driver sees it. None of these raises; a closed one ignores them."""

    link: int
    core: Core

    def registered(self) -> None:
        """Its agent is known."""
        ...

    def send(self, frame: bytes, binary: bool) -> None:
        """Add a frame to what the next :meth:`flush` writes."""
        ...

    def flush(self) -> None:
        """Write what was added, at once."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake, behind what was sent."""
        ...

    def abort(self) -> None:
        """Cut the connection."""
        ...

    def pause(self) -> None:
        """Stop reading."""
        ...

    def resume(self) -> None:
        """Go on reading."""
        ...


class Authenticator(Protocol):
    """Who can check tokens."""

    def identify(self, token: str) -> Identity:
        """Whom ``token`` proves.

        Raises:
            TokenRefused: nobody.
        """
        ...


class Auditor(Protocol):
    """Who keeps what only this node sees."""

    def record(self, namespace: str, event: str, fields: dict[str, Any]) -> None:
        """Keep it: ``namespace`` is empty where none is known yet."""
        ...


class Log(Protocol):
    """What is used of a structlog logger."""

    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...
