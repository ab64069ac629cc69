"""The names of events are those that the documentation explains, and that records have."""

from __future__ import annotations

import re
from pathlib import Path

from trishula_broker.audit import records
from trishula_broker.audit.events import EVENTS

ROOT = Path(__file__).parents[3]


def test_the_events_are_those_that_are_documented() -> None:
    text = (ROOT / "docs" / "audit.md").read_text()
    table = text[text.index("| event | of |") : text.index("## Reading it")]
    cells = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|")]
    assert set(re.findall(r"`([a-z-]+)`", "".join(cells))) == set(EVENTS)


def test_what_the_archive_says_of_operations_is_among_them() -> None:
    source = Path(records.__file__).read_text()
    named = set(re.findall(r'"event": "([a-z-]+)"', source)) | set(records.EVENTS.values())
    assert named <= set(EVENTS)
