"""Traces through messages: OpenTelemetry's current context on one side, the handler's on the other.

Only where ``opentelemetry-api`` can be imported is there a context to take and to give; whoever has
none still passes on, in an answer, the trace of what was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from trishula_protocol import limits
from trishula_protocol.trace_context import TRACEPARENT, TRACESTATE, parse_traceparent

if TYPE_CHECKING:
    from opentelemetry.context import Context

Headers = Mapping[str, str]


class Tracing:
    """The way from OpenTelemetry's context into headers, and back.

    Raises:
        ImportError: there is no OpenTelemetry here.
    """

    def __init__(self) -> None:
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._context = context
        self._current_span = trace.get_current_span
        self._nothing = context.Context()
        self._propagator = TraceContextTextMapPropagator()

    def sent(self, headers: Headers | None) -> Headers | None:
        """``headers`` of a message that is sent now, with the span it is sent in."""
        current = self._context.get_current()
        if not current or (headers is not None and TRACEPARENT in headers):
            return headers
        return self._added(headers, current)

    def answered(self, asked: Headers, headers: Headers | None) -> Headers | None:
        """``headers`` of an answer: of the span it is given in, when that is of the same trace as
        what was asked, else of what was asked. Also when there is nothing to answer in."""
        if headers is not None and TRACEPARENT in headers:
            return headers
        began = parse_traceparent(asked.get(TRACEPARENT, ""))
        span = self._current_span(self._context.get_current()).get_span_context()
        if began is not None and f"{span.trace_id:032x}" != began.trace_id:
            return passed_on(asked, headers)
        return self.sent(headers)

    def enter(self, headers: Headers) -> Token[Context]:
        """Begin to handle a message; whatever was current before it is not any more."""
        context = self._nothing
        if TRACEPARENT in headers:
            context = self._propagator.extract(headers, context)
        return self._context.attach(context)

    def leave(self, token: Token[Context]) -> None:
        """End it, in the same task."""
        self._context.detach(token)

    def _added(self, headers: Headers | None, current: Context) -> Headers | None:
        found: dict[str, str] = {}
        self._propagator.inject(found, current)
        return with_room(headers, found)


@lru_cache(maxsize=1)
def find_tracing() -> Tracing | None:
    """OpenTelemetry's, if it is there."""
    try:
        return Tracing()
    except ImportError:
        return None


def answer_headers(
    tracing: Tracing | None, asked: Headers, headers: Headers | None
) -> Headers | None:
    """``headers`` of an answer to a message with the headers ``asked``: it continues that trace."""
    if tracing is not None:
        return tracing.answered(asked, headers)
    return passed_on(asked, headers) if asked else headers


def passed_on(asked: Headers, headers: Headers | None) -> Headers | None:
    """``headers``, with the trace of ``asked`` if that has one and they have none."""
    if headers is not None and TRACEPARENT in headers:
        return headers
    if parse_traceparent(asked.get(TRACEPARENT, "")) is None:
        return headers
    return with_room(headers, {k: asked[k] for k in (TRACEPARENT, TRACESTATE) if k in asked})


def with_room(headers: Headers | None, found: dict[str, Any]) -> Headers | None:
    """Both; but a message is sent without its trace rather than not at all."""
    if len(found.get(TRACESTATE, "")) > limits.HEADER_LENGTH:
        del found[TRACESTATE]
    if not found or (headers is not None and len({**headers, **found}) > limits.HEADERS):
        return headers
    return found if headers is None else {**headers, **found}
