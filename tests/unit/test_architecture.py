"""docs/architecture.md says what is in which file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol/trishula_protocol", "client/trishula", "broker/trishula_broker")
ONE_A_COMMAND = ("trishula_broker/cli", "trishula_broker/hub/operations")
"""Of these only the rule is told: what is in a file, its name says."""


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_in_the_list(package: str) -> None:
    known = set(re.findall(r"\w+", (ROOT / "docs/architecture.md").read_text()))
    files = [
        file.relative_to((ROOT / package).parent)
        for file in (ROOT / package).rglob("*.py")
        if not file.stem.startswith("__")
    ]
    assert files
    missing = [
        file.as_posix()
        for file in files
        if file.stem not in known and not file.as_posix().startswith(ONE_A_COMMAND)
    ]
    assert not missing


def test_no_file_is_in_the_list_that_is_no_more() -> None:
    told = set(re.findall(r"\b\w+\.py\b", (ROOT / "docs/architecture.md").read_text()))
    there = {
        file.name
        for top in ("protocol", "client", "broker", "tests")
        for file in (ROOT / top).rglob("*.py")
    }
    assert not told - there
