"""One hub for the tests of a file; each test has agents of its own."""

import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.api.rig import Rig

_numbers = itertools.count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("hub") / "data")
    async with made.hub:
        yield made


@pytest.fixture
def name() -> str:
    """An agent's name that no other test uses."""
    return f"dc{next(_numbers)}"


@pytest.fixture
def other() -> str:
    """Another one."""
    return f"agni{next(_numbers)}"
