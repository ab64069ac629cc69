"""docs/troubleshooting.md quotes what the program says, word for word."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "troubleshooting.md").read_text()
SOURCES: Final = ("protocol/trishula_protocol", "client/trishula", "broker/trishula_broker")
PLACE: Final = "…"
"""What stands for what is different each time, in a quotation."""
SHORTEST: Final = 8


def quotations() -> list[str]:
    """All in code of the first columns of tables that begin with what is said."""
    found = []
    for table in re.findall(r"^\| it says .*?(?=\n\n|\Z)", PAGE, re.MULTILINE | re.DOTALL):
        for row in table.splitlines()[2:]:
            found += re.findall(r"`([^`]+)`", row.split(" | ")[0])
    waits = re.findall(r"^\| `([^`]+)` in the \w+'s log", PAGE, re.MULTILINE)
    return found + waits


def said_in(tree: ast.Module) -> Iterator[str]:
    """The texts in a module, as they read, with a place for what is put in; no docstrings."""
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in silent:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%\w", PLACE, node.value)
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else PLACE for part in node.values
            )


@cache
def texts() -> list[str]:
    """Every text in the program's source."""
    paths = [path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))]
    return [said for path in paths for said in said_in(ast.parse(path.read_text()))]


@pytest.mark.parametrize("said", quotations())
def test_what_is_quoted_is_said(said: str) -> None:
    parts = [re.escape(part) for part in said.split(PLACE)]
    fits = re.compile(".*".join(parts), re.DOTALL)
    assert any(fits.search(text) for text in texts()), f"the program never says {said!r}"


def test_it_quotes_something_and_no_scraps() -> None:
    found = quotations()
    assert len(found) > 50
    assert all(len(said) >= SHORTEST for said in found)
    assert len(set(found)) > 50
