"""The OpenAPI document, made from the table of endpoints and their types."""

from __future__ import annotations

import inspect
from http import HTTPStatus
from typing import Any, Final

import msgspec

from trishula_broker.api.endpoint import JSON_TYPE, Endpoint
from trishula_broker.api.endpoints import ENDPOINTS
from trishula_broker.api.failures import Problem
from trishula_broker.api.shapes import PATH

TEMPLATE: Final = "#/components/schemas/{name}"
PARAMETERS: Final = {
    "agent": "An agent's name; a mailbox may be that of a `@capability`",
    "mine": "The caller's own name",
    "id": "A message's id",
    "seq": "A message's place in the log",
    "component": "Of which the health is asked",
}


def document(prefix: str, version: str) -> dict[str, Any]:
    """All of it, OpenAPI 3.1.

    Args:
        prefix: before every path.
        version: of the program.
    """
    kinds: list[Any] = [Problem]
    for each in ENDPOINTS:
        kinds += [kind for kind in (each.returns, each.query, each.body) if _is_struct(kind)]
    _, components = msgspec.json.schema_components(kinds, ref_template=TEMPLATE)
    paths: dict[str, dict[str, Any]] = {}
    for each in ENDPOINTS:
        path = prefix + each.path.replace("{mine}", "{agent}")
        paths.setdefault(path, {})[each.method.lower()] = _operation(each, components)
    queries = {each.query.__name__ for each in ENDPOINTS if each.query is not None}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "trishula",
            "version": version,
            "description": "The hub over HTTP. Who may what is the token's; docs/http-api.md.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {name: found for name, found in components.items() if name not in queries},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`broker token create`; none on a hub without keys.",
                }
            },
            "responses": {
                "Problem": {
                    "description": "What is wrong, and whether to try again",
                    "content": {
                        "application/problem+json": {
                            "schema": {"$ref": TEMPLATE.format(name="Problem")}
                        }
                    },
                }
            },
        },
    }


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _operation(endpoint: Endpoint, components: dict[str, Any]) -> dict[str, Any]:
    content = {"description": endpoint.status.phrase}
    if endpoint.status is not HTTPStatus.NO_CONTENT:
        schema = (
            {"$ref": TEMPLATE.format(name=endpoint.returns.__name__)}
            if _is_struct(endpoint.returns)
            else {"type": "string"}
        )
        content |= {"content": {endpoint.media: {"schema": schema}}}  # type: ignore[dict-item]
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": inspect.getdoc(endpoint.answer) or "",
        "tags": [endpoint.path.split("/")[1]],
        "parameters": [*_in_path(endpoint), *_in_query(endpoint, components)],
        "responses": {
            str(endpoint.status.value): content,
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {
                JSON_TYPE: {"schema": {"$ref": TEMPLATE.format(name=endpoint.body.__name__)}}
            },
        }
    return operation


def _in_path(endpoint: Endpoint) -> list[dict[str, Any]]:
    found = []
    for part in endpoint.path.split("/"):
        if part.startswith("{"):
            name = part[1:-1]
            shown = "agent" if name == "mine" else name
            found.append(
                {
                    "name": shown,
                    "in": "path",
                    "required": True,
                    "description": PARAMETERS[name],
                    "schema": msgspec.json.schema(PATH[name]),
                }
            )
    return found


def _in_query(endpoint: Endpoint, components: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if endpoint.query is not None:
        schema = components[endpoint.query.__name__]
        required = schema.get("required", ())
        for name, each in schema["properties"].items():
            found.append(
                {"name": name, "in": "query", "required": name in required, "schema": each}
            )
    return found
