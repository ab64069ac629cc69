"""What all shapes are made of."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from trishula_protocol import limits
from trishula_protocol.bodies import MailboxName, Name
from trishula_protocol.envelope import EnvelopeId, Sequence

Kind = Literal["COMMAND", "STATUS", "RESULT", "ERROR"]
Address = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.AGENT_LENGTH + 1)]
Reason = Annotated[str, msgspec.Meta(max_length=limits.REASON_LENGTH)]
Seqs = Annotated[list[Sequence], msgspec.Meta(min_length=1, max_length=limits.BATCH)]
TokenId = Annotated[str, msgspec.Meta(max_length=limits.ID_LENGTH)]


PATH: Final[dict[str, Any]] = {
    "agent": MailboxName,
    "mine": Name,
    "id": EnvelopeId,
    "seq": Sequence,
    "component": Literal["store", "redis", "audit", "disk", "websocket"],
}
"""What a path's parameters are; ``mine`` is the caller's own name."""


class Given(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Base of what requests say."""


class Shown(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Base of what is answered."""
