"""One hub for the tests of a file; each test has agents of its own."""

import itertools
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests.integration.cli.command import Broker
from tests.support.hub_process import HubProcess
from trishula import Agent

_numbers = itertools.count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HubProcess]:
    async with HubProcess(tmp_path_factory.mktemp("hub") / "data") as running:
        yield running


@pytest.fixture
def broker(hub: HubProcess) -> Broker:
    return Broker(hub.url)


@pytest.fixture
def name() -> str:
    """An agent's name that no other test uses."""
    return f"dc{next(_numbers)}"


@pytest.fixture
def other() -> str:
    """Another one."""
    return f"agni{next(_numbers)}"


@pytest.fixture
def agent(hub: HubProcess) -> Callable[..., Agent]:
    """Makes agents; a test enters them."""

    def make(name: str, **options: object) -> Agent:
        return Agent(name, hub.url, **options)  # type: ignore[arg-type]

    return make
