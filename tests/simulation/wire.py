"""A simulated connection: ordered both ways like TCP, with the ways a connection can fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Protocol

from tests.simulation.clock import Scheduler

ABNORMAL = 1006
"""How an ending without a close frame is reported (RFC 6455 §7.1.5)."""


class End(Protocol):
    """What is at either end."""

    def arrived(self, link: Link, frame: bytes) -> None:
        """A frame came."""
        ...

    def ended(self, link: Link, code: int, reason: str) -> None:
        """The connection is over; said once."""
        ...


class Way:
    """One direction."""

    def __init__(self, link: Link, to: Callable[[bytes], None]) -> None:
        self._link = link
        self._to = to
        self._last = 0
        self._held: deque[bytes | Callable[[], None]] | None = None

    def send(self, frame: bytes) -> None:
        """Put a frame behind those on their way."""
        self._link.clock.at(self._arrival(), self._arrive, frame)

    def after_all(self, call: Callable[[], None]) -> None:
        """Call once what is on its way was read."""
        self._link.clock.at(self._arrival(), self._arrive, call)

    def delay(self, until: int) -> None:
        """Nothing that is sent from now on arrives before ``until``."""
        self._last = max(self._last, until)

    def hold(self) -> None:
        """The receiver stops reading."""
        if self._held is None:
            self._held = deque()

    def release(self) -> None:
        """The receiver reads again."""
        held, self._held = self._held, None
        while held:
            self._arrive(held.popleft())

    def _arrival(self) -> int:
        link = self._link
        # Never before what was sent earlier; so whole bursts arrive together, or apart.
        self._last = max(self._last, link.clock.now + link.latency())
        return self._last

    def _arrive(self, item: bytes | Callable[[], None]) -> None:
        link = self._link
        if link.broken or link.silent:
            return
        if self._held is not None:
            self._held.append(item)
        elif isinstance(item, bytes):
            self._to(item)
        else:
            item()


class Link:
    """A connection between an agent and the hub.

    Args:
        number: what the hub calls it.
        worst: milliseconds that a frame takes at most.
    """

    def __init__(
        self, number: int, agent: End, hub: End, clock: Scheduler, rng: Random, worst: int
    ) -> None:
        self.number = number
        self.clock = clock
        self.broken = False
        self.silent = False
        """Frames vanish and nobody is told: only heartbeats find out."""
        self._agent = agent
        self._hub = hub
        self._rng = rng
        self._worst = worst
        self._told_agent = False
        self._told_hub = False
        self.up = Way(self, lambda frame: hub.arrived(self, frame))
        self.down = Way(self, lambda frame: agent.arrived(self, frame))

    def __repr__(self) -> str:
        return f"<Link {self.number}>"

    def latency(self) -> int:
        """Milliseconds for the next frame: mostly quick, now and then at its worst."""
        rng = self._rng
        return rng.randrange(self._worst + 1) if rng.random() < 0.2 else min(1, self._worst)

    def reset(self, first_known_after: int = 0) -> None:
        """Break: what is on its way is lost; each side finds out in its own time."""
        if not self.broken:
            self.broken = True
            for told in (self._tell_agent, self._tell_hub):
                delay = first_known_after + self._rng.choice((0, 1, 20, 200))
                self.clock.after(delay, told, ABNORMAL, "reset")

    def hub_closes(self, code: int, reason: str) -> None:
        """A close frame behind what the hub has sent; the agent's TCP end follows."""

        def arrive() -> None:
            self.broken = True
            self._tell_agent(code, reason)
            self.clock.after(self.latency(), self._tell_hub, code, reason)

        self._told_hub = True  # the hub counts it as ended when it says so
        self.down.after_all(arrive)

    def agent_closes(self, code: int, reason: str) -> None:
        """A close frame behind what the agent has sent. The agent is not told again."""
        self._told_agent = True

        def arrive() -> None:
            self.broken = True
            self._tell_hub(code, reason)

        self.up.after_all(arrive)

    def agent_gone(self) -> None:
        """The agent's process died; its system may still send what it had written."""
        if self._rng.random() < 0.7:
            self.agent_closes(ABNORMAL, "process died")
        else:
            self._told_agent = True
            self.reset()

    def hub_gone(self, politely: bool) -> None:
        """The hub's process died, or its whole host when not ``politely``."""
        self._told_hub = True
        if not politely:
            self.silent = True
        elif self._rng.random() < 0.5:
            self.hub_closes(ABNORMAL, "process died")
        else:
            self.reset()

    def _tell_agent(self, code: int, reason: str) -> None:
        if not self._told_agent:
            self._told_agent = True
            self._agent.ended(self, code, reason)

    def _tell_hub(self, code: int, reason: str) -> None:
        if not self._told_hub:
            self._told_hub = True
            self._hub.ended(self, code, reason)
