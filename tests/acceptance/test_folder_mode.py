"""Nothing is lost or doubled when an operator orders agents to the shared folder and back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.folder_campaign import Campaign, assert_kept
from trishula import Agent, State
from trishula_protocol.bodies import FolderMode


class Ordered(Campaign):
    """The hub stays, mostly: it is an order that comes and goes."""

    async def _stop(self) -> None:
        begun = time.monotonic()
        await self._order(True)
        self.report.there_s += await self._all(State.FOLDER, begun)
        if self.report.changes:
            await self._hub.kill()  # what was ordered outlasts it
            await self._hub.start()

    async def _start(self) -> None:
        begun = time.monotonic()
        await self._order(False)
        self.report.back_s += await self._all(State.ACTIVE, begun)

    async def _order(self, on: bool) -> None:
        async with Agent("operator", self._hub.url, receive=False, ephemeral=True) as operator:
            answer = await operator.ask(FolderMode(on))
        assert answer["on"] is on
        if not self.report.changes:
            assert (answer["with_folder"], answer["without_folder"]) == (4, ["vayu"])


async def test_agents_are_ordered_to_the_folder_and_back_under_traffic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = Ordered(
        tmp_path, messages=1_000, changes=4, round_s=0.5, seed=3, bare=frozenset({"vayu"})
    )
    events = await campaign.run()
    with capsys.disabled():
        print(f"\n{campaign.report}")
    assert_kept(events, str(campaign.report))
    assert campaign.report.by_file > 100
