"""The HTTP side of the port: ``/health``, and problem details for what is not there.

A small ASGI application, behind a :class:`.door.Door`. It asks for a report and knows nobody who
makes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from trishula_broker.net.door import is_trusted
from trishula_broker.net.problem import problem
from trishula_protocol.limits import WEBSOCKET_PATH

Report = Callable[[], Awaitable[dict[str, Any]]]
"""Makes what ``/health`` says; ``status`` is ``ok``, ``degraded`` or ``draining``."""


def make_app(report: Report, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """The application; ``routes`` are added.

    - ``/health``: the report, always 200: its ``status`` is for people and monitoring. All of it
      for who is trusted (:func:`.door.is_trusted`), the status for others.
    - ``/health/live``: 200 as long as this process answers at all.
    - ``/health/ready``: 200 when the hub takes mail, else 503.
    """

    async def health(request: Request) -> Response:
        found = await report()
        if not is_trusted(request.scope):
            found = {"status": found["status"]}
        return _json(found, HTTPStatus.OK)

    async def live(_: Request) -> Response:
        return _json({"status": "ok"}, HTTPStatus.OK)

    async def ready(_: Request) -> Response:
        status = (await report())["status"]
        code = HTTPStatus.OK if status == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
        return _json({"status": status}, code)

    async def websocket(_: Request) -> Response:
        return problem(
            HTTPStatus.UPGRADE_REQUIRED,
            "this is a WebSocket endpoint",
            {"upgrade": "websocket", "connection": "upgrade"},
        )

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route(WEBSOCKET_PATH, websocket),
            *routes,
        ],
        exception_handlers={HTTPException: _http_exception, Exception: _exception},
    )


def _json(body: Any, status: HTTPStatus) -> Response:
    return Response(
        msgspec.json.encode(body),
        status,
        {"cache-control": "no-store"},
        media_type="application/json",
    )


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = error.detail
    if status is HTTPStatus.NOT_FOUND:
        detail = f"nothing is at {request.url.path}"
    elif status is HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.url.path} does not take {request.method}"
    headers = dict(error.headers) if error.headers else None
    return problem(status, detail, headers)


async def _exception(_: Request, error: Exception) -> Response:
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the hub failed to answer; see its log")
