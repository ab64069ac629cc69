"""How things look to people; what others sent goes through :func:`.visible.visible`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from trishula_broker.visible import visible as visible


def payload_text(payload: Any, indent: bool = False) -> str:
    """A payload as JSON, on one line unless ``indent``."""
    import msgspec

    text = visible(msgspec.json.encode(payload).decode())
    return msgspec.json.format(text, indent=2) if indent else text


def status_text(status: Any) -> str:
    """What an agent says it does, on one line."""
    if not isinstance(status, dict):
        return ""
    text = visible(str(status.get("text") or ""))
    details = status.get("details")
    return " ".join(filter(None, (text, "" if details is None else payload_text(details))))


def moment(ms: int | None) -> str:
    """A wall-clock time in milliseconds, in this machine's zone; the day unless it is today."""
    if ms is None:
        return "-"
    seconds, fraction = divmod(ms, 1000)
    try:
        then = time.localtime(seconds)
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms"  # a sender's clock may say anything
    day = "" if then[:3] == time.localtime()[:3] else time.strftime("%Y-%m-%d ", then)
    return f"{day}{time.strftime('%H:%M:%S', then)}.{fraction:03}"


def size_text(count: int) -> str:
    """Bytes for people."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MiB"


def counted(count: int, noun: str) -> str:
    """``1 message``, ``2 messages``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def message_line(shown: Mapping[str, Any], mine: str | None = None) -> str:
    """An envelope on one line: time, from, to unless that is ``mine``, type, id, payload."""
    to = shown.get("to")
    parties = shown.get("from", "?") + ("" if to in (mine, None) else f" → {to}")
    parts = [
        moment(shown.get("accepted_at", shown.get("timestamp"))),
        parties,
        shown["type"],
        shown.get("id", "-"),
        "(its body was trimmed)" if shown.get("trimmed") else payload_text(shown.get("payload")),
    ]
    if shown.get("reply_to"):
        parts.insert(4, f"re {shown['reply_to']}")
    if shown.get("attempt", 1) > 1:
        parts.append(f"(attempt {shown['attempt']})")
    return "  ".join(parts)
