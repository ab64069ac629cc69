"""Errors as they travel."""

from __future__ import annotations

import pytest

from trishula_protocol import limits
from trishula_protocol.bodies import error_payload
from trishula_protocol.errors import RETRYABLE, CloseCode, ErrorCode, ProtocolError


def test_the_codes_are_those_of_the_protocol() -> None:
    assert [str(code) for code in ErrorCode] == [
        "bad_message",
        "not_registered",
        "unauthorized",
        "forbidden",
        "unknown_recipient",
        "unknown_op",
        "duplicate_id",
        "too_large",
        "mailbox_full",
        "rate_limited",
        "expired",
        "undeliverable",
        "stale_ack",
        "unavailable",
        "internal",
    ]
    assert {str(code) for code in RETRYABLE} == {
        "mailbox_full",
        "rate_limited",
        "unavailable",
        "internal",
    }
    assert {int(code) for code in CloseCode} >= {
        *(1001, 1009, 1012, 1013),
        *(4400, 4401, 4403, 4408, 4409, 4429),
    }


@pytest.mark.parametrize("code", list(ErrorCode))
def test_a_payload_always_says_code_message_and_retryable(code: ErrorCode) -> None:
    assert error_payload(ProtocolError(code, "why")) == {
        "code": code.value,
        "message": "why",
        "retryable": code in RETRYABLE,
    }


def test_particulars_are_there_when_they_are_known() -> None:
    error = ProtocolError(
        ErrorCode.RATE_LIMITED, "slow down", retry_after_ms=0, details={}, reply_to="m1"
    )
    payload = error_payload(error)
    assert payload["retry_after_ms"] == 0
    assert payload["details"] == {}
    assert "reply_to" not in payload


def test_a_long_message_is_cut() -> None:
    message = error_payload(ProtocolError(ErrorCode.BAD_MESSAGE, "x" * 100_000))["message"]
    assert len(message) == limits.MESSAGE_LENGTH
    assert message.endswith("...")


def test_an_error_shows_what_it_is() -> None:
    error = ProtocolError(ErrorCode.EXPIRED, "too late", reply_to="m1")
    assert str(error) == "expired: too late"
    assert repr(error) == "ProtocolError(expired, 'too late', reply_to='m1')"
