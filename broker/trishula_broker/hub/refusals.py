"""What was refused, for the audit: what it was, and whose. A flood of it costs a record a second.

Never a payload, and never a token: an error's text may quote what was sent, so only the name of
the field at fault is kept of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from trishula_broker.hub.agenda import Agenda
from trishula_broker.hub.now import Now
from trishula_broker.hub.standing import standing_of
from trishula_protocol.address import HUB
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.hub_session import HubSession

REFUSED: Final = "refused"
TOGETHER_MS: Final = 1_000
"""Refusals of one kind of one session within this are one record."""
NOT_REFUSED: Final = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.INTERNAL})
"""Errors that say nothing of what was sent."""
_FIELD: Final = re.compile(r"[a-z][a-z0-9_.]{0,40}(?=:)")

Key = tuple[int, ErrorCode]


class Refusals:
    """Makes records of the errors that sessions are told.

    The first of its kind is recorded at once, what follows within a second together: the last of
    them, and how many there were.

    Args:
        record: has the audit keep something.
        counts: how many errors of each code were told.
    """

    def __init__(
        self,
        agenda: Agenda,
        record: Callable[[str, dict[str, Any]], None],
        counts: Counter[str],
    ) -> None:
        self._agenda = agenda
        self._record = record
        self._counts = counts
        self._more: dict[Key, dict[str, Any] | None] = {}
        """What is not recorded yet, with ``count``; None: nothing, so far."""

    def __repr__(self) -> str:
        return f"<Refusals {len(self._more)} watched>"

    def take(self, session: HubSession, now: Now) -> None:
        """What ``session`` was told since the last time."""
        errors, session.errors = session.errors, []
        for error, what in errors:
            self._counts[error.code] += 1
            if error.code in NOT_REFUSED:
                continue
            key = (session.link, error.code)
            if key not in self._more:
                self._more[key] = None
                self._record(REFUSED, {**_fields(session, error, what), "count": 1})
                self._agenda.at(now.mono + TOGETHER_MS, (REFUSED, key), self._later(key))
                continue
            more = self._more[key]
            count = 1 if more is None else more["count"] + 1
            self._more[key] = {**_fields(session, error, what), "count": count}

    def end(self, session: HubSession, now: Now) -> None:
        """``session`` is over: nothing more comes."""
        if session.errors:
            self.take(session, now)
        for code in ErrorCode:
            key = (session.link, code)
            more = self._more.pop(key, None)
            if more is not None:
                self._record(REFUSED, more)

    def _later(self, key: Key) -> Callable[[Now], None]:
        def due(now: Now) -> None:
            more = self._more.get(key)
            if more is None:
                self._more.pop(key, None)
                return
            self._record(REFUSED, more)
            self._more[key] = None
            self._agenda.at(now.mono + TOGETHER_MS, (REFUSED, key), due)

        return due


def who(session: HubSession) -> dict[str, Any]:
    """By whom, for a record: agent, token and role as far as they are known."""
    fields: dict[str, Any] = {"link": session.link, "peer": session.peer}
    standing = standing_of(session)
    if standing is not None:
        fields |= {
            "agent": standing.identity.subject,
            "token": standing.identity.token_id,
            "role": standing.identity.role,
        }
    elif session.agent:
        fields["agent"] = session.agent
    return fields


def about(envelope: Envelope) -> dict[str, Any]:
    """What an envelope was, for a record."""
    what: dict[str, Any] = {"type": envelope.type}
    if envelope.to is not None:
        what["to"] = envelope.to
    if envelope.to in (None, HUB) and isinstance(envelope.payload, dict):
        op = envelope.payload.get("op")
        if isinstance(op, str):
            what["op"] = op[:40]
    return what


def _fields(session: HubSession, error: ProtocolError, what: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"code": str(error.code), **what}
    if error.reply_to is not None:
        fields["id"] = error.reply_to
    field = _FIELD.match(error.message)
    if field is not None:
        fields["field"] = field[0]
    return {**fields, **who(session)}
