"""The console's page and its files, as they are in the package; what they show, the API tells.

Anybody may load them: they hold nothing. Whoever opens the page signs in with a token, which the
page sends to the API in a header and keeps for its tab.
"""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from trishula_broker.net.door import CONSOLE_PREFIX

PAGE: Final = "index.html"
TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
HEADERS: Final = {
    # Nothing from elsewhere, nothing inline, and nobody frames it or makes it post anywhere.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Asked for again each time, answered with 304 while the program is the same.
    "cache-control": "no-cache",
}


class _File(NamedTuple):
    content: bytes
    headers: dict[str, str]


def routes(*, keyed: bool) -> list[BaseRoute]:
    """``/`` and what is below ``/console/``; ``hub.json`` says whether a token is wanted."""
    found = _read(files("trishula_broker.console") / "static", "")
    found["hub.json"] = _file("json", msgspec.json.encode({"keys": keyed}))

    async def page(request: Request) -> Response:
        return _answer(request, found[PAGE])

    async def file(request: Request) -> Response:
        each = found.get(request.path_params["path"])
        if each is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return _answer(request, each)

    return [Route("/", page), Route(f"{CONSOLE_PREFIX}{{path:path}}", file)]


def _read(folder: Traversable, below: str) -> dict[str, _File]:
    found: dict[str, _File] = {}
    for entry in folder.iterdir():
        name = below + entry.name
        kind = entry.name.rpartition(".")[2]
        if entry.is_dir():
            found |= _read(entry, f"{name}/")
        elif kind in TYPES:
            found[name] = _file(kind, entry.read_bytes())
    return found


def _file(kind: str, content: bytes) -> _File:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return _File(content, {**HEADERS, "content-type": TYPES[kind], "etag": tag})


def _answer(request: Request, file: _File) -> Response:
    if file.headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=file.headers)
    return Response(file.content, headers=file.headers)
