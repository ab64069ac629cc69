"""Tracing as the configuration has it: spans of messages, and where they are sent."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from trishula_broker.config import Config
from trishula_broker.net.spans import Spans

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from trishula_broker.otlp import Otlp


class NoTracing(Exception):
    """Why there is none although there should be; says what to do."""


class Tracing(NamedTuple):
    """What is traced, and where it goes."""

    spans: Spans
    otlp: Otlp

    async def close(self) -> None:
        """Send what is left, for a few seconds."""
        await asyncio.to_thread(self.otlp.close)


def open_tracing(config: Config, version: str, log: FilteringBoundLogger) -> Tracing | None:
    """Begin, if the configuration says so.

    Raises:
        NoTracing: what it takes is not installed.
    """
    told = config.tracing
    if not told.otlp:
        return None
    try:
        from trishula_broker import otlp  # only who traces needs OpenTelemetry
    except ImportError as error:
        raise NoTracing(
            f"tracing.otlp: {error.name or 'opentelemetry'} is not installed here: "
            "pip install 'trishula[otel]', or leave --otlp out"
        ) from error
    exporter = otlp.Otlp(_endpoint(told.otlp), config.node, version, log)
    spans = Spans(exporter.emit, time.time_ns, otlp.span_id, ratio=told.ratio, per_s=told.per_s)
    return Tracing(spans, exporter)


def _endpoint(url: str) -> str:
    """A collector's URL with the path that OTLP has, unless it has one of its own."""
    has_path = url.partition("://")[2].partition("/")[2]
    return url if has_path else f"{url.rstrip('/')}/v1/traces"
