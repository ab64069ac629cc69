"""Questions on their way to the store, each with what happens with the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from trishula_broker.hub.commits import Unavailable
from trishula_broker.hub.now import Now
from trishula_broker.store import base

Then = Callable[[Any, Any, Now], None]
"""``then(answer, context, now)``; the answer may be :class:`Unavailable`."""


class Question(NamedTuple):
    """Asked of the store outside the order of commits."""

    query: base.Query
    then: Then
    context: Any


class Questions:
    """What the core wants to know."""

    def __init__(self) -> None:
        self._waiting: list[Question] = []
        self.open = 0

    def ask(self, query: base.Query, then: Then, context: Any = None) -> None:
        """Queue a question."""
        self._waiting.append(Question(query, then, context))

    def take(self) -> list[Question]:
        """What is to be asked now."""
        waiting = self._waiting
        if waiting:
            self._waiting = []
            self.open += len(waiting)
        return waiting

    def answered(self, question: Question, answer: Any, now: Now) -> None:
        """The store has answered."""
        self.open -= 1
        question.then(answer, question.context, now)

    def failed(self, question: Question, why: str, now: Now) -> None:
        """The store could not answer."""
        self.open -= 1
        question.then(Unavailable(why), question.context, now)

    def __len__(self) -> int:
        return len(self._waiting) + self.open
