"""Payloads that the protocol itself gives a meaning to, as types.

What an agent asks of the hub (``payload.op``), what ACK and ERROR carry, and what the hub
answers. Application payloads are opaque and have no type here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from trishula_protocol import limits
from trishula_protocol.address import AGENT_PATTERN, MAILBOX_PATTERN
from trishula_protocol.envelope import EnvelopeId, Sequence
from trishula_protocol.errors import ProtocolError

Name = Annotated[str, msgspec.Meta(pattern=AGENT_PATTERN)]
Tags = Annotated[list[Name], msgspec.Meta(max_length=limits.TAGS)]
MailboxName = Annotated[str, msgspec.Meta(pattern=MAILBOX_PATTERN)]
"""An agent, or ``@capability`` for mail that no agent has yet."""
After = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A page begins behind this seq."""
Page = Annotated[int, msgspec.Meta(ge=1, le=limits.BATCH)]


class Register(msgspec.Struct, tag_field="op", tag="register", omit_defaults=True):
    """The first envelope of a connection (§3.2). Times are milliseconds."""

    agent: str
    capabilities: Tags | None = None
    groups: Tags | None = None
    prefetch: Annotated[int, msgspec.Meta(ge=limits.PREFETCH_MIN, le=limits.PREFETCH_MAX)] = (
        limits.PREFETCH_DEFAULT
    )
    lease_ms: Annotated[int, msgspec.Meta(ge=limits.LEASE_MIN_MS, le=limits.LEASE_MAX_MS)] = (
        limits.LEASE_DEFAULT_MS
    )
    heartbeat_ms: Annotated[
        int, msgspec.Meta(ge=limits.HEARTBEAT_MIN_MS, le=limits.HEARTBEAT_MAX_MS)
    ] = limits.HEARTBEAT_DEFAULT_MS
    receive: bool = True
    ephemeral: bool = False
    folder: bool = False
    """The agent has a shared folder, and goes by it when the hub says so (§8)."""


class SessionLimits(msgspec.Struct):
    """What the hub will take from this session."""

    frame_bytes: int
    batch: int
    prefetch: int


class Registered(msgspec.Struct, omit_defaults=True):
    """The answer to :class:`Register`. ``server_time`` is milliseconds since the epoch, and so is
    ``expires_at``: when the session's token expires, by the same clock; left out when it has none
    or does not expire. ``folder_mode``: who has a shared folder is to go by it for now (§8)."""

    agent: str
    namespace: str
    node: str
    role: str
    session: str
    heartbeat_ms: int
    server_time: int
    limits: SessionLimits
    expires_at: int | None = None
    folder_mode: bool = False


class Settle(msgspec.Struct, tag_field="stage", tag="done"):
    """ACK to the hub: the application has finished with these (§5)."""

    seqs: Annotated[list[Sequence], msgspec.Meta(max_length=limits.PREFETCH_MAX)]


class Read(msgspec.Struct, tag_field="stage", tag="read"):
    """ACK to the hub: the application has these; also renews their lease (§5)."""

    seqs: Annotated[list[Sequence], msgspec.Meta(max_length=limits.PREFETCH_MAX)]


class Reject(msgspec.Struct, tag_field="stage", tag="rejected", omit_defaults=True):
    """ACK to the hub: the application refuses these, for now when ``requeue`` is set (§5)."""

    seqs: Annotated[list[Sequence], msgspec.Meta(max_length=limits.PREFETCH_MAX)]
    reason: Annotated[str, msgspec.Meta(max_length=limits.REASON_LENGTH)] = ""
    requeue: bool = False


AgentAck = Settle | Read | Reject
"""What a client may say in an ACK."""


class HubAck(msgspec.Struct, omit_defaults=True):
    """What the hub says in an ACK.

    ``accepted`` carries ``ids``, ``settled`` carries ``seqs``; the receipts ``delivered``,
    ``read`` and ``done`` carry ``ids`` and ``by``.
    """

    stage: Literal["accepted", "settled", "delivered", "read", "done"]
    ids: list[str] = []
    seqs: list[int] = []
    by: str | None = None


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """Payload of an ERROR from the hub (§6)."""

    code: str
    message: str
    retryable: bool = False
    retry_after_ms: int | None = None
    details: dict[str, Any] | None = None


def error_payload(error: ProtocolError) -> dict[str, Any]:
    """``error`` as an ERROR's payload, ``retryable`` always said.

    A message that quotes what was sent is cut short.
    """
    message = error.message
    if len(message) > limits.MESSAGE_LENGTH:
        message = message[: limits.MESSAGE_LENGTH - 3] + "..."
    payload: dict[str, Any] = {
        "code": str(error.code),
        "message": message,
        "retryable": error.retryable,
    }
    if error.retry_after_ms is not None:
        payload["retry_after_ms"] = error.retry_after_ms
    if error.details is not None:
        payload["details"] = error.details
    return payload


# --- what an agent may ask of the hub once registered (§7) ---


class Op(msgspec.Struct, tag_field="op", omit_defaults=True):
    """Base of the hub operations; ``op`` names the one asked for."""


