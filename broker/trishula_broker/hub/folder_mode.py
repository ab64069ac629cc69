"""Whether agents are ordered to their shared folder (docs/decisions/0017).

What holds is in the store, and comes with the answer to each beat. Sessions are told when they
register, with each HEARTBEAT, and at once when it changes.
"""

from __future__ import annotations

from typing import Any

from trishula_broker.hub.membership import Membership
from trishula_broker.hub.now import Now
from trishula_broker.hub.outlet import Outlet
from trishula_broker.hub.roster import Roster
from trishula_broker.store import base


class FolderMode:
    """What is ordered, as far as this node knows.

    Args:
        membership: has what holds, for its heartbeats.
        outlet: takes a log line for each change.
    """

    def __init__(self, membership: Membership, roster: Roster, outlet: Outlet) -> None:
        self._membership = membership
        self._roster = roster
        self._outlet = outlet

    def __repr__(self) -> str:
        return f"<FolderMode {self._membership.folder_order}>"

    def learn(self, order: base.FolderOrder | None, now: Now) -> None:
        """The store has said what holds."""
        membership = self._membership
        before = membership.folder_order
        if order == before:
            return
        membership.folder_order = order
        self._outlet.note("folder_mode", {"on": order is not None, **(self.describe() or {})})
        if (order is None) is not (before is None):
            for session in self._roster.live():
                session.say(membership.heartbeat(now))

    def describe(self) -> dict[str, Any] | None:
        """What is ordered, for operators; None: nothing is."""
        order = self._membership.folder_order
        return None if order is None else {"reason": order.reason, "since": order.since}
