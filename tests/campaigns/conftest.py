"""Campaigns differ every time; ``TRISHULA_SEED`` repeats what one of them did, not its timing."""

from __future__ import annotations

import os
import random

import pytest


@pytest.fixture
def seed() -> int:
    """Which messages and which moments."""
    return int(os.environ.get("TRISHULA_SEED") or random.randrange(1 << 32))
