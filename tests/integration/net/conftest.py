"""These tests run under uvloop, as the hub does, against real sockets on port 0."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import uvloop

from tests.integration.net.rig import Rig


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Mapping[str, Callable[[], Any]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def rig_of() -> AsyncIterator[Callable[..., Any]]:
    """Makes rigs that end with the test."""
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> Rig:
            rig = Rig(**options)
            await stack.enter_async_context(rig)
            return rig

        yield make


@pytest.fixture
async def rig(rig_of: Callable[..., Any]) -> Any:
    return await rig_of()
