"""Imports run one way, and the core does no I/O."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol/trishula_protocol", "client/trishula", "broker/trishula_broker")
PURE = ("auth/errors", "auth/identity", "auth/permits", "auth/revocations")
"""What the core knows of who somebody is."""
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "auth": (),
    "store": (),
    "hub": ("store.base", *(part.replace("/", ".") for part in PURE)),
    "net": ("hub.counts", "hub.effects", "hub.now", "store.base", "auth"),
    "audit": ("store.base", "store.trail", "net.ports", "credentials"),
    "audit/node_archive": ("store.base", "net.ports", "net.driver", "config"),
    "api": ("hub.counts", "net", "auth", "audit", "store.base", "quantiles"),
    "console": ("net.door",),
    "alerts": ("hub.counts", "net", "store.base", "process", "quantiles"),
    "alerts/told": (),
    "backup": ("store", "auth"),
    "backup/keys": ("auth", "audit.heads"),
    "bridge": ("auth", "config"),
    "report": (
        "audit.events",
        "audit.messages",
        "audit.reading",
        "audit.times",
        "audit.segment",
        "quantiles",
        "visible",
    ),
    "workers": ("config", "net.sockets", "notify"),
    "notify": ("net.ports",),
    "pulse": ("audit.events", "hub.counts", "net.driver"),
    "tracing": ("config", "net.spans", "otlp"),
    "otlp": ("net.spans",),
    "logs": ("config", "visible"),
    "visible": (),
    "process": (),
    "bridge_task": (),
    "stopping": ("net.tls", "notify"),
    "stores": ("config", "credentials", "store"),
    "quantiles": (),
    "turns": (),
    "credentials": (),
    "conformance": (),
    "config": ("net.settings", "audit.settings", "audit.redaction", "store.base"),
}
"""What a part of the broker may import of the other parts; of two that fit, the narrower counts."""
COMPOSE = {"__init__", "__main__", "app", "front", "access", "cli", "benchmark", "doctor"}
"""What puts parts together, and imports what that takes."""
LIBRARIES = {"opentelemetry": ("trishula_broker/otlp.py", "trishula/tracing.py")}
"""What one file alone knows on each side."""
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
    if module.startswith("trishula_protocol/") or any(
        within(module, part) for part in ("hub", *PURE)
    ):
        found |= dict.fromkeys(IO, "the core does no I/O and has no clock and no randomness")
    for library, files in LIBRARIES.items():
        if module not in files:
            found[library] = f"only {' and '.join(files)} know it"
    return found


def imported(source: str, module: str) -> list[tuple[int, str]]:
    """The line and the dotted name of each thing that `source` imports."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source, module)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def violations(module: str, source: str) -> list[str]:
    rules = forbidden(module)
    found: dict[str, None] = {}
    for line, name in imported(source, module):
        top, _, inner = name.partition(".")
        if top in rules:
            found[f"{module}:{line}: imports {top}: {rules[top]}"] = None
        elif top == "trishula_broker" and (rule := strays(module, inner)):
            found[f"{module}:{line}: imports {inner}: {rule}"] = None
    return list(found)


def strays(module: str, inner: str) -> str | None:
    """The rule by which the file `module` may not import `inner` of the broker."""
    parts = [part for part in MAY_IMPORT if within(module, part)]
    if not parts:
        return None
    part = max(parts, key=len)
    allowed = (part.partition("/")[0], *MAY_IMPORT[part])
    if any(f"{inner}.".startswith(f"{each}.") for each in allowed):
        return None
    return f"of the broker {part} uses {', '.join(MAY_IMPORT[part]) or 'nothing else'}"


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    base = (ROOT / package).parent
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = [v for f in files for v in violations(f.relative_to(base).as_posix(), f.read_text())]
    assert not found, "\n".join(found)


def test_what_each_part_of_the_broker_may_import_is_said() -> None:
    found = (ROOT / "broker/trishula_broker").iterdir()
    parts = {each.stem for each in found if each.suffix == ".py" or (each / "__init__.py").exists()}
    said = {part.partition("/")[0] for part in MAY_IMPORT}
    assert said | COMPOSE == parts
    assert not said & COMPOSE


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
        ("trishula_broker/hub/hub.py", "from trishula_broker.auth.identity import Identity", []),
        ("trishula_broker/hub/hub.py", "from trishula_broker.auth import permits, tokens", [1]),
        ("trishula_broker/hub/hub.py", "import trishula_broker.auth.key_file", [1]),
        ("trishula_broker/hub/hub.py", "from trishula_broker.store import base, sqlite", [1]),
        ("trishula_broker/hub/hub.py", "from trishula_broker.hub import now", []),
        ("trishula_broker/auth/permits.py", "import time", [1]),
        ("trishula_broker/auth/ledger.py", "import time", []),
        ("trishula_broker/auth/tokens.py", "from trishula_broker.store.base import Store", [1]),
        ("trishula_broker/audit/verify.py", "from trishula_broker.hub.hub import Hub", [1]),
        ("trishula_broker/audit/follower.py", "from trishula_broker.net.driver import D", [1]),
        ("trishula_broker/audit/node_archive.py", "from trishula_broker.net.driver import D", []),
        ("trishula_broker/net/door.py", "from trishula_broker.audit.reading import Archive", [1]),
        ("trishula_broker/net/door.py", "from trishula_broker.cli import exits", [1]),
        ("trishula_broker/net/http.py", "from trishula_broker.api.server import Api", [1]),
        ("trishula_broker/api/links.py", "from trishula_broker.hub.hub import Hub", [1]),
        ("trishula_broker/api/links.py", "from trishula_broker.net.driver import Driver", []),
        ("trishula_broker/api/metrics.py", "from trishula_broker.store.sqlite import S", [1]),
        ("trishula_broker/conformance/lab.py", "from trishula import Agent", [1]),
        ("trishula_broker/conformance/run.py", "import trishula_broker.hub.hub", [1]),
        ("trishula_broker/report/figures.py", "from trishula_broker.hub import counts", [1]),
        ("trishula_broker/alerts/told.py", "from trishula_broker.net.ports import Log", [1]),
        ("trishula_broker/net/spans.py", "from opentelemetry.trace import Span", [1]),
        ("trishula_broker/otlp.py", "from opentelemetry.trace import SpanKind", []),
        ("trishula_broker/app.py", "from trishula_broker.audit import node_archive", []),
    ],
)
def test_a_forbidden_import_is_found_with_its_line(
    module: str, source: str, lines: list[int]
) -> None:
    found = violations(module, source)
    assert [v.split(": ")[0] for v in found] == [f"{module}:{line}" for line in lines]


def test_a_hub_does_not_load_what_it_may_never_need() -> None:
    unused = (
        *("jwt", "rich", "redis", "matplotlib", "opentelemetry", "trishula"),
        *("trishula_broker.bridge.bridge", "trishula_broker.otlp", "trishula_broker.report"),
        # Of those that it may need when somebody asks over HTTP, what they bring is most.
        *("uvicorn", "httptools", "watchfiles", "multiprocessing", "prometheus_client"),
        *("trishula_broker.alerts.notifier", "trishula_protocol.ids", "statistics"),
    )
    code = "import sys, trishula_broker.app; print(*sys.modules)"
    loaded = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, check=True
    )
    assert not set(unused) & set(loaded.stdout.split())
