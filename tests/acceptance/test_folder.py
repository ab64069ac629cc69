"""Nothing is lost or doubled on the way to the shared folder and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.evidence import kept_if_it_fails
from tests.support.folder_campaign import Campaign, assert_kept


async def test_the_hub_comes_and_goes_while_rsync_copies_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = Campaign(tmp_path, messages=1_000, changes=4, round_s=0.5, seed=1)
    with kept_if_it_fails(tmp_path, "folder-1", campaign.history):
        events = await campaign.run()
        with capsys.disabled():
            print(f"\n{campaign.report}")
        assert_kept(events, str(campaign.report))
        assert campaign.report.by_file > 100
