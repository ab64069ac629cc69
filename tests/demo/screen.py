"""What a person sees: a timeline, in colour on a terminal and plain elsewhere."""

from __future__ import annotations

import os
import time
from typing import Final, TextIO

from tests.demo.events import Event

RESET, BOLD, DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
RED, GREEN = "\x1b[31m", "\x1b[32m"
AGENTS: Final = {"dc": "\x1b[36m", "agni": "\x1b[33m", "rushabdev": "\x1b[35m", "hub": RED}
SETTLE_S: Final = 0.05
"""Events wait this long to be shown, so that those of several processes come in order."""


class Screen:
    """Prints to ``stream``; ``quiet`` starts the labels that are counted and not shown."""

    def __init__(self, stream: TextIO, quiet: tuple[str, ...]) -> None:
        self._stream = stream
        self._quiet = quiet
        self._began = time.monotonic()
        self._waiting: list[Event] = []
        self._sent: dict[str, Event] = {}
        self.terminal = stream.isatty()
        self._colours = self.terminal and "NO_COLOR" not in os.environ

    def title(self, text: str) -> None:
        """A new act."""
        self.flush()
        self._print(f"\n{self._paint(f'── {text} ' + '─' * max(0, 74 - len(text)), BOLD)}")

    def say(self, text: str) -> None:
        """The narrator."""
        self.flush()
        self._print(self._paint(f"          {text}", DIM))

    def note(self, who: str, text: str) -> None:
        """Something that is done to a process."""
        self.flush()
        self._line(time.monotonic(), who, text)

    def result(self, kept: bool, text: str) -> None:
        """A claim of the summary."""
        mark = self._paint("yes", GREEN) if kept else self._paint("NO ", RED + BOLD)
        self._print(f"  {mark}  {text}")

    def text(self, text: str) -> None:
        """A line as it is."""
        self.flush()
        self._print(text)

    def event(self, event: Event) -> None:
        """An event; it is shown with those of its time."""
        if event.label.startswith(self._quiet):
            return
        if event.kind == "sent":
            self._sent[event.label] = event
        self._waiting.append(event)

    def flush(self, before: float = float("inf")) -> None:
        """Show the events before ``before``, in order."""
        self._waiting.sort(key=lambda event: event.time)
        while self._waiting and self._waiting[0].time < before:
            event = self._waiting.pop(0)
            text = self._describe(event)
            if text is not None:
                self._line(event.time, event.agent, text)

    def _describe(self, event: Event) -> str | None:
        match event.kind:
            case "joined":
                return "is online"
            case "left":
                return "has left"
            case "asked":
                return f"→ {event.peer:<10} please {event.text}"
            case "accepted":
                sent = self._sent[event.label]
                spent = (event.time - sent.time) * 1000
                stored = self._paint(f"  stored by the hub after {spent:.1f} ms", DIM)
                return f"→ {event.peer:<10} “{sent.text}”{self._remark(event)}{stored}"
            case "refused":
                return f"→ {event.peer:<10} refused: {event.text}"
            case "handled":
                return f"← {event.peer:<10} “{event.text}”{self._remark(event)}"
            case "progress":
                return f"  {'':<10} hears: {event.text}"
            case "answered":
                return f"← {event.peer:<10} done: {event.text}"
            case "saw" if event.peer:
                return f"  sees {event.peer:<10} {event.text}"
            case _:
                return None

    def _remark(self, event: Event) -> str:
        sent = self._sent.get(event.label)
        if sent is not None and sent.priority:
            return f"  (priority {sent.priority})"
        return f"  (attempt {event.attempt})" if event.attempt > 1 else ""

    def _line(self, when: float, who: str, text: str) -> None:
        stamp = self._paint(f"{when - self._began:7.3f} s", DIM)
        self._print(f"{stamp}  {self._paint(f'{who:<10}', AGENTS.get(who, ''))} {text}")

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{RESET}" if self._colours and colour else text

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
