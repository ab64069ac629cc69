"""Where a message belongs in a trace: the headers of W3C Trace Context, as envelopes carry them.

https://www.w3.org/TR/trace-context/ has the form of both. It knows no OpenTelemetry.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

TRACEPARENT: Final = "traceparent"
"""The header that names a trace, the span a message was sent in, and whether it is recorded."""
TRACESTATE: Final = "tracestate"
"""What tracing systems add to it; passed on as it is."""

_SAMPLED: Final = 1
_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NOTHING: Final = {"0" * 32, "0" * 16}


class TraceContext(NamedTuple):
    """What a ``traceparent`` says. Ids are lower-case hex, of 32 and 16 digits."""

    trace_id: str
    span_id: str
    sampled: bool
    """Whether whoever began the trace records it."""


def parse_traceparent(text: str) -> TraceContext | None:
    """What ``text`` says; None when it is no ``traceparent``, which is then to be ignored.

    Of a version that is not known yet the beginning is read, as the standard has it.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or trace_id in _NOTHING or span_id in _NOTHING:
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))
