"""How a request of the API fails: the codes of the wire, as problem details (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.responses import Response

from trishula_broker.net.problem import TYPE
from trishula_protocol.bodies import ErrorBody
from trishula_protocol.errors import RETRYABLE, CloseCode, ErrorCode

STATUS: Final[dict[str, HTTPStatus]] = {
    ErrorCode.BAD_MESSAGE: HTTPStatus.BAD_REQUEST,
    ErrorCode.NOT_REGISTERED: HTTPStatus.CONFLICT,
    ErrorCode.UNAUTHORIZED: HTTPStatus.UNAUTHORIZED,
    ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.UNKNOWN_RECIPIENT: HTTPStatus.NOT_FOUND,
    ErrorCode.UNKNOWN_OP: HTTPStatus.BAD_REQUEST,
    ErrorCode.DUPLICATE_ID: HTTPStatus.CONFLICT,
    ErrorCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.MAILBOX_FULL: HTTPStatus.INSUFFICIENT_STORAGE,
    ErrorCode.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.EXPIRED: HTTPStatus.GONE,
    ErrorCode.UNDELIVERABLE: HTTPStatus.CONFLICT,
    ErrorCode.STALE_ACK: HTTPStatus.CONFLICT,
    ErrorCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}
RETRY_S: Final = 1
"""Seconds to wait where the hub names none."""


class Problem(msgspec.Struct, omit_defaults=True):
    """Problem details: ``type`` is ``urn:trishula:problem:`` and the code, ``detail`` is for
    people and names the field and the rule."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool = False
    details: dict[str, Any] | None = None


class Failure(Exception):
    """A request that ends with a problem.

    Attributes:
        status: of the answer.
        code: as on the wire, or ``not_found``, ``unsupported``, ``timeout``.
        text: for people; never a token.
        details: particulars for programs.
        headers: more of the answer's.
    """

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        text: str,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, code, text)
        self.status = status
        self.code = code
        self.text = text
        self.details = details
        self.headers = headers or {}

    def __str__(self) -> str:
        return f"{self.status.value} {self.code}: {self.text}"

    def response(self) -> Response:
        """The answer."""
        retryable = self.code in RETRYABLE or self.code == "timeout"
        headers = dict(self.headers)
        if retryable:
            headers.setdefault("retry-after", str(RETRY_S))
        body = Problem(
            f"{TYPE}{self.code}",
            self.status.phrase,
            self.status.value,
            self.text,
            self.code,
            retryable,
            self.details,
        )
        return Response(
            msgspec.json.encode(body),
            self.status,
            headers | {"cache-control": "no-store"},
            media_type="application/problem+json",
        )


def refused(error: ErrorBody) -> Failure:
    """What the hub refused, as a request hears of it."""
    status = STATUS.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
    headers = {}
    if error.retry_after_ms is not None:
        headers["retry-after"] = str(max(1, -(-error.retry_after_ms // 1000)))
    # What is a field of the payload there is one of the request here, and named first.
    rule, _, where = error.message.removeprefix("payload: ").partition(" - at `$.")
    text = f"{where.rstrip('`')}: {rule}" if where else error.message.removeprefix("payload.")
    return Failure(status, error.code, text, error.details, headers)


def not_found(failure: Failure) -> Failure:
    """What the hub refused because there is nothing of that name."""
    return Failure(HTTPStatus.NOT_FOUND, "not_found", failure.text, failure.details)


def bad(field: str, rule: str) -> Failure:
    """A field of the request breaks a rule."""
    return Failure(HTTPStatus.BAD_REQUEST, ErrorCode.BAD_MESSAGE, f"{field}: {rule}")


def forbidden(text: str) -> Failure:
    """Who asks may not."""
    return Failure(HTTPStatus.FORBIDDEN, ErrorCode.FORBIDDEN, text)


def late() -> Failure:
    """The hub has not answered in time."""
    text = "the hub did not answer in time: what became of it is not known; ask again, same id"
    return Failure(HTTPStatus.GATEWAY_TIMEOUT, "timeout", text)


def ended(code: int, reason: str) -> Failure:
    """The session behind the request ended; the code is that of a WebSocket's close frame."""
    if code == CloseCode.TOKEN:
        return Failure(HTTPStatus.UNAUTHORIZED, ErrorCode.UNAUTHORIZED, reason)
    if code == CloseCode.TAKEN_OVER:
        return Failure(
            HTTPStatus.CONFLICT,
            "taken_over",
            f"{reason}: the agent's mail goes there now; one program a name",
        )
    text = f"the session with the hub ended ({code}: {reason}); ask again, under the same id"
    return Failure(HTTPStatus.SERVICE_UNAVAILABLE, ErrorCode.UNAVAILABLE, text)
