"""What the application gets, and what it can say about it."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from trishula.errors import RemoteError
from trishula.inbox import Delivery, Key, Stage
from trishula.receipt import Receipt
from trishula_protocol.envelope import Envelope

if TYPE_CHECKING:
    from trishula.settling import Settling


class Message:
    """One message that was delivered. Settle it: nothing else does.

    ``done``, ``reply``, ``error`` and ``reject`` settle it, once; what was not settled when the
    process ends is delivered again. ``key`` is the same at every delivery: an effect stored
    together with it (or with ``state_dir``'s finished id) happens effectively once.
    """

    __slots__ = ("_delivery", "_settling")

    def __init__(self, settling: Settling, delivery: Delivery) -> None:
        self._settling = settling
        self._delivery = delivery

    def __repr__(self) -> str:
        envelope = self._delivery.envelope
        return (
            f"<Message {envelope.type} {envelope.id} from {envelope.sender} "
            f"attempt {self._delivery.attempt}, {self._delivery.stage.name.lower()}>"
        )

    @property
    def type(self) -> str:
        """``COMMAND``, ``STATUS``, ``RESULT`` or ``ERROR``."""
        return self._delivery.envelope.type

    @property
    def id(self) -> str:
        """Unique per sender."""
        return self._delivery.key[1]

    @property
    def sender(self) -> str:
        """Who sent it, proven by the hub; ``hub`` for the hub's own mail."""
        return self._delivery.key[0]

    @property
    def key(self) -> Key:
        """``(sender, id)``: the same at every delivery of this message."""
        return self._delivery.key

    @property
    def payload(self) -> Any:
        """A JSON value."""
        return self._delivery.envelope.payload

    @property
    def to(self) -> str | None:
        """The address it was sent to: this agent, a group, a capability or ``broadcast``."""
        return self._delivery.envelope.to

    @property
    def thread(self) -> str:
        """The conversation's id; its first message's own id."""
        return self._delivery.envelope.thread or self._delivery.key[1]

    @property
    def reply_to(self) -> str | None:
        """Id of the message it answers."""
        return self._delivery.envelope.reply_to

    @property
    def priority(self) -> int:
        """1 is the most urgent, 5 the least."""
        return self._delivery.envelope.priority

    @property
    def timestamp(self) -> int | None:
        """The sender's clock, milliseconds since the epoch."""
        return self._delivery.envelope.timestamp

    @property
    def headers(self) -> Mapping[str, str]:
        """Extensions; ``traceparent`` for instance."""
        return self._delivery.envelope.headers

    @property
    def attempt(self) -> int:
        """1 at the first delivery; it may grow while the message is being handled."""
        return self._delivery.attempt

    @property
    def seq(self) -> int | None:
        """Its place in the hub's log; None for what needs no settling."""
        return self._delivery.seq

    @property
    def expires_in(self) -> int | None:
        """Milliseconds that were left of its ttl when it was delivered."""
        return self._delivery.envelope.expires_in

    @property
    def envelope(self) -> Envelope:
        """All of it."""
        return self._delivery.envelope

    @property
    def delivery(self) -> Delivery:
        """The core's view of it."""
        return self._delivery

    @property
    def settled(self) -> bool:
        """Whether the application has finished with it, or its answer is on the way."""
        return self._delivery.stage >= Stage.ANSWERED

    def done(self) -> Coroutine[Any, Any, None]:
        """The application has finished with it. Repeating it does nothing.

        Returns once that is safe on this side: at once, or with ``state_dir`` once stored
        there. It is said to the hub until the hub has confirmed it, over any number of
        connections. Cancelling does not take it back.

        Raises:
            StateDirError: it could not be stored.
        """
        return self._settling.done(self._delivery)

    async def reply(self, payload: Any = None, **options: Any) -> Receipt:
        """Answer with a RESULT and settle, in one step: both happen or neither.

        Returns when the hub has accepted it. On a message settled before it is an answer only.
        Cancelling does not take it back.

        Args:
            payload: any JSON value.
            options: ``priority``, ``ttl`` (seconds), ``headers``, ``receipt``, as for
                :meth:`Agent.send`.

        Raises:
            ValueError: of the hub's own mail, or when another answer is on its way; also, like
                TypeError, for a payload that cannot be sent.
            Refused: the hub refused it; the message is unsettled.
        """
        return await self._settling.answer(self._delivery, "RESULT", payload, **options)

    async def error(
        self,
        code: str,
        message: str = "",
        *,
        details: Mapping[str, Any] | None = None,
        retryable: bool = False,
    ) -> Receipt:
        """Answer with an ERROR and settle; otherwise as :meth:`reply`."""
        error = RemoteError(code, message, details=details, retryable=retryable)
        return await self._settling.answer(self._delivery, "ERROR", error.body())

    async def reject(self, reason: str = "", *, requeue: bool = False) -> None:
        """Refuse it: to the dead letters, or with ``requeue`` to be tried again later.

        The hub tries again after 1, 5, 30 and 120 seconds, five times in all. ``reason`` has
        1024 characters at most. Repeating it does nothing.

        Raises:
            StateDirError: it could not be stored.
        """
        await self._settling.reject(self._delivery, reason, requeue)

    async def progress(self, payload: Any) -> Receipt:
        """Tell the sender how far it is: a STATUS with ``reply_to``. Settles nothing.

        Returns when the hub has accepted it. Raises as :meth:`Agent.send`.
        """
        return await self._settling.progress(self._delivery, payload)
