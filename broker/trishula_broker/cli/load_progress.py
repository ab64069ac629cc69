"""How far a load is: one line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from trishula_broker.cli.session import note
from trishula_broker.cli.text import visible

if TYPE_CHECKING:
    from trishula_broker.benchmark.run import Progress

LINES: Final = 10
"""Of a run, about, where lines stay."""


class Screen(NamedTuple):
    """Where a load is followed.

    Attributes:
        show: to be called about once a second.
        note: a line for people that stays.
    """

    show: Callable[[Progress], object]
    note: Callable[[str], object]


@contextmanager
def screen(seconds: float, stream: IO[Any] | None) -> Iterator[Screen]:
    """On a terminal, or anywhere else; ``seconds`` is how long the load will be."""
    if stream is not None and stream.isatty():
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        console = Console(file=stream)
        with Live(
            Text("connecting …"), console=console, transient=True, auto_refresh=False
        ) as live:
            yield Screen(
                lambda progress: live.update(Text(line(progress, seconds)), refresh=True),
                lambda text: console.print(Text(visible(text))),
            )
    else:
        last = 0.0

        def show(progress: Progress) -> None:
            nonlocal last
            if progress.interval is not None and progress.elapsed_s - last >= seconds / LINES:
                last = progress.elapsed_s
                note(line(progress, seconds))

        yield Screen(show, note)


def line(progress: Progress, seconds: float) -> str:
    """All of it on one line."""
    done = min(progress.elapsed_s, seconds)
    parts = [f"{done:.0f}/{seconds:g} s", f"sent {progress.planned}"]
    if progress.interval is not None:
        latency = progress.interval.latency_ms
        parts += [
            f"received {progress.received}, {progress.interval.received} in the last second",
            f"p50 {latency.p50:.2f} ms, p99 {latency.p99:.2f} ms",
        ]
    if progress.failed:
        parts.append(f"not accepted {progress.failed}")
    return "  ".join(parts)
