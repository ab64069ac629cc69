"""Which tokens were taken back. One set a hub: its handshake and its core ask the same one.

Pure: no clock, no files. It only grows by what is told it, and forgets what cannot matter any more.
Times are wall-clock milliseconds. What is revoked counts within its namespace alone.
"""

from __future__ import annotations

from trishula_broker.auth.identity import Identity

_FOR_EVER = float("inf")


class Revocations:
    """Token ids, and agents whose earlier tokens count no more."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str], float] = {}  # until when each matters
        self._agents: dict[tuple[str, str], tuple[int, float]] = {}  # issued before, until when

    def __repr__(self) -> str:
        return f"<Revocations tokens={len(self._tokens)} agents={len(self._agents)}>"

    def __len__(self) -> int:
        return len(self._tokens) + len(self._agents)

    def revoke_token(self, namespace: str, token_id: str, until: int | None) -> bool:
        """One token; ``until`` is when it has expired anyway, None for never.

        Returns:
            Whether that was news.
        """
        key = (namespace, token_id)
        news = key not in self._tokens
        self._tokens[key] = max(self._tokens.get(key, 0), _end(until))
        return news

    def revoke_agent(
        self, namespace: str, agent: str, issued_before: int, until: int | None
    ) -> bool:
        """All tokens of an agent that were issued before a moment; the latest moment counts.

        Returns:
            Whether that was news.
        """
        key = (namespace, agent)
        before, end = self._agents.get(key, (-1, 0.0))
        self._agents[key] = (max(before, issued_before), max(end, _end(until)))
        return issued_before > before

    def is_revoked(self, identity: Identity) -> bool:
        """Whether the token that proved it was taken back."""
        if (identity.namespace, identity.token_id) in self._tokens:
            return True
        found = self._agents.get((identity.namespace, identity.subject))
        return found is not None and identity.issued_at < found[0]

    def forget(self, now: int) -> None:
        """Let go of those whose tokens have all expired. ``now`` less the leeway, if there is one:
        a token must not outlive its revocation."""
        self._tokens = {key: end for key, end in self._tokens.items() if end > now}
        self._agents = {key: each for key, each in self._agents.items() if each[1] > now}


def _end(until: int | None) -> float:
    return _FOR_EVER if until is None else until