class Agents(Op, tag="agents"):
    """Who there is, by name; each filter narrows; ``after`` is the last name of a page before."""

    capability: str | None = None
    group: str | None = None
    online: bool | None = None
    after: Annotated[str, msgspec.Meta(max_length=limits.AGENT_LENGTH)] = ""


class Status(Op, tag="status"):
    """The caller's status, shown to others until replaced. A STATUS without ``to`` is the same."""

    text: Annotated[str, msgspec.Meta(max_length=limits.STATUS_LENGTH)] = ""
    details: Any = None


class Join(Op, tag="join"):
    """Become a member of a group."""

    group: Name


class Leave(Op, tag="leave"):
    """Stop being a member of a group."""

    group: Name


class Watch(Op, tag="watch"):
    """Hear presence and status changes of the namespace from now on (or stop hearing them)."""

    on: bool = True


class Peek(Op, tag="peek"):
    """Look at the caller's own mailbox, for operators and observers at that of ``agent``; nothing
    is delivered, read or settled."""

    limit: Page = 20
    agent: MailboxName | None = None


class History(Op, tag="history"):
    """A thread the caller took part in, or its own mail, oldest first; ``after`` is a seq. For
    operators and observers: that of ``agent``."""

    thread: EnvelopeId | None = None
    after: After = 0
    limit: Page = 100
    agent: Name | None = None


class Trace(Op, tag="trace"):
    """Where a message is that the caller sent or received, and what it waits for. For operators
    and observers: that ``agent`` did."""

    id: EnvelopeId
    agent: Name | None = None


class Recall(Op, tag="recall"):
    """Take back what nobody has read yet."""

    id: EnvelopeId


class Deregister(Op, tag="deregister"):
    """Forget the caller; refused while its mailbox holds anything."""


class Nodes(Op, tag="nodes"):
    """The hubs that serve this namespace, and which of them leads."""


class DeadLetters(Op, tag="deadletters"):
    """Operators: what was given up, newest last; of one agent when ``agent`` is given."""

    agent: MailboxName | None = None
    after: After = 0
    limit: Page = 100


class Retry(Op, tag="retry"):
    """Operators: put a dead letter back into its mailbox, its attempts forgotten."""

    agent: MailboxName
    seq: Sequence


class Drop(Op, tag="drop"):
    """Operators: remove a dead letter for good. The log keeps it for its retention time."""

    agent: MailboxName
    seq: Sequence


class Pause(Op, tag="pause"):
    """Operators: hand out nothing more to an agent; its mailbox goes on filling."""

    agent: Name
    reason: Annotated[str, msgspec.Meta(max_length=limits.REASON_LENGTH)] = ""


class Resume(Op, tag="resume"):
    """Operators: hand out again to an agent that was paused."""

    agent: Name


class FolderMode(Op, tag="folder_mode"):
    """Operators: order all agents that have a shared folder to it, or back (§8); without ``on``,
    say what holds, and who goes by it."""

    on: bool | None = None
    reason: Annotated[str, msgspec.Meta(max_length=limits.REASON_LENGTH)] = ""


class Forget(Op, tag="forget"):
    """Operators: forget an agent that is offline. What its mailbox holds keeps it, unless
    ``discard`` moves that to the dead letters and tells the senders."""

    agent: Name
    discard: bool = False


class Tap(Op, tag="tap"):
    """Operators: hear of what passes from now on (or stop it); each filter narrows. ``to`` is an
    address as it was written, or an agent that has a copy. ``most``: copies a second; others are
    missed, and how many is told."""

    sender: Name | None = msgspec.field(default=None, name="from")
    to: Annotated[str, msgspec.Meta(max_length=limits.AGENT_LENGTH + 1)] | None = None
    type: Literal["COMMAND", "STATUS", "RESULT", "ERROR"] | None = None
    thread: EnvelopeId | None = None
    most: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    on: bool = True


class Revoke(Op, tag="revoke"):
    """Operators: take back one token, by its id, or all that an agent was given until now. Their
    sessions end with 4401, on every node."""

    token_id: Annotated[str, msgspec.Meta(max_length=limits.ID_LENGTH)] = ""
    agent: Annotated[str, msgspec.Meta(pattern=f"^$|{AGENT_PATTERN}")] = ""


class Renew(Op, tag="renew"):
    """Go on with a new token, for the same agent and namespace. What it allows holds at once."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=limits.TOKEN_LENGTH)]

    def __repr__(self) -> str:
        return "Renew(token=...)"


class Renewed(msgspec.Struct, omit_defaults=True):
    """The answer to :class:`Renew`; ``expires_at`` as in :class:`Registered`."""

    expires_at: int | None = None


Operation = (
    Register
    | Agents
    | Status
    | Join
    | Leave
    | Watch
    | Peek
    | History
    | Trace
    | Recall
    | Deregister
    | Nodes
    | DeadLetters
    | Retry
    | Drop
    | Pause
    | Resume
    | FolderMode
    | Forget
    | Tap
    | Revoke
    | Renew
)
