"""Spans on their way to an OpenTelemetry collector, over OTLP/HTTP, in a thread of their own.

Imported only by a hub that is told to trace: it needs the extra ``trishula[otel]``. What cannot be
sent is dropped: traces are no promise, and must not hold up mail.
"""

from __future__ import annotations

import logging
import secrets
import threading
import warnings
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

with warnings.catch_warnings():  # those of other people's libraries are for them
    warnings.simplefilter("ignore")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
    from opentelemetry.trace.status import Status, StatusCode

from trishula_broker.net.spans import Span

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

BATCH: Final = 128
"""Spans of a request. Making one takes some milliseconds, in which nothing else runs."""
QUEUE: Final = 4_096
"""Spans that wait at most; more are dropped."""
EVERY_S: Final = 1.0
"""Between two requests, while there is less than a batch."""
TIMEOUT_S: Final = 5.0
"""What a collector has for a request, with all that is tried again."""
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_KINDS: Final = {"accept": SpanKind.CONSUMER, "deliver": SpanKind.PRODUCER}
_LIBRARY: Final = "opentelemetry.exporter"
"""The loggers of the library, which says of each request why it failed."""


def span_id() -> str:
    """A new one."""
    return f"{secrets.randbits(64) or 1:016x}"


class Otlp:
    """The exporter.

    Args:
        url: where to, with its path.
        node: this hub's name; ``version`` is its version.
        log: hears when sending fails, and when it works again.
    """

    def __init__(self, url: str, node: str, version: str, log: FilteringBoundLogger) -> None:
        self._url = url
        self._log = log
        self._resource = Resource.create(
            {
                "service.name": "trishula",
                "service.instance.id": node,
                "service.version": version,
            }
        )
        self._scope = InstrumentationScope("trishula", version)
        self._exporter = OTLPSpanExporter(endpoint=url, timeout=TIMEOUT_S)
        self._said = _Said()
        self._waiting: deque[Span] = deque()
        self._dropped = 0
        self._trouble = False
        self._something = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Otlp {self._url} waiting={len(self._waiting)} dropped={self._dropped}>"

    def emit(self, spans: list[Span]) -> None:
        """Send ``spans`` soon."""
        if len(self._waiting) + len(spans) > QUEUE:
            self._dropped += len(spans)
            return
        self._waiting += spans
        if len(self._waiting) >= BATCH:
            self._something.set()

    def close(self, seconds: float = TIMEOUT_S) -> None:
        """Send what waits, in so many seconds; blocks for as long."""
        until = monotonic() + seconds
        self._closing = True
        self._something.set()
        self._thread.join(seconds)
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # ends what is tried again
        self._thread.join(max(0.0, until - monotonic()))
        self._said.close()

    def _run(self) -> None:
        while True:
            self._something.wait(EVERY_S)
            closing = self._closing
            self._something.clear()
            while self._waiting:
                count = min(BATCH, len(self._waiting))
                self._send([self._waiting.popleft() for _ in range(count)])
                if len(self._waiting) < BATCH and not closing:
                    break
            if closing:
                return

    def _send(self, spans: list[Span]) -> None:
        self._said.last = ""
        try:
            sent = self._exporter.export([self._made(span) for span in spans])
            ok, why = sent is SpanExportResult.SUCCESS, self._said.last
        except Exception as error:  # the thread must go on
            ok, why = False, f"{type(error).__name__}: {error}"
        if not ok:
            self._dropped += len(spans)
        if ok is self._trouble:
            self._trouble = not ok
            if ok:
                dropped, self._dropped = self._dropped, 0
                self._log.info("traces_sent_again", url=self._url, dropped=dropped)
            else:
                todo = "see that a collector takes OTLP over HTTP there; mail goes on meanwhile"
                self._log.warning("traces_not_sent", url=self._url, why=why, todo=todo)

    def _made(self, span: Span) -> ReadableSpan:
        trace_id = int(span.trace_id, 16)
        parent = None
        if span.parent_id:
            parent = SpanContext(trace_id, int(span.parent_id, 16), True, _SAMPLED)
        return ReadableSpan(
            span.name,
            SpanContext(trace_id, int(span.span_id, 16), False, _SAMPLED),
            parent,
            self._resource,
            span.attributes,
            kind=_KINDS.get(span.name, SpanKind.INTERNAL),
            status=Status(StatusCode.ERROR, span.failed) if span.failed else Status(),
            start_time=span.began,
            end_time=max(span.began, span.ended),  # the clock may have been set back
            instrumentation_scope=self._scope,
        )


class _Said(logging.Handler):
    """Keeps the last thing the library said, instead of having it logged for each request."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        self._logger = logging.getLogger(_LIBRARY)
        self._passed_on = self._logger.propagate
        self._logger.propagate = False
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()

    def close(self) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._passed_on
        super().close()
