"""Endpoints that search the archive: for messages by their text, for records of what happened."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from trishula_broker.api import shapes
from trishula_broker.api.endpoint import Call
from trishula_broker.api.failures import Failure, bad
from trishula_broker.api.sources import ArchivePlace
from trishula_broker.audit.events import EVENTS
from trishula_broker.audit.seek import Request
from trishula_broker.audit.times import iso, parse

DAY_MS: Final = 24 * 3600 * 1000
"""Searched where the request says no ``since``."""


async def search_messages(call: Call) -> shapes.Records:
    """Messages that were accepted, as the archive has them: by their text, and who sent them."""
    query: shapes.SearchQuery = call.query
    return await _records(
        call,
        query.since,
        query.until,
        limit=query.limit,
        text=query.text,
        event="accepted",
        sender=query.sender,
        to=query.to,
        thread=query.thread,
        type=query.type,
    )


async def search_audit(call: Call) -> shapes.Records:
    """Records of whatever happened: accepted, settled, refused, connected, asked by operators."""
    query: shapes.AuditQuery = call.query
    if query.event is not None and query.event not in EVENTS:
        raise bad("event", f"there are {', '.join(EVENTS)}")
    return await _records(
        call,
        query.since,
        query.until,
        limit=query.limit,
        text=query.text,
        event=query.event,
        agent=query.agent,
    )


async def _records(call: Call, since: str, until: str, **wanted: Any) -> shapes.Records:
    place = _place(call)
    since, comma, told = since.partition(",")
    if comma and not (since and told.isdecimal() and len(told) < 10):
        raise _no_time("since")
    request = Request(
        root=str(place.root),
        namespace=call.caller.namespace,
        key=place.key,
        since=_time("since", since) or iso(call.sources.clock() - DAY_MS),
        until=_time("until", until),
        told=int(told or 0),
        **wanted,
    )
    await place.caught_up(call.caller.namespace)  # or what one has just seen would be missing
    records, found = await call.searches.run(request)
    following = f"{found.next},{found.told}" if found.told else found.next
    return shapes.Records(records, following if found.more else None, found.unread)


def _place(call: Call) -> ArchivePlace:
    place = call.sources.archive
    if place is None:
        raise Failure(
            HTTPStatus.NOT_FOUND,
            "not_found",
            "this hub keeps no archive (audit.enabled), so there is nothing to search",
        )
    return place


def _time(field: str, text: str) -> str:
    """A time as records have it; empty for none."""
    if not text:
        return ""
    try:
        return iso(parse(text.replace(" ", "+")))  # a plus that was not escaped
    except ValueError:
        raise _no_time(field) from None


def _no_time(field: str) -> Failure:
    return bad(field, "must be a time, such as 2026-11-21T16:20:00Z, or what `next` was")
