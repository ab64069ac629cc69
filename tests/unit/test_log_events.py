"""Every line that a hub logs is in docs/logs.md, with its level, and nothing else is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
BROKER = ROOT / "broker" / "trishula_broker"
LEVELS = {"debug", "info", "warning", "error"}
NOT_THE_HUBS = ("cli", "bridge", "benchmark", "conformance")
CONSTANTS = {"REFUSED": "refused"}


def said() -> dict[str, str]:
    """Each event and its level, of all calls in the hub's code."""
    found: dict[str, str] = {}
    for file in sorted(BROKER.rglob("*.py")):
        if file.relative_to(BROKER).parts[0] in NOT_THE_HUBS:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            called, on = node.func.attr, ast.unparse(node.func.value)
            if called in LEVELS and on.rpartition(".")[2] in ("log", "_log", "_often"):
                found[_event(node)] = called
            elif called == "note" and ("_outlet" in on or (on == "self" and file.stem == "outlet")):
                found[_event(node)] = "info"
    return found


def _event(node: ast.Call) -> str:
    first = node.args[0]
    if isinstance(first, ast.Constant):
        return str(first.value)
    return CONSTANTS.get(ast.unparse(first), "")


def documented() -> dict[str, str]:
    found: dict[str, str] = {}
    for line in (ROOT / "docs" / "logs.md").read_text().splitlines():
        if line.startswith("| `"):
            events, levels = (cell.strip() for cell in line.split("|")[1:3])
            names, of = re.findall(r"`(\w+)`", events), levels.split(", ")
            found |= dict(zip(names, of if len(of) > 1 else of * len(names), strict=True))
    return found


def test_every_line_of_the_log_is_documented_with_its_level() -> None:
    # A note's name and a library's text are no constants; `bug` is an error everywhere but in the
    # core, which has no log.
    found = {event: level for event, level in said().items() if event} | {"bug": "error"}
    assert documented() == found
