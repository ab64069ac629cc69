"""One run: starts the two processes, begins them together, follows them, and adds it all up."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from time import monotonic_ns
from typing import Final

import msgspec

from trishula_broker.benchmark.histogram import Histogram, merged
from trishula_broker.benchmark.report import Interval, Report
from trishula_broker.benchmark.talk import (
    LINE_BYTES,
    Delivered,
    Event,
    Failed,
    Go,
    Leave,
    Note,
    Order,
    Plan,
    Ready,
    Received,
    Sent,
    Stop,
    decode_event,
    encode,
)

HEAD_START_NS: Final = 100_000_000
"""From the word to begin until the first message: both processes have heard it by then."""
QUIET_SECONDS: Final = 5.0
"""When nothing has come for so long after the last was sent, nothing more will."""
LOOK_SECONDS: Final = 0.05
"""Between two looks at whether all has come."""
INTERVAL_SECONDS: Final = 1.0
"""Of the report's course, and of what is shown meanwhile."""
END_SECONDS: Final = 60.0
"""How long a process may take to have its agents forgotten."""


class BenchFailed(Exception):
    """The run could not go on.

    Attributes:
        code: an exit code of the ``broker`` command.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return self.text


class Progress(msgspec.Struct, frozen=True):
    """How far a run is.

    Attributes:
        elapsed_s: since the first message's moment; 0 while agents connect.
        failed: messages that were not accepted.
        interval: the last second; None before the first has passed.
    """

    elapsed_s: float
    planned: int
    received: int
    failed: int
    interval: Interval | None


class Run:
    """A run of two processes.

    Args:
        sending: the plan of the one with the senders.
        receiving: the plan of the one with the receivers.
        show: told about every interval's end, and the beginning.
        note: told what is for people.
    """

    def __init__(
        self,
        sending: Plan,
        receiving: Plan,
        show: Callable[[Progress], object] = lambda progress: None,
        note: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._plans = {"send": sending, "receive": receiving}
        self._show = show
        self._note = note
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._following: list[asyncio.Task[None]] = []
        self._ready: dict[str, Ready] = {}
        self._sent = Sent()
        self._received = Received()
        self._accepting = Histogram()
        self._latency: dict[int, Histogram] = {}
        self._recent = Histogram()
        self._intervals: list[Interval] = []
        self._shown = (0, 0)
        self._start_ns = 0
        self._end_ns = 0
        self._interrupted = False
        self._news = asyncio.Event()

    @property
    def begun(self) -> bool:
        """Whether messages are being sent, or were."""
        return self._start_ns > 0

    def stop(self) -> None:
        """Send nothing more, once :attr:`begun`; :meth:`run` ends with what there is."""
        self._interrupted = True
        self._end_ns = min(self._end_ns, monotonic_ns())
        self._tell("send", Stop())

    async def run(self, version: str) -> Report:
        """All of it.

        Raises:
            BenchFailed: why it could not go on.
        """
        async with contextlib.AsyncExitStack() as stack:
            # Receivers first, so that their names and their group are known.
            for part in ("receive", "send"):
                self._following.append(await stack.enter_async_context(self._process(part)))
                await self._registered(part)
            self._start_ns = monotonic_ns() + HEAD_START_NS
            self._end_ns = self._start_ns + int(self._plans["send"].seconds * 1e9)
            for part in self._plans:
                self._tell(part, Go(self._start_ns))
            self._show(self._progress())
            ticking = asyncio.ensure_future(self._tick())
            try:
                await self._until(lambda: self._sent.over)
                await self._drained()
            finally:
                ticking.cancel()
            if (self._sent.accepted, self._received.received) != self._shown:
                self._end_interval()
        return self._report(version)

    # --- the processes ---

    @contextlib.asynccontextmanager
    async def _process(self, part: str) -> AsyncIterator[asyncio.Task[None]]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "trishula_broker.benchmark", part),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
            start_new_session=True,  # Ctrl-C is for the command, which says what to do
        )
        self._processes[part] = process
        assert process.stdin is not None
        process.stdin.write(encode(self._plans[part]) + b"\n")
        following = asyncio.create_task(self._follow(part, process))
        try:
            yield following
        finally:
            self._tell(part, Leave())
            try:
                await asyncio.wait({following}, timeout=END_SECONDS)
            finally:
                if not following.done():
                    process.kill()
                await asyncio.wait({following})
                await process.wait()

    def _tell(self, part: str, order: Order) -> None:
        process = self._processes[part]
        if process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(encode(order) + b"\n")

    async def _follow(self, part: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                self._on_event(part, decode_event(line))
                self._news.set()
        finally:
            self._news.set()

    def _on_event(self, part: str, event: Event) -> None:
        match event:
            case Ready():
                self._ready[part] = event
            case Sent():
                self._sent = event
                self._accepting.add(event.accepting)
            case Received():
                if not self._plans["send"].rate and event.received != self._received.received:
                    self._tell("send", Delivered(event.received))
                self._received = event
                for priority, histogram in event.latency.items():
                    self._latency.setdefault(priority, Histogram()).add(histogram)
                    self._recent.add(histogram)
            case Note():
                self._note(event.text)
            case Failed():
                raise BenchFailed(event.code, event.text)

    async def _registered(self, part: str) -> None:
        await self._until(lambda: part in self._ready)

    async def _until(self, met: Callable[[], bool]) -> None:
        """Wait for ``met()``; all processes must live until then."""
        while not met():
            self._check()
            self._news.clear()
            await self._news.wait()

    def _check(self) -> None:
        for each in self._following:
            if each.done():
                each.result()
                raise BenchFailed(1, "a process of the benchmark has ended early; see above")

    async def _drained(self) -> None:
        """Wait until all that was accepted has come, or nothing comes any more."""
        before, since = -1, monotonic_ns()
        while (now := self._received.received) < self._expected(self._sent.accepted):
            if now != before:
                before, since = now, monotonic_ns()
            elif monotonic_ns() - since > QUIET_SECONDS * 1e9:
                return
            self._check()
            await asyncio.sleep(LOOK_SECONDS)

    def _expected(self, messages: int) -> int:
        return messages * self._plans["send"].fan_out

    # --- what is shown meanwhile ---

    async def _tick(self) -> None:
        at = self._start_ns
        while True:
            at += int(INTERVAL_SECONDS * 1e9)
            await asyncio.sleep((at - monotonic_ns()) / 1e9)
            self._end_interval()
            self._show(self._progress())

    def _end_interval(self) -> None:
        recent, self._recent = self._recent, Histogram()
        sent, received = self._shown
        self._shown = (self._sent.accepted, self._received.received)
        self._intervals.append(
            Interval(
                (monotonic_ns() - self._start_ns) / 1e9,
                self._sent.accepted - sent,
                self._received.received - received,
                recent.summary(),
            )
        )

    def _progress(self) -> Progress:
        return Progress(
            max(0.0, (monotonic_ns() - self._start_ns) / 1e9),
            self._sent.planned,
            self._received.received,
            sum(self._sent.failed.values()),
            self._intervals[-1] if self._intervals else None,
        )

    # --- what it comes to ---

    def _report(self, version: str) -> Report:
        plan, sent, received = self._plans["send"], self._sent, self._received
        expected = self._expected(sent.planned)
        # A hub that has died half-way was not fast until then.
        took = max(received.last_ns, self._end_ns) - self._start_ns
        latency = merged(self._latency.values())
        p99_us = latency.percentile_of_us(0.99, expected)
        deliveries_per_s = received.received / max(took / 1e9, 1e-9)
        return Report(
            version=version,
            urls=self._ready["send"].urls,
            receiver_urls=self._ready["receive"].urls,
            connections=len(plan.members),
            fan_out=plan.fan_out,
            seconds=plan.seconds,
            rate=plan.rate,
            size=plan.size,
            window=plan.window,
            mix=plan.mix,
            connect_ms=merged(each.connecting for each in self._ready.values()).summary(),
            latency_ms=latency.summary(),
            p99_of_expected_ms=None if p99_us is None else p99_us / 1000,
            latency_by_priority_ms={
                priority: self._latency[priority].summary() for priority in sorted(self._latency)
            },
            accepting_ms=self._accepting.summary(),
            planned=sent.planned,
            accepted=sent.accepted,
            failed=sent.failed,
            mailed=sent.mailed,
            late=sent.late,
            expected=expected,
            received=received.received,
            success=received.received / expected * 100 if expected else 0.0,
            messages_per_s=deliveries_per_s / plan.fan_out,
            deliveries_per_s=deliveries_per_s,
            duplicates=received.duplicates,
            disorder=received.disorder,
            redelivered=received.redelivered,
            reconnects=sent.reconnects + received.reconnects,
            interrupted=self._interrupted,
            intervals=self._intervals,
        )
