"""When an agent asks for a new token, and what it does when it gets none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from trishula.errors import AgentClosed, Refused
from trishula.renewal import JITTER, LIFE, LONGEST_S, SHORTEST_S, Renewal
from trishula_protocol.bodies import Op, Registered, Renew, SessionLimits

SERVER = 1_700_000_000.0
"""The hub's clock when ours is 100."""


class World:
    """A clock that goes on when somebody sleeps, and a hub whose answers are prepared."""

    def __init__(self, *answers: object, token: Callable[[], str] = lambda: "secret") -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self.asked: list[tuple[float, str]] = []
        self.answers = list(answers)
        self.over = asyncio.Event()
        self.renewal = Renewal(
            "dc", token, self.ask, fraction=lambda: 0.5, clock=lambda: self.now, sleep=self.sleep
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if not self.answers:
            self.over.set()
            await asyncio.Event().wait()
        self.now += seconds

    async def ask(self, op: Op) -> Any:
        assert isinstance(op, Renew)
        self.asked.append((self.now, op.token))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            self.over.set()
            return {}
        assert isinstance(answer, float)
        return {"expires_at": self.server_ms(answer)}

    def server_ms(self, at: float) -> int:
        """Our time as the hub's, in milliseconds."""
        return round((SERVER + at - 100) * 1000)

    async def live(self, expires: float | None) -> World:
        """Register with a token that expires at our time ``expires``."""
        ends = None if expires is None else self.server_ms(expires)
        limits = SessionLimits(1, 1, 1)
        info = Registered(
            "dc", "default", "n", "primary", "s", 2_000, self.server_ms(self.now), limits, ends
        )
        self.renewal.registered(info)
        if ends is not None:
            async with asyncio.timeout(20):
                await self.over.wait()
        self.renewal.stop()
        return self


SHARE = LIFE + JITTER / 2


async def test_a_token_is_renewed_in_time_again_and_again() -> None:
    world = await World(1_100.0, 2_100.0).live(200.0)
    first = 100 + 100 * SHARE
    second = first + (1_100 - first) * SHARE
    assert [at for at, _ in world.asked] == pytest.approx([first, second])
    assert world.slept[2] == pytest.approx((2_100 - second) * SHARE)


async def test_one_that_does_not_expire_needs_nothing() -> None:
    assert (await World().live(None)).slept == []
    assert len((await World(None).live(200.0)).slept) == 1


async def test_a_failing_renewal_is_tried_again_until_it_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "trishula"):
        world = await World(
            Refused("unauthorized", "payload.token: expired"),
            Refused("unavailable", "later"),
            AgentClosed("dc"),
            200.0,
            900.0,
        ).live(200.0)
    assert len(world.asked) == 5
    assert all(SHORTEST_S <= pause <= LONGEST_S for pause in world.slept[1:5])
    assert len(caplog.messages) == 4
    assert "expires no later" in caplog.messages[3]
    assert "secret" not in caplog.text


async def test_a_function_that_raises_is_called_again(caplog: pytest.LogCaptureFixture) -> None:
    tokens = iter([OSError("no such file"), "new"])

    def token() -> str:
        found = next(tokens)
        if isinstance(found, Exception):
            raise found
        return str(found)

    with caplog.at_level(logging.WARNING, "trishula"):
        world = await World(900.0, token=token).live(200.0)
    assert [token for _, token in world.asked] == ["new"]
    assert "no such file" in caplog.text
