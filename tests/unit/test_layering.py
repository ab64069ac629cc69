"""Imports run one way, and the core does no I/O."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol/trishula_protocol", "client/trishula", "broker/trishula_broker")
IO = {"asyncio", "socket", "time", "random", "threading", "os", "uvloop", "sqlite3"}


def within(module: str, part: str) -> bool:
    return module.startswith((f"trishula_broker/{part}/", f"trishula_broker/{part}.py"))


def forbidden(module: str) -> dict[str, str]:
    """The top-level names that the file `module` may not import, each with the rule."""
    found: dict[str, str] = {}
    if module.startswith("trishula_protocol/"):
        found |= dict.fromkeys(("trishula", "trishula_broker"), "the protocol imports no one")
    if module.startswith("trishula/"):
        found["trishula_broker"] = "the client imports the protocol only"
    if module.startswith("trishula_broker/") and not any(
        within(module, part) for part in ("cli", "bridge", "benchmark")
    ):
        found["trishula"] = "of the broker only command, bridge and benchmark use the client"
    if module.startswith("trishula_protocol/") or within(module, "hub"):
        found |= dict.fromkeys(IO, "the core does no I/O and has no clock and no randomness")
    return found


def violations(module: str, source: str) -> list[str]:
    rules = forbidden(module)
    imports: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source, module)):
        if isinstance(node, ast.Import):
            imports += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports.append((node.lineno, node.module))
    tops = [(line, name.partition(".")[0]) for line, name in imports]
    return [f"{module}:{line}: imports {top}: {rules[top]}" for line, top in tops if top in rules]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    base = (ROOT / package).parent
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = [v for f in files for v in violations(f.relative_to(base).as_posix(), f.read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source", "lines"),
    [
        ("trishula_protocol/codec.py", "import msgspec\nimport trishula.agent", [2]),
        ("trishula_protocol/codec.py", "from trishula_broker import hub", [1]),
        ("trishula_protocol/codec.py", "def f():\n    from time import monotonic", [2]),
        ("trishula/agent.py", "import asyncio, trishula_broker.hub", [1]),
        ("trishula/agent.py", "import asyncio\nfrom trishula_protocol import codec", []),
        ("trishula_broker/net/listener.py", "import os\nfrom trishula import Agent", [2]),
        ("trishula_broker/cli/send.py", "import os\nfrom trishula import Agent", []),
        ("trishula_broker/cli.py", "from trishula import Agent", []),
        ("trishula_broker/bridge/bridge.py", "from trishula import Agent", []),
        ("trishula_broker/benchmark/sending.py", "from trishula import Agent", []),
        ("trishula_broker/client_addresses.py", "from trishula import Agent", [1]),
        ("trishula_broker/hub/router.py", "import os.path\nimport sqlite3 as db", [1, 2]),
        ("trishula_broker/hub/router.py", "from trishula_protocol.errors import Refused", []),
    ],
)
def test_a_forbidden_import_is_found_with_its_line(
    module: str, source: str, lines: list[int]
) -> None:
    found = violations(module, source)
    assert [v.split(": ")[0] for v in found] == [f"{module}:{line}" for line in lines]
