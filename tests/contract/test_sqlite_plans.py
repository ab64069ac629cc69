"""No statement of the SQLite store reads a table from end to end: cost follows the answer."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from trishula_broker.store.sqlite.schema import open_writer
from trishula_broker.store.sqlite.statements import Statement, statements

WHOLE = {
    # Once, when the store is opened.
    "counters": {"counters"},
    "spaces": {"spaces"},
    "agents": {"agents"},
    "mailboxes": {"copies"},
    "leased_copies": {"copies"},
    "journal": {"journal"},
    "trails": {"trails"},
    "all_archivers": {"archivers"},
    # Agents only, once nothing is left to trim.
    "unknown_agents": {"a"},
}
"""Statements that read a whole table, and which."""

QUEUE = "copies_waiting (agent=?"
INDEXES = {
    "fetch_copies": QUEUE,
    "pool_copies": QUEUE,
    "capability_copies": QUEUE,
    "heads": QUEUE,
    "oldest": "copies_waiting (agent=? AND priority=?)",
    "next_due": "copies_delayed (agent=? AND due_at>? AND due_at<?)",
    "expired_copies": "copies_expiring ((expires_at,seq)>(?,?) AND expires_at<?)",
    "next_expiry": "copies_expiring (expires_at>?)",
    "dead_letters": "copies_dead (agent=? AND seq>?)",
    "all_dead_letters": "copies_dead_all (seq>?)",
    "assigned": "copies_via (seq>? AND seq<?)",
    "copies_after": "PRIMARY KEY (agent=? AND seq>?)",
    "pages_with": "PRIMARY KEY (agent=? AND first>?)",
    "thread_history": "PRIMARY KEY (thread=? AND seq>?)",
    "thread_with": "PRIMARY KEY (agent=? AND first=?)",
    "by_id": "PRIMARY KEY (id=?)",
    "page_of_nth_last": "PRIMARY KEY (agent=?)",
}
"""What must be looked up where: another index would do, and read all that was ever settled."""

ALL = [(file, name) for file in ("commit", "answers", "pages", "trim") for name in statements(file)]
_GIVEN = re.compile(r"SCAN (\d+ CONSTANT|CONSTANT|\(subquery|(v|p|t|page)\b|r VIRTUAL)")
"""Steps over what was given to the statement, or is its own result."""


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> sqlite3.Connection:
    path: Path = tmp_path_factory.mktemp("plans") / "store.db"
    return open_writer(path, sqlite3.connect)


def plan(db: sqlite3.Connection, statement: Statement) -> list[str]:
    """The steps of the plan of ``statement``."""
    sql = statement.text(64 if statement.width else 1)
    names = set(re.findall(r":(\w+)", sql))
    values: Any = dict.fromkeys(names, 1) if names else (1,) * sql.count("?")
    return [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + sql, values)]


@pytest.mark.parametrize(("file", "name"), ALL, ids=[name for _, name in ALL])
def test_a_statement_looks_up_what_it_needs(db: sqlite3.Connection, file: str, name: str) -> None:
    statement = statements(file)[name]
    steps = plan(db, statement)
    whole = {s.split()[1] for s in steps if s.startswith("SCAN ") and not _GIVEN.match(s)}
    assert whole == WHOLE.get(name, set()), steps
    assert any(INDEXES.get(name, "") in step for step in ["", *steps]), steps
