"""W3C Trace Context: what a traceparent says, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trishula_protocol.trace_context import TraceContext, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"42-{TRACE}-{SPAN}-01", True),
        (f"42-{TRACE}-{SPAN}-01-of a later version", True),
    ],
)
def test_a_traceparent_is_read(text: str, sampled: bool) -> None:
    assert parse_traceparent(text) == TraceContext(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "00-4bf9-00f0-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"٠٠-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_none_is_ignored(text: str) -> None:
    assert parse_traceparent(text) is None


@given(st.text(max_size=80) | st.text("0123456789abcdef-", max_size=80))
def test_no_text_raises(text: str) -> None:
    parse_traceparent(text)
