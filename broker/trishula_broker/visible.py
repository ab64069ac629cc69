"""Text that others sent is shown, never obeyed: no control characters."""

from __future__ import annotations

import re
from typing import Final

_UNSEEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""C0 and C1 controls, line separators, changes of writing direction, halves of characters."""


def visible(text: str) -> str:
    """``text`` with what would move the cursor, or hide something, written as JSON escapes."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
