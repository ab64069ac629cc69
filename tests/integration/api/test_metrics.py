"""Metrics of a real hub, and that code, document, alarms and dashboard tell of the same."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.api.rig import TIMEOUT_S, Rig, problem
from trishula_broker.api.metrics import METRICS

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).parents[3]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = ROOT / "deploy/grafana/trishula.json"
DONE = ("trishula_settled_total", frozenset({("outcome", "done")}))
NAME = re.compile(r"\btrishula_[a-z_]+")


async def scrape(rig: Rig, path: str = "/metrics") -> dict[tuple[str, frozenset[Any]], float]:
    """Every sample by name and labels, but for the node."""
    async with httpx.AsyncClient(base_url=rig.hub.http_url, trust_env=False, timeout=60) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = frozenset({*sample.labels.items()} - {("node", "hub")})
            found[sample.name, labels] = sample.value
    return found


def of(found: dict[tuple[str, frozenset[Any]], float], name: str, **labels: str) -> float:
    return found[f"trishula_{name}", frozenset(labels.items())]


async def test_what_agents_do_is_counted(rig: Rig, name: str, other: str) -> None:
    before = await scrape(rig)
    async with rig.agent(name) as dc, rig.agent(other) as agni:
        for n in range(3):
            await dc.send(other, n, id=f"m{n}")
            await (await anext(agni.messages())).done()
        async with asyncio.timeout(TIMEOUT_S):  # agents say done in batches
            while (found := await scrape(rig, "/api/v1/metrics")).get(DONE, 0) < 3:
                pass
        online = of(found, "agents_online", namespace="default")
        assert online == of(before, "agents_online", namespace="default") + 2
    accepted = {"type": "STATUS", "outcome": "accepted"}
    known = frozenset(accepted.items())
    assert of(found, "messages_total", **accepted) == 3 + before.get(
        ("trishula_messages_total", known), 0
    )
    assert of(found, "registrations_total") == of(before, "registrations_total") + 2
    assert of(found, "deliveries_total") == of(before, "deliveries_total") + 3
    assert of(found, "up", component="hub") == 1
    for histogram in ("accept_latency", "delivery_latency", "commit"):
        seconds = f"{histogram}_seconds"
        assert of(found, f"{seconds}_count") >= of(before, f"{seconds}_count") + 3
        assert of(found, f"{seconds}_bucket", le="+Inf") == of(found, f"{seconds}_count")
    assert found["process_resident_memory_bytes", frozenset()] > 0


async def test_metrics_are_for_the_hubs_host_and_those_who_look(rig: Rig, name: str) -> None:
    async with rig.client(name) as agent:
        problem(await agent.get("/metrics"), 403, "forbidden")
        problem(await agent.get(f"{rig.hub.http_url}/metrics"), 403, "forbidden")
    async with rig.client("eye", role="observer") as observer:
        assert (await observer.get("/metrics")).status_code == 200
    far = {"x-forwarded-for": "203.0.113.1"}
    async with rig.http(**far) as stranger:
        problem(await stranger.get("/metrics"), 401, "unauthorized")


async def test_refused_tokens_are_counted(rig: Rig) -> None:
    before = of(await scrape(rig), "auth_failures_total")
    async with rig.http("no.good.token") as nobody:
        assert (await nobody.get("/agents")).status_code == 401
    assert of(await scrape(rig), "auth_failures_total") == before + 1


def rows() -> dict[str, tuple[str, str]]:
    """Kind and labels by name, as docs/metrics.md has them."""
    found = {}
    for line in (ROOT / "docs/metrics.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].startswith("`trishula_"):
            found[cells[0].strip("`")] = cells[1], cells[2]
    return found


async def test_the_document_tells_of_every_metric() -> None:
    told = {}
    for each in METRICS:
        name = f"trishula_{each.name}" + ("_total" if each.kind == "counter" else "")
        told[name] = each.kind, ", ".join(f"`{label}`" for label in each.labels)
    assert rows() == told


@pytest.mark.parametrize("path", [ALERTS, DASHBOARD], ids=["alerts", "dashboard"])
async def test_alarms_and_dashboard_ask_for_what_there_is(path: Path) -> None:
    known = set(rows())
    known |= {f"{name}{end}" for name in rows() for end in ("_bucket", "_count", "_sum")}
    asked = set(NAME.findall(path.read_text()))
    assert asked
    assert asked <= known, asked - known


async def test_every_panel_has_a_query() -> None:
    board = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len(panels) > 10
    assert all(target["expr"] for panel in panels for target in panel["targets"])
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_takes_the_alarms_and_the_metrics(rig: Rig) -> None:
    async with httpx.AsyncClient(base_url=rig.hub.http_url, trust_env=False, timeout=60) as client:
        text = (await client.get("/metrics")).content
    for words, given in ((("rules", str(ALERTS)), b""), (("metrics",), text)):
        process = await asyncio.create_subprocess_exec(
            *("promtool", "check", *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate(given)
        assert process.returncode == 0, said.decode()
