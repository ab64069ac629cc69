"""docs/operations.md has every alert, and names commands, metrics and settings that there are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.support.guide import Block, blocks, pages
from trishula_broker.cli import COMMANDS

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "operations.md").read_text()
ALERTS: Final = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
METRICS: Final = (ROOT / "docs" / "metrics.md").read_text()
GUIDES: Final = ("operations.md", "troubleshooting.md", "quick-start.md", "concepts.md", "sdk.md")
HEALTH: Final = {("audit", "alarms")}
"""What ``/health`` has where a setting could stand."""


def alerts() -> list[str]:
    return re.findall(r"^ +- alert: (\w+)$", ALERTS, re.MULTILINE)


def sections() -> dict[str, str]:
    """What the runbook says of each alert."""
    body = PAGE.split("\n## Alerts\n")[1].split("\n## ")[0]
    return {part.split("\n")[0]: part for part in body.split("\n### ")[1:]}


def test_the_runbook_has_the_alerts_in_their_order() -> None:
    assert list(sections()) == alerts()


@pytest.mark.parametrize("name", alerts())
def test_an_alert_has_its_meaning_its_check_and_its_remedy(name: str) -> None:
    said = re.findall(r"^- \*\*(\w+):\*\* \S", sections()[name], re.MULTILINE)
    assert said == ["Means", "Check", "Do"]


@pytest.mark.parametrize("name", alerts())
def test_an_alert_leads_to_its_place_in_the_runbook(name: str) -> None:
    rule = ALERTS.split(f"- alert: {name}\n")[1].split("- alert: ")[0]
    assert f"runbook: docs/operations.md#{name.lower()}\n" in rule


def test_metrics_that_it_names_are_there() -> None:
    named = set(re.findall(r"\btrishula_\w+[a-z]", PAGE))
    assert len(named) > 5
    assert named <= set(re.findall(r"\btrishula_\w+[a-z]", METRICS))


@pytest.mark.parametrize("page", GUIDES)
def test_commands_and_settings_that_a_page_names_are_there(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    commands = set(re.findall(r"(?:`|^ *|&& )broker ([a-z][a-z-]*)", text, re.MULTILINE))
    assert commands <= set(COMMANDS)
    settings = tomllib.loads((ROOT / "deploy" / "broker.toml").read_text())
    tables = {name for name, value in settings.items() if isinstance(value, dict)}
    assert set(re.findall(r"`\[(\w+)\]", text)) <= tables
    for table, key in re.findall(rf"`({'|'.join(tables)})\.(\w+)`", text):
        assert key in settings[table] or (table, key) in HEALTH, f"{table}.{key}"


def toml_blocks() -> list[Block]:
    return [block for page in pages() for block in blocks(page, "toml")]


@pytest.mark.parametrize("block", toml_blocks(), ids=str)
def test_settings_in_a_block_are_there(block: Block) -> None:
    known = (ROOT / "deploy" / "broker.toml").read_text()
    for table, values in tomllib.loads(block.text).items():
        assert re.search(rf"^\[?{table}\b", known, re.MULTILINE)
        for key in values if isinstance(values, dict) else ():
            assert key in tomllib.loads(known)[table], f"{block}: {table}.{key}"
