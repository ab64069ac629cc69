"""``recall``: take back what nobody has read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.store import base
from trishula_protocol import bodies
from trishula_protocol.errors import ErrorCode


def recall(call: Call, op: bodies.Recall) -> None:
    """Answered with the agents it was taken back from, and those who have it for good."""

    def traced(found: Sequence[base.Traced], now: Now) -> None:
        own = [each for each in found if each.message.sender == call.agent]
        if not own:
            call.error(ErrorCode.BAD_MESSAGE, f"payload.id: you did not send {op.id!r}")
            return
        _Recall(call, own[0]).run()

    call.look_up(base.Trace(call.agent, op.id), traced)


class _Recall:
    def __init__(self, call: Call, traced: base.Traced) -> None:
        self._call = call
        self._seq = traced.message.seq
        self._mailboxes = [fate.agent for fate in traced.copies]
        self._recalled: list[str] = []
        self._kept: list[dict[str, Any]] = []

    def run(self) -> None:
        if not self._mailboxes:
            self._answer()
        for agent in self._mailboxes:
            self._call.commit(
                base.Discard(agent, 0, self._seq, "recalled", "", None, unread_only=True),
                partial(self._discarded, agent),
            )

    def _discarded(self, agent: str, outcome: base.Discarded, now: Now) -> None:
        if outcome.done or outcome.current == "recalled":
            self._recalled.append(agent)
            self._call.desk.delivery.withdraw(agent, self._seq)
        else:
            self._kept.append({"agent": agent, "stage": outcome.current or "read"})
        if len(self._recalled) + len(self._kept) == len(self._mailboxes):
            self._answer()

    def _answer(self) -> None:
        self._call.result({"recalled": sorted(self._recalled), "kept": self._kept})
