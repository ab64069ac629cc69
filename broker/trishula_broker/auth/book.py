"""What the lines of the list of tokens amount to. Pure: lines in, answers out.

Times are wall-clock milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from trishula_broker.auth.ledger import Entry, Issued, Revoked
from trishula_broker.auth.tokens import LEEWAY_MAX_MS

State = Literal["valid", "revoked", "expired"]


class Book:
    """The tokens of a list, and what was revoked of them.

    Attributes:
        tokens: those made, in the order of their making.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        lines = list(entries)
        self.tokens = [each for each in lines if isinstance(each, Issued)]
        self._ids: dict[tuple[str, str | None], Revoked] = {}  # the first of each
        self._agents: dict[tuple[str, str | None], list[Revoked]] = {}
        for each in lines:
            if isinstance(each, Revoked):
                self._ids.setdefault((each.ns, each.jti), each)
                self._agents.setdefault((each.ns, each.agent), []).append(each)

    def __repr__(self) -> str:
        return f"<Book tokens={len(self.tokens)}>"

    def revoked_at(self, token: Issued) -> int | None:
        """When it was revoked, first."""
        times = [
            each.at
            for each in self._agents.get((token.ns, token.sub), ())
            if token.iat < each.before
        ]
        if (token.ns, token.jti) in self._ids:
            times.append(self._ids[token.ns, token.jti].at)
        return min(times, default=None)

    def state(self, token: Issued, now: int) -> State:
        """What it is worth now."""
        if token.exp is not None and token.exp <= now:
            return "expired"
        return "valid" if self.revoked_at(token) is None else "revoked"

    def valid(self, now: int) -> list[Issued]:
        """Those that some hub may still take, whose clock is behind."""
        return [each for each in self.tokens if self.state(each, now - LEEWAY_MAX_MS) == "valid"]

    def issued_from(self, namespace: str, agent: str) -> int:
        """The earliest moment of issue of a token that is not revoked already."""
        revoked = self._agents.get((namespace, agent), ())
        return max((each.before for each in revoked), default=0)

    def revoke_token(self, token_id: str, namespace: str | None, now: int) -> list[Revoked]:
        """The lines that revoke a token; none when it is not in the list, unless ``namespace``
        says where it counts."""
        made = [
            each for each in self.tokens if each.jti == token_id and namespace in (None, each.ns)
        ]
        if not made and namespace is not None:
            return [Revoked(at=now, ns=namespace, jti=token_id)]
        return [
            Revoked(
                at=now,
                ns=each.ns,
                jti=token_id,
                until=None if each.exp is None else each.exp + LEEWAY_MAX_MS,
            )
            for each in made
        ]

    def revoke_agent(self, agent: str, namespace: str | None, now: int) -> list[Revoked]:
        """The lines that revoke all tokens of an agent until now: in ``namespace``, or wherever
        some were made."""
        made = [each for each in self.tokens if each.sub == agent]
        spaces = [namespace] if namespace else sorted({each.ns for each in made})
        found = []
        for space in spaces:
            # A clock that was set back must not leave one out that was made before.
            last = max((each.iat for each in made if each.ns == space), default=0)
            found.append(Revoked(at=now, ns=space, agent=agent, before=max(now, last + 1)))
        return found
