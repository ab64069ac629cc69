"""What an endpoint is: a method, a path, types in and out, and the function that answers.

Routes and the OpenAPI document are both made of it (:mod:`.server`, :mod:`.openapi`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from trishula_broker.api.failures import Failure, bad
from trishula_broker.api.links import Caller, Links
from trishula_broker.api.searches import Searches
from trishula_broker.api.shapes import PATH
from trishula_broker.api.sources import Sources
from trishula_protocol.errors import ErrorCode
from trishula_protocol.refusals import DECODE_ERRORS

JSON_TYPE: Final = "application/json"
MINE: Final = "mine"
"""A path's parameter that can only be the caller's own name."""
Q = TypeVar("Q", bound=msgspec.Struct)


class Call:
    """One request, checked.

    Attributes:
        caller: who asks.
        path: the path's parameters.
        query: what is behind ``?``, as the endpoint's type.
        body: the body, as the endpoint's type.
        links: sessions with the hub.
        sources: what is not the hub's.
        searches: of the archive.
        request: for those that stream.
    """

    def __init__(
        self,
        caller: Caller,
        path: dict[str, Any],
        query: Any,
        body: Any,
        links: Links,
        sources: Sources,
        searches: Searches,
        request: Request,
    ) -> None:
        self.caller = caller
        self.path = path
        self.query = query
        self.body = body
        self.links = links
        self.sources = sources
        self.searches = searches
        self.request = request

    async def ask(self, op: str, **arguments: Any) -> Any:
        """The hub's answer to an operation; arguments of None are left out.

        Raises:
            Failure: it was refused.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        async with self.links.side(self.caller) as link:
            return await link.ask(op=op, **given)


class Endpoint(NamedTuple):
    """One of the table in :mod:`.endpoints`."""

    method: str
    path: str
    """Below ``/api/v1``; ``{name}`` is a parameter."""
    summary: str
    answer: Callable[[Call], Awaitable[Any]]
    returns: Any
    """The type of the answer; a :class:`~starlette.responses.Response` answers for itself."""
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    status: HTTPStatus = HTTPStatus.OK
    looking: bool = False
    """Only for operators and observers, checked here: the hub is not asked."""
    audited: bool = False
    """It tells what is others', and the hub is not asked, which would record that."""
    media: str = JSON_TYPE

    @property
    def name(self) -> str:
        """Of the function that answers, for ``operationId``."""
        return self.answer.__name__


class NoQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Takes none."""


def read_query(request: Request, kind: type[msgspec.Struct] | None, *, own: frozenset[str]) -> Any:
    """What is behind ``?``.

    Args:
        request: which has it.
        kind: its type; None takes none.
        own: parameters that are not the endpoint's.

    Raises:
        Failure: 400, with the parameter and the rule.
    """
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in own:
            continue
        if name in given:
            raise bad(name[:80], "it is given twice")
        given[name] = value
    try:
        return msgspec.convert(given, kind or NoQuery, strict=False)
    except msgspec.ValidationError as error:
        raise rule_of(error) from None


def read_path(endpoint: Endpoint, given: dict[str, str]) -> dict[str, Any]:
    """The path's parameters, as :data:`.shapes.PATH` has them.

    Raises:
        Failure: 400, with the parameter and the rule.
    """
    found: dict[str, Any] = {}
    for name, text in given.items():
        kind = MINE if f"{{{MINE}}}" in endpoint.path and name == "agent" else name
        try:
            found[name] = msgspec.convert(text, PATH[kind], strict=False)
        except msgspec.ValidationError as error:
            raise bad(name, f"{text[:80]!r}: {error}") from None
    return found


def read_body(data: bytes, content_type: str, kind: type[Q]) -> Q:
    """The body.

    Raises:
        Failure: 415, it is no JSON; 400, with the field and the rule.
    """
    if content_type.partition(";")[0].strip().lower() != JSON_TYPE:
        # Forms and plain text are what a page of another origin may send without being asked.
        raise Failure(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported",
            f"Content-Type: must be {JSON_TYPE}",
        )
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise rule_of(error) from None
    except DECODE_ERRORS as error:
        raise Failure(
            HTTPStatus.BAD_REQUEST, ErrorCode.BAD_MESSAGE, f"body: no JSON: {str(error)[:200]}"
        ) from None


def rule_of(error: msgspec.ValidationError) -> Failure:
    """The field first, then the rule: ``limit: Expected `int` <= 1000``."""
    rule, _, where = str(error).partition(" - at `$")
    field = where.rstrip("`").lstrip(".")
    return bad(field[:120] or "request", rule[:300])


def encoded(answer: Any, status: HTTPStatus) -> Response:
    """An answer as JSON."""
    if status is HTTPStatus.NO_CONTENT:
        return Response(status_code=status)
    return Response(
        msgspec.json.encode(answer),
        status,
        {"cache-control": "no-store"},
        media_type=JSON_TYPE,
    )
