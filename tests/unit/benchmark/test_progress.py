"""How far a load is: on a terminal, and elsewhere."""

from __future__ import annotations

import io

import pytest

from trishula_broker.benchmark.histogram import Histogram
from trishula_broker.benchmark.report import Interval
from trishula_broker.benchmark.run import Progress
from trishula_broker.cli.load_progress import LINES, line, screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def progress(elapsed: float, failed: int = 0) -> Progress:
    latency = Histogram()
    for us in (500, 1_500):
        latency.record(us)
    return Progress(elapsed, 20, 18, failed, Interval(elapsed, 10, 9, latency.summary()))


def test_a_line_has_how_far_it_is_and_how_it_goes() -> None:
    assert line(progress(2.0), 10) == (
        "2/10 s  sent 20  received 18, 9 in the last second  p50 0.50 ms, p99 1.50 ms"
    )
    assert line(progress(2.0, failed=3), 10).endswith("  not accepted 3")
    assert line(Progress(0.0, 0, 0, 0, None), 10) == "0/10 s  sent 0"


def test_what_comes_after_the_end_is_not_more_than_all_of_it() -> None:
    assert line(progress(11.5), 10).startswith("10/10 s  ")


def test_on_a_terminal_one_line_changes_and_is_gone_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    with screen(10, terminal) as shown:
        shown.show(progress(1.0))
        shown.show(progress(2.0))
        shown.note("the hub was lost \x1b[2J")
    text = terminal.getvalue()
    assert "1/10 s" in text
    assert "2/10 s" in text
    assert "the hub was lost \\u001b[2J" in text
    assert text.count("\x1b[2K") >= 2  # a line is erased before the next one is drawn


def test_elsewhere_there_is_a_line_now_and_then(capfd: pytest.CaptureFixture[str]) -> None:
    with screen(100, io.StringIO()) as shown:
        shown.show(Progress(0.0, 0, 0, 0, None))
        for second in range(1, 101):
            shown.show(progress(float(second)))
        shown.note("a note")
    *lines, last = capfd.readouterr().err.splitlines()
    assert [each.split()[0] for each in lines] == [f"{n * LINES}/100" for n in range(1, LINES + 1)]
    assert last == "a note"
    assert not [each for each in lines if "\x1b" in each]
