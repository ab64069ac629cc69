"""A request that is turned away with an HTTP answer."""

from __future__ import annotations

from http import HTTPStatus


class Denied(Exception):
    """It gets no further.

    Attributes:
        status: of the HTTP answer.
        reason: a code, for the log and the audit.
        text: for people; no token is ever in it.
        headers: more of the answer's.
    """

    def __init__(
        self,
        status: HTTPStatus,
        reason: str,
        text: str,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(status, reason, text)
        self.status = status
        self.reason = reason
        self.text = text
        self.headers = headers

    def __str__(self) -> str:
        return f"{self.status.value} {self.reason}: {self.text}"
