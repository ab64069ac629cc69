"""Where the files are that a hub is deployed with."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def deploy() -> Path:
    return Path(__file__).parents[3] / "deploy"
