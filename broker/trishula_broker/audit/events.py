"""What records tell of: the names of all events. docs/audit.md says what each means."""

from __future__ import annotations

from typing import Final

PULSE: Final = "pulse"
"""A hub was well, and how quick."""
EVENTS: Final = (
    "accepted",
    *("delivered", "read", "done", "requeued"),
    *("rejected", "expired", "dead-lettered", "recalled", "dropped"),
    *("assigned", "unassigned", "retried"),
    *("registered", "left", "forgotten", "node-ended", "paused", "resumed", "introduced"),
    *("revoked", "folder-mode"),
    *("connected", "disconnected", "renewed", "refused", "operator", PULSE),
    *("segment", "sealed", "removed", "gap", "rewound", "lost", "altered"),
)
