"""``folder_mode``: all agents are ordered to their shared folder or back, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from trishula_broker.hub.now import Now
from trishula_broker.hub.operations.call import Call
from trishula_broker.store import base
from trishula_protocol import bodies

NAMED: Final = 1_000
"""Agents that are named in one answer; the others are counted."""


def folder_mode(call: Call, op: bodies.FolderMode) -> None:
    """Order, or only say what holds; answered with who of those online goes by it."""

    def done(outcome: base.FolderOrdered, now: Now) -> None:
        call.desk.folder_mode.learn(outcome.order, now)
        _answer(call)

    if op.on is None:
        _answer(call)
    else:
        call.commit(base.OrderFolder(op.on, op.reason), done)


def _answer(call: Call) -> None:
    order = call.desk.folder_mode.describe()

    def render(records: Sequence[base.AgentRecord]) -> dict[str, Any]:
        without = [record.id for record in records if not record.folder]
        return {
            "on": order is not None,
            **(order or {"reason": "", "since": None}),
            "with_folder": len(records) - len(without),
            "without_folder": without[:NAMED],
            "more": len(without[NAMED:]),
        }

    call.ask(base.Agents(online=True), render)
