"""The shared folder's campaign in full; ``tests/acceptance/test_folder.py`` is its short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.evidence import kept_if_it_fails
from tests.support.folder_campaign import Campaign, assert_kept

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3600)]


async def test_ten_thousand_messages_and_twenty_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    campaign = Campaign(tmp_path, messages=10_000, changes=20, seed=seed)
    with kept_if_it_fails(tmp_path, f"folder-{seed}", campaign.history):
        try:
            events = await campaign.run()
        finally:
            with capsys.disabled():
                print(f"\nseed {seed}: {campaign.report}")
        assert_kept(events, f"seed {seed}: {campaign.report}")
