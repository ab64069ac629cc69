"""How many users when: ``100:30s,200:30s,1000:60s,0:15s`` is users and how long they stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

DEFAULT: Final = "100:30s,200:30s,1000:60s,0:15s"


class Stage(NamedTuple):
    """So many users for ``seconds``, the time they take to come included."""

    users: int
    seconds: float


def parse(text: str) -> list[Stage]:
    """The stages that ``text`` says.

    Raises:
        ValueError: names the part and the rule.
    """
    stages = []
    for part in text.split(","):
        users, colon, seconds = part.strip().partition(":")
        seconds = seconds.removesuffix("s")
        try:
            stage = Stage(int(users), float(seconds))
        except ValueError:
            stage = Stage(-1, 0)
        if not (colon and 0 <= stage.users <= 60_000 and 1 <= stage.seconds <= 86_400):
            raise ValueError(f"{part.strip()!r} is no stage: USERS:SECONDSs, such as 100:30s")
        stages.append(stage)
    if not any(stage.users for stage in stages):
        raise ValueError("no stage has users")
    return stages


def peak(stages: Sequence[Stage]) -> int:
    """The number of the stage with the most users; the first of several."""
    return max(range(len(stages)), key=lambda number: (stages[number].users, -number))


def at(stages: Sequence[Stage], elapsed: float) -> int | None:
    """The number of the stage in force ``elapsed`` seconds after the start; None at the end."""
    for number, stage in enumerate(stages):
        elapsed -= stage.seconds
        if elapsed < 0:
            return number
    return None
