"""Endpoints that tell what is this hub's own, from :mod:`.sources`; no session is asked."""

from __future__ import annotations

from trishula_broker.api import shapes
from trishula_broker.api.endpoint import Call


async def series(call: Call) -> shapes.Series:
    """The last hour in numbers."""
    return call.sources.series()
