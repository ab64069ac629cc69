"""The SDK's core does no I/O: what the simulation drives is what runs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[3] / "client" / "trishula"
PURE = ("core", "inbox", "outbox", "recent", "events", "compose", "commands", "rounds")
IO = {"asyncio", "socket", "time", "random", "secrets", "threading", "os", "sqlite3", "uuid"}


@pytest.mark.parametrize("name", PURE)
def test_the_core_imports_no_clock_no_randomness_and_no_io(name: str) -> None:
    tree = ast.parse((CLIENT / f"{name}.py").read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            top, _, module = node.module.partition(".")
            found.add(top)
            if top == "trishula":
                assert module in PURE, f"{name} imports {node.module}"
    assert not found & IO
