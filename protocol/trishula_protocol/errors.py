"""Error and close codes of the wire, and the exception that carries them inside a process.

A wire error has a stable ``code`` for programs and a ``message`` for people that names the
field and the rule; it never echoes a token (docs/protocol.md §6).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, Final


class ErrorCode(StrEnum):
    """``payload.code`` of an ERROR."""

    BAD_MESSAGE = "bad_message"
    NOT_REGISTERED = "not_registered"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    UNKNOWN_RECIPIENT = "unknown_recipient"
    UNKNOWN_OP = "unknown_op"
    DUPLICATE_ID = "duplicate_id"
    TOO_LARGE = "too_large"
    MAILBOX_FULL = "mailbox_full"
    RATE_LIMITED = "rate_limited"
    EXPIRED = "expired"
    UNDELIVERABLE = "undeliverable"
    STALE_ACK = "stale_ack"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


RETRYABLE: Final = frozenset(
    {
        ErrorCode.MAILBOX_FULL,
        ErrorCode.RATE_LIMITED,
        ErrorCode.UNAVAILABLE,
        ErrorCode.INTERNAL,
    }
)
"""Codes after which the same message may be accepted later."""


class CloseCode(IntEnum):
    """WebSocket close codes a hub uses (docs/protocol.md §6)."""

    GOING_AWAY = 1001
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    TRY_LATER = 1013
    PROTOCOL = 4400
    TOKEN = 4401
    FORBIDDEN = 4403
    HEARTBEAT = 4408
    TAKEN_OVER = 4409
    RATE = 4429


class ProtocolError(Exception):
    """A rule of the protocol was broken, or the hub cannot serve.

    Attributes:
        code: the wire's error code.
        message: for people; names the field and the rule.
        reply_to: id of the envelope at fault, when it is known.
        retry_after_ms: milliseconds to wait before trying again, when it is known.
        details: machine-readable particulars, JSON values.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        reply_to: str | None = None,
        retry_after_ms: int | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.reply_to = reply_to
        self.retry_after_ms = retry_after_ms
        self.details = details

    @property
    def retryable(self) -> bool:
        """Whether sending the same thing again may succeed."""
        return self.code in RETRYABLE

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def __repr__(self) -> str:
        return f"ProtocolError({self.code}, {self.message!r}, reply_to={self.reply_to!r})"
