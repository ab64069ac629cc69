"""``/metrics``, and the same below the API: for monitoring on the hub's host, or with a token."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from trishula_broker.api.callers import Callers
from trishula_broker.api.failures import Failure, forbidden
from trishula_broker.api.metrics import Asks
from trishula_broker.net.door import is_trusted


class Exposition:
    """Answers.

    Args:
        metrics: makes the text.
        callers: tells who asks.
    """

    def __init__(self, metrics: Asks, callers: Callers) -> None:
        self._metrics = metrics
        self._callers = callers

    async def answer(self, request: Request) -> Response:
        """The metrics: for an operator's or an observer's token, and for the hub's own host."""
        try:
            self._callers.check_page(request)
            if not is_trusted(request.scope):
                self._callers.check(request)
                raise forbidden("metrics are for operators and observers; your token is an agent's")
        except Failure as failure:
            return failure.response()
        text, kind = await self._metrics(request.headers.get("accept", ""))
        return Response(text, HTTPStatus.OK, {"content-type": kind, "cache-control": "no-store"})
