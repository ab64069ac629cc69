"""Plots as SVG, drawn by hand: a report must look the same in a mail in ten years."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

WIDTH: Final = 720
HEIGHT: Final = 180
LEFT: Final = 56
RIGHT: Final = 8
TOP: Final = 8
BOTTOM: Final = 24
LEAST: Final = 1e-9
"""A value that is less is drawn as nothing is."""
LINES: Final = 4
"""Across the plot."""
LABELS: Final = 7
"""Of times, at most."""


class Curve(NamedTuple):
    """A name, the class that gives its colour, and a value for each time; None: not known."""

    name: str
    style: str
    values: Sequence[float | None]


def svg(title: str, times: Sequence[str], curves: Sequence[Curve], *, bars: bool = False) -> str:
    """One plot; ``times`` are shown below it. ``bars`` draws the first curve as bars."""
    top = _nice(max((v for curve in curves for v in curve.values if v is not None), default=0.0))
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
    ]
    for n in range(LINES + 1):
        y = _y(top * n / LINES, top)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        text = f"{top * n / LINES:g}"
        parts.append(
            f'<text class="axis" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{text}</text>'
        )
    width = (WIDTH - LEFT - RIGHT) / max(1, len(times))
    every = max(1, math.ceil(len(times) / LABELS))
    for n in range(0, len(times), every):
        x = round(LEFT + width * n, 1)
        parts.append(f'<text class="axis" x="{x}" y="{HEIGHT - 6}">{escape(times[n])}</text>')
    for number, curve in enumerate(curves):
        draw = _bars if bars and not number else _line
        parts.append(draw(curve, width, top))
    return "".join([*parts, "</svg>"])


def _y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top, 1)


def _bars(curve: Curve, width: float, top: float) -> str:
    return "".join(
        f'<rect class="{curve.style}" x="{LEFT + width * n:.1f}" y="{_y(value, top)}" '
        f'width="{max(0.5, width - 1):.1f}" height="{_y(0, top) - _y(value, top):.1f}"/>'
        for n, value in enumerate(curve.values)
        if value
    )


def _line(curve: Curve, width: float, top: float) -> str:
    path, pen = [], False
    for n, value in enumerate(curve.values):
        if value is None:
            pen = False
            continue
        x = LEFT + width * (n + 0.5)
        path.append(f"{'L' if pen else 'M'}{x:.1f} {_y(value, top)}")
        if not pen:
            path.append("h0.01")  # one value alone is a dot
        pen = True
    return f'<path class="line {curve.style}" d="{"".join(path)}"/>' if path else ""


def _nice(value: float) -> float:
    """A round number, at least ``value``, that the lines across divide well."""
    if value < LEAST or not math.isfinite(value):
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * step for step in (1, 2, 4, 8, 10) if unit * step >= value)
