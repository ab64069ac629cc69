"""What this node tells others: what only the cores know. It may be lost."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from trishula_broker.hub.commits import Commits
from trishula_broker.hub.membership import Membership
from trishula_broker.hub.now import Now
from trishula_broker.store import base

RECEIPT_IDS: Final = 1_000
"""Ids in one receipt at most."""

Stage = Literal["delivered", "read", "done"]


class News:
    """Receipts and presence on their way to other nodes; what belongs together goes together."""

    def __init__(self, membership: Membership, commits: Commits) -> None:
        self._membership = membership
        self._commits = commits
        self._receipts: dict[tuple[str, Stage, str], list[str]] = {}
        self._changes: list[dict[str, Any]] = []

    def receipt(self, to: str, stage: Stage, by: str, envelope_id: str) -> None:
        """``to`` may be elsewhere and wants to hear what became of a message."""
        if not self._membership.alone:
            self._receipts.setdefault((to, stage, by), []).append(envelope_id)

    def presence(self, change: dict[str, Any]) -> None:
        """Watchers may be elsewhere."""
        if not self._membership.alone:
            self._changes.append(change)

    def tell(self) -> None:
        """Say all there is."""
        if self._receipts:
            receipts, self._receipts = self._receipts, {}
            for (to, stage, by), ids in receipts.items():
                for start in range(0, len(ids), RECEIPT_IDS):
                    part = tuple(ids[start : start + RECEIPT_IDS])
                    self._submit(base.Tell(to, base.Receipt(to, stage, by, part)))
        if self._changes:
            changes, self._changes = self._changes, []
            for change in changes:
                self._submit(base.Tell(None, base.Presence(msgspec.json.encode(change))))

    def _submit(self, op: base.Tell) -> None:
        self._commits.submit(op, _told)


def _told(outcome: object, op: base.Tell, context: None, now: Now) -> None:
    # Whether anybody heard is not known; `trace` and `agents` tell the same at any later time.
    pass
