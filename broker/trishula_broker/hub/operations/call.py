"""One hub operation being answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from trishula_broker.auth.identity import Identity
from trishula_broker.hub.commits import Commits, Then, Unavailable
from trishula_broker.hub.delivery import Delivery
from trishula_broker.hub.folder_mode import FolderMode
from trishula_broker.hub.now import Now
from trishula_broker.hub.questions import Questions
from trishula_broker.hub.registration import Registration
from trishula_broker.hub.roster import Roster
from trishula_broker.hub.taps import Taps
from trishula_broker.hub.tenure import Tenure
from trishula_broker.store import base
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.hub_session import HubSession

QUESTIONS_AT_ONCE: Final = 32
"""Unanswered questions of one session: each answer may be a megabyte (see ``render``)."""


class Desk:
    """What operations may use; made once a hub."""

    def __init__(
        self,
        node: str,
        commits: Commits,
        questions: Questions,
        roster: Roster,
        delivery: Delivery,
        assign: Callable[[str], None],
        assigned: Callable[[Sequence[tuple[str, base.Copy]]], None],
        taps: Taps,
        tenure: Tenure,
        registration: Registration,
        folder_mode: FolderMode,
        record: Callable[[str, dict[str, Any]], None],
        identify: Callable[[str], Identity] | None,
    ) -> None:
        self.node = node
        self.commits = commits
        self.questions = questions
        self.roster = roster
        self.delivery = delivery
        self.assign = assign
        """Hands out the pool of a capability."""
        self.assigned = assigned
        """Takes what somebody got of a pool."""
        self.taps = taps
        self.tenure = tenure
        self.registration = registration
        self.folder_mode = folder_mode
        self.record = record
        """Has the audit keep what no commit tells of."""
        self.identify = identify
        """Who a token proves somebody to be; None on a hub without keys."""
        self.asking: Counter[int] = Counter()
        """link → questions to the store that are not answered yet."""


class Call:
    """Who asked, and how to answer: the first :meth:`result` or :meth:`error` is the answer."""

    def __init__(self, desk: Desk, session: HubSession, reply_to: str | None, now: Now) -> None:
        self.desk = desk
        self.session = session
        self.now = now
        self.op = ""
        """What is asked for, once it is known to be an operation."""
        self.whose = session.agent
        """About whose mail: the caller's, unless it may ask about another's."""
        self._reply_to = reply_to
        self._answered = False

    @property
    def agent(self) -> str:
        """Who asked."""
        return self.session.agent

    def result(self, payload: Any) -> None:
        """Answer."""
        if not self._answered:
            self._answered = True
            self.session.answer(self._reply_to, payload)

    def error(self, code: ErrorCode, message: str, details: dict[str, Any] | None = None) -> None:
        """Refuse."""
        self.refuse(ProtocolError(code, message, details=details))

    def refuse(self, error: ProtocolError) -> None:
        """Refuse, with this."""
        if not self._answered:
            self._answered = True
            error.reply_to = self._reply_to
            self.session.error(error, type="COMMAND", op=self.op)

    def ask(self, query: base.Query, render: Callable[[Any], Any]) -> None:
        """Answer with ``render(the store's answer)``."""
        self.look_up(query, lambda answer, now: self.result(render(answer)))

    def look_up(self, query: base.Query, then: Callable[[Any, Now], None]) -> None:
        """Go on with the store's answer; a failing store is handled."""

        def answered(answer: Any, context: None, now: Now) -> None:
            asking[link] -= 1
            if not asking[link]:
                del asking[link]
            if isinstance(answer, Unavailable):
                self.unavailable(answer)
            else:
                then(answer, now)

        asking = self.desk.asking
        link = self.session.link
        if asking[link] >= QUESTIONS_AT_ONCE:
            self.error(
                ErrorCode.RATE_LIMITED,
                f"payload.op: {QUESTIONS_AT_ONCE} of your questions wait for their answers; "
                "ask again when you have heard some",
            )
            return
        asking[link] += 1
        self.desk.questions.ask(query, answered)

    def commit(self, op: base.Operation, then: Callable[[Any, Now], None]) -> None:
        """Commit ``op``, then go on with its outcome; fencing and a failing store are handled."""

        def decided(outcome: Any, op: base.Operation, context: None, now: Now) -> None:
            if isinstance(outcome, Unavailable):
                self.unavailable(outcome)
            elif isinstance(outcome, base.Fenced):
                self.desk.delivery.fenced(self.session, outcome, now)
            else:
                then(outcome, now)

        handler: Then = decided
        self.desk.commits.submit(op, handler)

    def unavailable(self, outcome: Unavailable) -> None:
        """Refuse because the store failed."""
        self.error(
            ErrorCode.UNAVAILABLE,
            f"the store cannot answer now ({outcome.why}); ask again",
        )
