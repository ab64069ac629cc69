"""The list of tokens, and taking them back. A token itself is nowhere to be had."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trishula_broker.api import shapes
from trishula_broker.api.endpoint import Call
from trishula_broker.api.failures import Failure, bad
from trishula_broker.auth.errors import AuthError
from trishula_broker.auth.ledger import Issued, Ledger
from trishula_protocol.errors import ErrorCode

if TYPE_CHECKING:  # what checks tokens is loaded where there are keys
    from trishula_broker.auth.book import Book


async def list_tokens(call: Call) -> shapes.Tokens:
    """Tokens made for agents of the caller's namespace, by this hub's list of them."""
    query: shapes.TokensQuery = call.query
    path = _key_file(call)
    try:
        book = await asyncio.to_thread(_read, path)
    except AuthError as error:
        raise Failure(
            HTTPStatus.INTERNAL_SERVER_ERROR, ErrorCode.INTERNAL, f"the list of tokens: {error}"
        ) from None
    now = call.sources.clock()
    tokens = [each for each in book.tokens if each.ns == call.caller.namespace]
    if query.after is not None:
        ids = [each.jti for each in tokens]
        if query.after not in ids:
            raise bad("after", "there is no such token; begin again without it")
        tokens = tokens[ids.index(query.after) + 1 :]
    found: list[shapes.Token] = []
    for each in tokens:
        state = book.state(each, now)
        if query.agent not in (None, each.sub) or (state == "expired" and not query.all):
            continue
        if len(found) == query.limit:
            return shapes.Tokens(found, found[-1].id)
        found.append(_shown(each, book, now))
    return shapes.Tokens(found, None)


async def revoke_tokens(call: Call) -> Any:
    """Take back one token, or all that an agent was given until now; their sessions end."""
    body: shapes.RevokeBody = call.body
    answer = await call.ask("revoke", token_id=body.token_id, agent=body.agent)
    # The hub and all others know by now; the list is what `broker token list` shows.
    path = call.sources.key_file
    listed = False
    if path is not None:
        now, namespace = call.sources.clock(), call.caller.namespace
        try:
            await asyncio.to_thread(_write, path, body, namespace, now)
            listed = True
        except AuthError:
            pass
    return {**answer, "listed": listed}


def _key_file(call: Call) -> Path:
    if call.sources.key_file is None:
        raise Failure(
            HTTPStatus.NOT_FOUND,
            "not_found",
            "this hub has no keys, so there are no tokens; `broker keys init` makes some",
        )
    return call.sources.key_file


def _ledger(path: Path) -> Ledger:
    from trishula_broker.auth import key_file

    return key_file.ledger_of(path)


def _read(path: Path) -> Book:
    from trishula_broker.auth.book import Book

    return Book(_ledger(path).read().entries)


def _write(path: Path, body: shapes.RevokeBody, namespace: str, now: int) -> None:
    ledger, book = _ledger(path), _read(path)
    if body.token_id is not None:
        lines = book.revoke_token(body.token_id, namespace, now)
    else:
        lines = book.revoke_agent(body.agent or "", namespace, now)
    for line in lines:
        ledger.add(line)


def _shown(token: Issued, book: Book, now: int) -> shapes.Token:
    rights = token.rights
    send, receive, types = (
        None if each is None else list(each) for each in (rights.send, rights.receive, rights.types)
    )
    return shapes.Token(
        token.jti,
        token.sub,
        token.ns,
        token.role,
        token.iat,
        token.exp,
        book.revoked_at(token),
        book.state(token, now),
        send,
        receive,
        types,
    )
