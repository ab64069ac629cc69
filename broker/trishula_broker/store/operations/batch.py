"""All that a commit can do, and what it is given."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trishula_broker.store.operations.duties import Assign, Retry, Sweep, Unassign
from trishula_broker.store.operations.mail import (
    Accept,
    Delivered,
    Discard,
    Fetch,
    Read,
    Requeue,
    Settle,
)
from trishula_broker.store.operations.nodes import Beat, EndNode, Tell
from trishula_broker.store.operations.sessions import Forget, Leave, Pause, Register, Update
from trishula_broker.store.ordered import OrderFolder
from trishula_broker.store.revoked import Introduce, Revoke
from trishula_broker.store.trail import Archive

Operation = (
    Register
    | Leave
    | Update
    | Forget
    | Pause
    | OrderFolder
    | Accept
    | Fetch
    | Delivered
    | Read
    | Settle
    | Requeue
    | Discard
    | Assign
    | Unassign
    | Sweep
    | Retry
    | Beat
    | EndNode
    | Tell
    | Introduce
    | Revoke
    | Archive
)


class Batch(msgspec.Struct, frozen=True):
    """Operations of one namespace, in order."""

    namespace: str
    ops: Sequence[Operation]
