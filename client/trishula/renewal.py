"""A new token in time: the session goes on with it, and nothing is interrupted.

Knows when the present one expires, from the hub's answer to the registration. Where an agent was
given one token and no way to make others there is nothing to do here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import random
from time import monotonic
from typing import Any, Final

import msgspec

from trishula.errors import Refused, TrishulaError
from trishula_protocol.bodies import Op, Registered, Renew, Renewed

LIFE: Final = 0.75
"""The share of a token's life after which a new one is asked for ..."""
JITTER: Final = 0.1
"""... and up to this more, so that agents that began together do not all ask at once."""
SHORTEST_S: Final = 1.0
LONGEST_S: Final = 3_600.0
"""Seconds between two attempts, when one has failed."""

_log = logging.getLogger("trishula")


class Renewal:
    """Renews the token of one agent's session.

    Args:
        agent: its name, for the log.
        token: makes a fresh token.
        ask: asks the hub.
        fraction: uniform in [0, 1).
        clock: seconds that never jump.
        sleep: waits.
    """

    def __init__(
        self,
        agent: str,
        token: Callable[[], str],
        ask: Callable[[Op], Awaitable[Any]],
        *,
        fraction: Callable[[], float] = random,
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self._agent = agent
        self._token = token
        self._ask = ask
        self._fraction = fraction
        self._clock = clock
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "idle" if self._task is None or self._task.done() else "waiting"
        return f"<Renewal of {self._agent} {state}>"

    def registered(self, info: Registered) -> None:
        """A session begins; ``info`` says when its token expires, if it does."""
        self.stop()
        if info.expires_at is not None:
            began = self._clock() - info.server_time / 1000
            self._task = asyncio.create_task(
                self._run(began, info.expires_at / 1000), name=f"renewal of {self._agent}"
            )

    def stop(self) -> None:
        """The session is over."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _run(self, began: float, ends: float | None) -> None:
        """``began`` is when the hub's clock was 0 by ours, ``ends`` when the token does by its."""
        while ends is not None:
            left = began + ends - self._clock()
            await self._sleep(max(0.0, left * (LIFE + JITTER * self._fraction())))
            ends = await self._renew(began, ends)
        _log.debug("%s: the token does not expire any more", self._agent)

    async def _renew(self, began: float, ends: float) -> float | None:
        """Try until there is a token that lasts longer; when that ends, None for never.

        The hub ends the session when there is none in time, and with it these attempts.
        """
        while True:
            renewed = await self._attempt()
            if renewed is not None:
                if renewed.expires_at is None:
                    return None
                if renewed.expires_at / 1000 > ends:
                    return renewed.expires_at / 1000
                self._warn("the new one expires no later than the old one")
            left = began + ends - self._clock()
            await self._sleep(min(LONGEST_S, max(SHORTEST_S, left / 5)))

    async def _attempt(self) -> Renewed | None:
        """Renew once; None when that failed."""
        try:
            token = self._token()
        except Exception as error:
            self._warn(f"none could be made: {type(error).__name__}: {error}")
            return None
        try:
            return msgspec.convert(await self._ask(Renew(token)), Renewed)
        except Refused as error:
            self._warn(str(error))
        except (TrishulaError, msgspec.ValidationError) as error:
            self._warn(f"{type(error).__name__}: {error}")
        return None

    def _warn(self, why: str) -> None:
        _log.warning("%s: the token was not renewed: %s", self._agent, why)
