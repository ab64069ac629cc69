"""Problem details (RFC 9457): how an HTTP request is told that it failed."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.responses import Response

from trishula_protocol.errors import RETRYABLE, ErrorCode

TYPE: Final = "urn:trishula:problem:"
"""With a code behind it, a problem's ``type``."""
_CODES: Final[dict[HTTPStatus, str]] = {
    HTTPStatus.UNAUTHORIZED: ErrorCode.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: ErrorCode.FORBIDDEN,
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "unsupported",
    HTTPStatus.UPGRADE_REQUIRED: "unsupported",
    HTTPStatus.TOO_MANY_REQUESTS: ErrorCode.RATE_LIMITED,
    HTTPStatus.SERVICE_UNAVAILABLE: ErrorCode.UNAVAILABLE,
    HTTPStatus.INTERNAL_SERVER_ERROR: ErrorCode.INTERNAL,
}


def problem(status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer; ``detail`` is for people, ``code`` as those of the API."""
    code = _CODES.get(status, ErrorCode.BAD_MESSAGE)
    body: dict[str, Any] = {
        "type": f"{TYPE}{code}",
        "title": status.phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if code in RETRYABLE:
        body["retryable"] = True
    return Response(
        msgspec.json.encode(body), status, headers, media_type="application/problem+json"
    )
