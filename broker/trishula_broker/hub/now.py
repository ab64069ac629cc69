"""The two clocks, as one argument."""

from __future__ import annotations

from typing import NamedTuple


class Now(NamedTuple):
    """A moment, in milliseconds.

    ``mono`` never jumps and drives deadlines. ``wall`` counts from the Unix epoch, is what
    people and the store call the time, and may jump.
    """

    mono: int
    wall: int
