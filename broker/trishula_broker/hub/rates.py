"""How many messages a second an agent may send: a token bucket each, of all its sessions here.

Kept as the moment when the bucket will be full again (the generic cell rate algorithm, ITU-T
I.371): a number an agent, and nothing to fill while nobody sends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from trishula_broker.hub.now import Now
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ErrorCode, ProtocolError
from trishula_protocol.hub_session import HubSession

PAUSE_MS: Final = 100
"""The shortest pause: what its sender has on the way already is refused with it, so that all can
come again in the old order."""
KEPT: Final = 1_024
"""Agents remembered before those whose buckets are full are looked for and let go of."""
_NS: Final = 1_000_000
"""Nanoseconds of a millisecond: rates are divided out in these."""

Accept = Callable[[HubSession, Envelope, Now], None]


class Bucket:
    """Buckets by agent.

    Args:
        per_s: messages a second, in the long run; more than 0.
        burst: messages at once after a rest; 1 at least.
    """

    def __init__(self, per_s: float, burst: int) -> None:
        self._each = max(1, round(1_000 * _NS / per_s))
        self._room = (max(1, burst) - 1) * self._each
        self._full_at: dict[str, int] = {}
        self._paused_until: dict[str, int] = {}
        self._look_at = KEPT

    def __repr__(self) -> str:
        return f"<Bucket agents={len(self._full_at)} paused={len(self._paused_until)}>"

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, agent: str, now: int) -> int:
        """Send one now (milliseconds); 0 when it may, else how long to wait before more may."""
        until = self._paused_until.get(agent)
        if until is not None:
            if now < until:
                return until - now
            del self._paused_until[agent]
        at = now * _NS
        full = max(at, self._full_at.get(agent, at))
        over = full - at - self._room
        if over > 0:
            wait = max(PAUSE_MS, -(-over // _NS))
            self._paused_until[agent] = now + wait
            return wait
        self._full_at[agent] = full + self._each
        if len(self._full_at) > self._look_at:
            self._forget(now, at)
        return 0

    def _forget(self, now: int, at: int) -> None:
        """Let go of those who have rested."""
        self._full_at = {agent: full for agent, full in self._full_at.items() if full > at}
        self._paused_until = {name: end for name, end in self._paused_until.items() if end > now}
        self._look_at = max(KEPT, 2 * len(self._full_at))


class Rates:
    """Accepts messages as fast as they may come, and refuses the others.

    Args:
        accept: takes what is let through.
    """

    def __init__(self, per_s: float, burst: int, accept: Accept) -> None:
        self._per_s = per_s
        self._bucket = Bucket(per_s, burst)
        self._accept = accept

    def __repr__(self) -> str:
        return f"<Rates {self._per_s:g}/s {self._bucket!r}>"

    def accept(self, session: HubSession, envelope: Envelope, now: Now) -> None:
        """Have a message accepted.

        Raises:
            ProtocolError: ``rate_limited``, or as ``accept``.
        """
        wait = self._bucket.take(session.agent, now.mono)
        if wait:
            raise ProtocolError(
                ErrorCode.RATE_LIMITED,
                f"{session.agent} may send {self._per_s:g} messages a second; send it again under "
                f"the same id in {wait} ms, and what follows it no faster",
                retry_after_ms=wait,
                details={"messages_per_s": self._per_s},
            )
        self._accept(session, envelope, now)
