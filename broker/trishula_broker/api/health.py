"""How the hub and each of its parts is, and how its last hour was, for operators and observers."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any, Final

from trishula_broker.api import shapes
from trishula_broker.api.endpoint import Call

DISK_SHARE: Final = 0.05
"""Of a disk that is to be free; less is a matter of hours."""


async def show_health(call: Call) -> Any:
    """All that ``/health`` says to its own host."""
    return await call.sources.report()


async def show_series(call: Call) -> shapes.Series:
    """The last hour in numbers."""
    return call.sources.series()


async def show_component(call: Call) -> shapes.Component:
    """How one part is: ``off`` where this hub has none of it."""
    name: str = call.path["component"]
    if name == "disk":
        return await _disk(call)
    report = await call.sources.report()
    if name == "websocket":
        return _websocket(report)
    if name == "audit":
        audit = report.get("audit", {"enabled": False})
        if not audit.get("enabled"):
            return shapes.Component(name, "off", "audit.enabled is false", audit)
        alarms = audit.get("alarms") or []
        return _component(name, audit.get("problem") or (alarms[-1] if alarms else None), audit)
    store = report["store"]
    if name == "redis" and store.get("kind") == "sqlite":
        return shapes.Component(name, "off", "this hub keeps its mail in SQLite", {})
    warnings = store.get("warnings") or []
    why = store.get("problem") or (warnings[0] if warnings else None)
    return _component(name, why, store)


def _component(name: str, why: str | None, details: dict[str, Any]) -> shapes.Component:
    return shapes.Component(name, "degraded" if why else "ok", why, details)


def _websocket(report: dict[str, Any]) -> shapes.Component:
    draining = report["status"] == "draining"
    names = ("connections", "agents_online", "namespaces")
    return _component(
        "websocket",
        "this hub drains; agents go to the next one" if draining else None,
        {name: report[name] for name in names},
    )


async def _disk(call: Call) -> shapes.Component:
    data = call.sources.data
    try:
        usage = await asyncio.to_thread(shutil.disk_usage, data)
    except OSError as error:
        return _component("disk", f"{data}: {error.strerror}", {"path": str(data)})
    why = None
    if usage.free < usage.total * DISK_SHARE:
        why = f"{usage.free >> 20} MiB are free; on a full disk the hub accepts nothing"
    details = {"path": str(data), "total": usage.total, "used": usage.used, "free": usage.free}
    return _component("disk", why, details)
