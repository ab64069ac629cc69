"""Traces in the SDK: which context goes out with a message, and which one a handler has."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from trishula.tracing import Tracing, answer_headers, find_tracing
from trishula_protocol import limits

OURS, OTHER = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0xAF7651916CD43DD8448EB211C80319C
ASKED = {
    "traceparent": f"00-{OURS:032x}-00f067aa0ba902b7-01",
    "tracestate": "a=1",
    "auth": "dc x y",
}
PASSED_ON = {"traceparent": ASKED["traceparent"], "tracestate": "a=1"}


def found() -> Tracing:
    tracing = find_tracing()
    assert tracing is not None
    return tracing


@contextmanager
def span(trace_id: int, span_id: int = 0xB7AD6B7169203331, state: str = "") -> Iterator[str]:
    """A current span; its traceparent."""
    entries = TraceState.from_header([state] if state else [])
    context = SpanContext(trace_id, span_id, False, TraceFlags(1), entries)
    with trace.use_span(NonRecordingSpan(context)):
        yield f"00-{trace_id:032x}-{span_id:016x}-01"


def test_without_a_span_headers_are_left_alone() -> None:
    headers = {"a": "b"}
    assert found().sent(headers) is headers
    assert found().sent(None) is None


def test_a_message_names_the_span_it_is_sent_in() -> None:
    with span(OURS, state="a=1") as traceparent:
        assert found().sent(None) == {"traceparent": traceparent, "tracestate": "a=1"}
        assert found().sent({"a": "b"}) == {
            "a": "b",
            "traceparent": traceparent,
            "tracestate": "a=1",
        }


def test_what_the_application_says_itself_counts() -> None:
    given = {"traceparent": "mine"}
    with span(OURS):
        assert found().sent(given) is given
        assert found().answered(ASKED, given) is given
    assert answer_headers(None, ASKED, given) is given


def test_a_message_without_room_for_a_trace_is_sent_without() -> None:
    many = {f"n{n}": "" for n in range(limits.HEADERS)}
    with span(OURS):
        assert found().sent(many) is many
    assert answer_headers(None, ASKED, many) is many


@pytest.mark.parametrize("tracing", [None, find_tracing()], ids=["without", "with"])
def test_an_answer_continues_the_trace(tracing: Tracing | None) -> None:
    assert answer_headers(tracing, ASKED, None) == PASSED_ON
    assert answer_headers(tracing, ASKED, {"a": "b"}) == {"a": "b", **PASSED_ON}
    assert answer_headers(tracing, {}, None) is None
    assert answer_headers(tracing, {"traceparent": "not one", "tracestate": "a=1"}, None) is None


def test_an_answer_is_of_the_span_it_is_given_in_when_that_is_of_the_trace() -> None:
    with span(OURS) as traceparent:
        assert found().answered(ASKED, None) == {"traceparent": traceparent}
    with span(OTHER) as traceparent:
        assert found().answered(ASKED, None) == PASSED_ON
        assert found().answered({}, None) == {"traceparent": traceparent}


def test_a_handler_is_in_the_trace_of_its_message_and_in_no_other() -> None:
    tracing = found()
    with span(OTHER):
        token = tracing.enter(ASKED)
        assert trace.get_current_span().get_span_context().trace_id == OURS
        tracing.leave(token)
        for headers in ({}, {"traceparent": "not one"}):
            token = tracing.enter(headers)
            assert not trace.get_current_span().get_span_context().is_valid
            tracing.leave(token)
        assert trace.get_current_span().get_span_context().trace_id == OTHER


def test_nothing_of_opentelemetry_is_needed() -> None:
    without = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from trishula import Agent\n"
        "from trishula.tracing import find_tracing\n"
        "Agent('dc'); assert find_tracing() is None"
    )
    subprocess.run([sys.executable, "-c", without], check=True, timeout=60)


def test_importing_the_sdk_imports_nothing_of_it() -> None:
    said = "import sys, trishula; assert 'opentelemetry' not in sys.modules"
    subprocess.run([sys.executable, "-c", said], check=True, timeout=60)
