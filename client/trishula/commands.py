"""The commands an agent waits for, and what comes of them. No I/O, no clock."""

from __future__ import annotations

from typing import Any, Final

from trishula.events import Event, Progress, Returned
from trishula.recent import Recent
from trishula_protocol.envelope import Envelope

ANSWERED: Final = 10_000
"""Commands answered or given up whose further answers are recognised and dropped."""


class Commands:
    """Those without a RESULT or ERROR yet, and the last ones that have one or were given up.

    It is true while any answer may concern it.
    """

    def __init__(self) -> None:
        self.expected: dict[str, Any] = {}
        """The waiter of each command that is not answered yet, by its id."""
        self._over: Recent[str, None] = Recent(ANSWERED)

    def __repr__(self) -> str:
        return f"<Commands {len(self.expected)} expected, {len(self._over)} over>"

    def __bool__(self) -> bool:
        return bool(self.expected or self._over)

    def expect(self, command_id: str, waiter: Any) -> None:
        """Answers to ``command_id`` are :class:`Returned`, not mail."""
        self.expected[command_id] = waiter

    def abandon(self, command_id: str) -> None:
        """Nobody waits for its answer any more: when it comes it is settled and dropped."""
        if self.expected.pop(command_id, None) is not None:
            self._over.add(command_id, None)

    def answered(self, envelope: Envelope, events: list[Event]) -> bool:
        """Whether it belongs to a command and so is no mail; whoever waits hears by ``events``."""
        reply_to = envelope.reply_to
        if reply_to is None:
            return False
        if reply_to in self.expected:
            if envelope.type in ("RESULT", "ERROR"):
                waiter = self.expected.pop(reply_to)
                self._over.add(reply_to, None)
                events.append(Returned(reply_to, waiter, envelope))
            elif envelope.type == "STATUS":
                events.append(Progress(reply_to, self.expected[reply_to], envelope))
            else:
                return False
            return True
        return reply_to in self._over and envelope.type != "COMMAND"
