"""``forget``: an agent that is no more, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trishula_broker.hub.commits import Unavailable
from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.hub.operations.known import refuse_unknown
from trishula_broker.store import base
from trishula_protocol import bodies
from trishula_protocol.errors import ErrorCode

PAGE: Final = 500
"""Copies discarded at a time: commits must not wait for long."""
REASON: Final = "the recipient was forgotten by an operator"


def forget(call: Call, op: bodies.Forget) -> None:
    """Refused while the agent is online, and while its mailbox holds mail unless that is to be
    discarded. Answered with how many copies were."""
    _Forgetting(call, op).begin()


class _Forgetting:
    """One agent on its way out: seen, its mail ended a page at a time, removed."""

    def __init__(self, call: Call, op: bodies.Forget) -> None:
        self._call = call
        self._agent = op.agent
        self._discard = op.discard
        self._discarded = 0

    def begin(self) -> None:
        self._call.look_up(base.Agents(id=self._agent), self._seen)

    def _seen(self, found: Sequence[base.AgentRecord], now: Now) -> None:
        if not found:
            refuse_unknown(self._call, self._agent)
        elif found[0].online:
            self._refuse_online(found[0].node)
        elif self._discard:
            # Mail for a capability was not for this one alone: others can take it.
            self._call.commit(base.Unassign(self._agent), self._unassigned)
        else:
            self._remove()

    def _unassigned(self, outcome: base.Unassigned, now: Now) -> None:
        for capability in outcome.pools:
            self._call.desk.assign(capability)
        self._empty()

    def _empty(self) -> None:
        self._call.look_up(base.Peek(self._agent, PAGE), self._peeked)

    def _peeked(self, peeked: base.Peeked, now: Now) -> None:
        text = f"{self._agent} was forgotten by an operator; it is in the dead letters"
        abandon = self._call.desk.delivery.endings.abandon
        for copy in peeked.heads:
            abandon(self._agent, copy, REASON, text, now, self._count)
        self._remove()

    def _count(self) -> None:
        self._discarded += 1

    def _remove(self) -> None:
        self._call.desk.commits.submit(base.Forget(self._agent, 0), self._removed)

    def _removed(
        self,
        outcome: base.Forgotten | base.Fenced | Unavailable,
        op: base.Forget,
        context: None,
        now: Now,
    ) -> None:
        call = self._call
        if isinstance(outcome, Unavailable):
            call.unavailable(outcome)
        elif isinstance(outcome, base.Fenced):
            self._refuse_online("")
        elif not outcome.waiting:
            change = {"event": "forgotten", "agent": self._agent, "online": False}
            call.desk.roster.announce(change, now.wall)
            call.result({"agent": self._agent, "discarded": self._discarded})
        elif self._discard:
            self._empty()  # a page was not all, or more has come
        else:
            call.error(
                ErrorCode.FORBIDDEN,
                f"payload.agent: the mailbox of {self._agent} holds {outcome.waiting} unsettled "
                'messages; let it settle them, or say "discard": true to move them to the dead '
                "letters",
                {"unsettled": outcome.waiting},
            )

    def _refuse_online(self, node: str) -> None:
        where = f" at {node}" if node else ""
        self._call.error(
            ErrorCode.FORBIDDEN,
            f"payload.agent: {self._agent} is online{where}; stop it first, or revoke its token",
        )
