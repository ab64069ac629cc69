"""Commands that are given a token: whom they speak as, and what is wrong with it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli.command import Broker
from trishula import Agent
from trishula_broker.auth.identity import Identity
from trishula_broker.auth.keys import make_key
from trishula_broker.auth.tokens import create

pytestmark = pytest.mark.asyncio(loop_scope="module")
AgentOf = Callable[..., Agent]


def token_for(name: str) -> str:
    who = Identity(name, "default", "agent", "t1", 0, None)
    return create(who, make_key("HS256", 0, "day"), "trishula", "trishula")


@pytest.fixture
def file(tmp_path: Path, name: str) -> Path:
    """A token of the agent ``name`` in a file."""
    path = tmp_path / "my.token"
    path.touch(0o600)
    path.write_text(token_for(name) + "\n")
    return path


async def known(agent: AgentOf, name: str) -> None:
    async with agent(name):
        pass


async def test_who_has_a_token_speaks_as_the_agent_it_is_for(
    broker: Broker, agent: AgentOf, name: str, other: str, file: Path
) -> None:
    await known(agent, name)
    await known(agent, other)
    sent = await broker("send", other, "1", "--json", "--token-file", str(file))
    assert (sent.json["from"], sent.err) == (name, "")
    sent = await broker("send", other, "1", "--json", env={"TRISHULA_TOKEN": token_for(name)})
    assert sent.json["from"] == name
    looked = await broker("peek", "--json", "--token-file", str(file))
    assert looked.json["count"] == 0


async def test_a_name_that_is_given_and_a_file_that_is_given_win(
    broker: Broker, agent: AgentOf, name: str, other: str, file: Path
) -> None:
    await known(agent, other)
    sent = await broker("send", other, "1", "--json", "--token-file", str(file), "--as", other)
    assert sent.json["from"] == other
    environ = {"TRISHULA_TOKEN": token_for(other)}
    sent = await broker("send", other, "1", "--json", "--token-file", str(file), env=environ)
    assert sent.json["from"] == name


async def test_a_token_that_cannot_be_read_is_the_hubs_to_judge(
    broker: Broker, agent: AgentOf, name: str
) -> None:
    await known(agent, name)
    sent = await broker("send", name, "1", "--json", env={"TRISHULA_TOKEN": "opaque"})
    assert sent.json["from"].startswith("cli-")


async def test_a_file_that_others_can_read_is_noted(
    broker: Broker, agent: AgentOf, name: str, file: Path
) -> None:
    await known(agent, name)
    file.chmod(0o644)
    sent = await broker("send", name, "1", "--json", "--token-file", str(file))
    assert sent.err == f"note: {file}: others may read this token; chmod 600 it\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory"),
        (b"", "it is not three parts of base64url"),
        (b"s3cret\xff", "it is not three parts of base64url"),
        (b"s3cret." * 3000, "it has 16385 characters and may have 8192"),
        (b"s3cret.s3cret.s3cret", "its claims cannot be read"),
    ],
)
async def test_a_file_without_a_token_is_wrong_usage_and_is_not_shown(
    broker: Broker, tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "x"
    if content is not None:
        path.touch(0o600)
        path.write_bytes(content)
    done = await broker("agents", "--token-file", str(path))
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1].startswith(f"Error: --token-file: {path}: {says}")
    assert "s3cret" not in done.err
