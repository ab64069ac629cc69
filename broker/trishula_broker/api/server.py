"""The API as routes: each request is judged, checked, answered, or told what is wrong with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from trishula_broker.api.callers import OWN, Callers, check_looking
from trishula_broker.api.endpoint import (
    JSON_TYPE,
    MINE,
    Call,
    Endpoint,
    encoded,
    read_body,
    read_path,
    read_query,
)
from trishula_broker.api.endpoints import ENDPOINTS
from trishula_broker.api.exposition import Exposition
from trishula_broker.api.failures import Failure
from trishula_broker.api.links import Caller, Links
from trishula_broker.api.openapi import document
from trishula_broker.api.searches import Searches
from trishula_broker.api.sources import Sources
from trishula_broker.net.admission import Admission
from trishula_broker.net.driver import Driver
from trishula_broker.net.ports import Log
from trishula_protocol.errors import ErrorCode

PREFIX: Final = "/api/v1"


class Api:
    """Answers requests.

    Args:
        driver: where sessions are connected.
        admission: who may come in.
        sources: what is not the hub's.
        log: where failures of this program go.
        version: of the program, for the OpenAPI document.
        body_bytes: the largest body of a request.
    """

    def __init__(
        self,
        driver: Driver,
        admission: Admission,
        sources: Sources,
        log: Log,
        version: str,
        body_bytes: int,
    ) -> None:
        self._driver = driver
        self._callers = Callers(admission)
        self._sources = sources
        self._log = log
        self._version = version
        self._body_bytes = body_bytes
        self._document: Any = None
        self._searches = Searches()
        self.links = Links(driver)

    def routes(self) -> list[BaseRoute]:
        """All of them; one a path, so that what a path does not take is told as such."""
        paths: dict[str, dict[str, Endpoint]] = {}
        for endpoint in ENDPOINTS:
            path = endpoint.path.replace("{mine}", "{agent}")
            paths.setdefault(path, {})[endpoint.method] = endpoint
        metrics = Exposition(self._sources.metrics, self._callers).answer
        routes: list[BaseRoute] = [
            Route("/metrics", metrics),
            Route(f"{PREFIX}/metrics", metrics),
            Route(f"{PREFIX}/openapi.json", self._openapi),
        ]
        routes += [
            Route(PREFIX + path, self._answers(methods), methods=list(methods))
            for path, methods in paths.items()
        ]
        return routes

    def close(self) -> None:
        """End the sessions."""
        self.links.close()

    async def _openapi(self, _: Request) -> Response:
        if self._document is None:
            self._document = document(PREFIX, self._version)
        return encoded(self._document, HTTPStatus.OK)

    def _answers(self, endpoints: dict[str, Endpoint]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            method = "GET" if request.method == "HEAD" else request.method
            return await self._answer(endpoints[method], request)

        return answer

    async def _answer(self, endpoint: Endpoint, request: Request) -> Response:
        try:
            self._callers.check(request)
            path = read_path(endpoint, request.path_params)
            query = read_query(request, endpoint.query, own=OWN)
            body = await self._body(endpoint, request)
            caller = self._who(endpoint, request, body)
            if endpoint.looking:
                check_looking(caller)
            if request.method == "HEAD" and endpoint.media != JSON_TYPE:
                return Response(headers={"content-type": endpoint.media})
            call = Call(
                caller,
                path,
                query,
                body,
                self.links,
                self._sources,
                self._searches,
                request,
            )
            if endpoint.audited:
                self._record(endpoint, call)
            found = await endpoint.answer(call)
        except Failure as failure:
            return failure.response()
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody reads it
        except Exception as error:
            self._log.error("bug", during=f"{endpoint.method} {endpoint.path}", exc_info=error)
            text = "the hub failed to answer; see its log"
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            return Failure(status, ErrorCode.INTERNAL, text).response()
        return found if isinstance(found, Response) else encoded(found, endpoint.status)

    def _record(self, endpoint: Endpoint, call: Call) -> None:
        """Have the audit keep who looked at what."""
        caller = call.caller
        fields: dict[str, Any] = {
            "op": endpoint.name,
            "arguments": msgspec.to_builtins(call.query),
            "peer": caller.peer,
            "agent": caller.agent,
        }
        if caller.identity is not None:
            fields |= {"token": caller.token_id, "role": caller.identity.role}
        self._driver.record(caller.namespace, "operator", fields)

    async def _body(self, endpoint: Endpoint, request: Request) -> Any:
        if endpoint.body is None:
            return None
        data = bytearray()
        async for piece in request.stream():
            data += piece
            if len(data) > self._body_bytes:
                raise Failure(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    ErrorCode.TOO_LARGE,
                    f"body: at most {self._body_bytes} bytes; see websocket.http_body_bytes",
                )
        return read_body(bytes(data), request.headers.get("content-type", ""), endpoint.body)

    def _who(self, endpoint: Endpoint, request: Request, body: Any) -> Caller:
        named = getattr(body, "sender", None)
        if f"{{{MINE}}}" in endpoint.path:
            named = request.path_params["agent"]
        return self._callers.who(request, named)
