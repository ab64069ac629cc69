"""A hub with keys: what people type, from the first key to a token that was taken back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
import pytest_asyncio

from tests.integration.cli.command import TIMEOUT_S, Broker, Done
from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from tests.unit.auth.making import jwk, private
from trishula import Agent

SHORT_MS = 20_000
GUIDE = Path(__file__).parents[3] / "docs" / "tokens.md"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "data")


@pytest_asyncio.fixture
async def hub(tmp_path: Path, keys: Keys) -> AsyncIterator[HubProcess]:
    async with HubProcess(tmp_path / "data") as running:
        yield running


@pytest.fixture
def broker(hub: HubProcess) -> Broker:
    return Broker(hub.url)


def as_(token: str) -> dict[str, str]:
    return {"TRISHULA_TOKEN": token}


async def test_who_shows_no_good_token_is_told_what_to_do(
    hub: HubProcess, broker: Broker, keys: Keys
) -> None:
    tokens = {
        "": "`broker token create AGENT` makes one; give a good one with --token-file or",
        "letmein": "it is not three parts of base64url",
        Keys(keys.path.parent.parent / "others").token("dc"): "its key is not known here",
        keys.token("dc", lives_ms=-60_000): "it expired at ",
    }
    for token, says in tokens.items():
        done = await broker("agents", env=as_(token))
        assert (done.code, done.out) == (1, "")
        assert says in done.err
        assert ("asks for a token, and was shown none" in done.err) == (not token)
        assert done.err.count("\n") == 1
        assert not token or token not in done.err + hub.log


async def test_an_observer_looks_at_all_and_is_told_that_it_sends_nothing(
    hub: HubProcess, broker: Broker, keys: Keys
) -> None:
    token = as_(keys.token("eve", role="observer"))
    done = await broker("agents", env=token)
    assert (done.code, done.err) == (0, "")  # that it is no agent is no news to it
    done = await broker("send", "dc", "{}", env=token)
    assert "an observer looks on, and asks the hub alone" in done.err
    made = await broker("token", "create", "eve", "--role", "observer", "--data", str(hub.data))
    assert made.code == 0
    listed = await broker("token", "list", "--agent", "eve", "--data", str(hub.data))
    assert listed.out.splitlines()[1].split()[-3:] == ["nothing", "everything", "nothing"]


async def test_a_name_that_is_not_the_tokens_is_refused(broker: Broker, keys: Keys) -> None:
    done = await broker("peek", "--as", "agni", env=as_(keys.token("dc")))
    assert done.code == 1
    assert "your token is not for agni" in done.err
    assert "leave --as out, or use that agent's token" in done.err


async def test_what_a_token_does_not_allow_is_refused_by_name(
    hub: HubProcess, broker: Broker, keys: Keys
) -> None:
    async with Agent("agni", hub.url, token=keys.token("agni")):
        pass  # known at once, and not when the hub looks at the list
    token = as_(keys.token("dc", send=("agn*",), types=("STATUS",)))
    assert (await broker("send", "agni", "1", env=token)).code == 0
    for args, says in [
        (("send", "vayu", "1"), "forbidden: to: your token does not allow vayu; it allows agn*"),
        (("send", "agni", "1", "--wait"), "forbidden: type: your token does not allow COMMAND"),
        (("deadletters", "list"), "your token's role is agent"),
    ]:
        done = await broker(*args, env=token)
        assert (done.code, done.out) == (1, "")
        assert says in done.err
    done = await broker("deadletters", "list", env=as_(keys.token("ada", role="operator")))
    assert (done.code, done.out) == (0, "no dead letters\n")


async def test_an_operator_looks_at_the_mail_of_others_with_a_token_of_its_own(
    hub: HubProcess, broker: Broker, keys: Keys
) -> None:
    async with Agent("dc", hub.url, token=keys.token("dc")) as dc:
        id = (await dc.send("dc", {"text": "for others to see"})).id
    looks = [("trace", id), ("history",), ("history", id), ("peek",)]
    for role in ("operator", "observer"):
        token = as_(keys.token("ada", role=role))
        for look in looks:
            done = await broker(*look, "--agent", "dc", env=token)
            assert (done.code, done.err) == (0, "")
            assert id in done.out
        done = await broker("peek", "--agent", "dd", env=token)
        assert done.code == 1
        assert "no agent dd is known here" in done.err
    for look in looks:
        done = await broker(*look, "--agent", "dc", env=as_(keys.token("agni")))
        assert (done.code, done.out) == (1, "")
        assert "forbidden: payload.agent" in done.err


async def test_who_is_revoked_while_listening_is_told_and_does_not_come_back(
    broker: Broker, keys: Keys
) -> None:
    token = keys.token("agni")
    data = {"TRISHULA_DATA": str(keys.path.parent)}
    async with await broker.start("listen", env=as_(token)) as listening:
        await listening.said("listening as agni")
        revoked = await broker("token", "revoke", "--agent", "agni", env=data)
        assert revoked.code == 0
        done = await listening.end()
    assert done.code == 1
    assert "revoked" in done.err
    assert (await broker("peek", env=as_(token))).code == 1
    made = await broker("token", "create", "agni", env=data)
    assert (await broker("peek", env=as_(made.out.strip()))).code == 0


async def test_a_token_file_is_read_again_before_its_token_expires(
    tmp_path: Path, keys: Keys
) -> None:
    no_leeway = {"TRISHULA_AUTH_LEEWAY_S": "0"}
    async with HubProcess(tmp_path / "data", environ=no_leeway) as hub:
        path = tmp_path / "agni.token"
        path.touch(0o600)
        path.write_text(keys.token("agni", lives_ms=SHORT_MS))
        async with await Broker(hub.url).start("listen", "--token-file", str(path)) as listening:
            await listening.said("listening as agni")
            path.write_text(keys.token("agni"))
            over = asyncio.Event()
            dc = Agent("dc", hub.url, token=keys.token("dc", lives_ms=SHORT_MS))
            dc.on_state(lambda state: over.set() if state == "refused" else None)
            async with dc, asyncio.timeout(TIMEOUT_S):
                await over.wait()  # the first token of the other has expired before
            async with Agent("vayu", hub.url, token=keys.token("vayu")) as vayu:
                await vayu.send("agni", "still there")
            assert "still there" in await listening.line()
            done = await listening.interrupt()
        assert "4401" not in done.err


async def test_a_running_hub_takes_the_new_key_of_a_rotation(
    hub: HubProcess, broker: Broker, keys: Keys
) -> None:
    old = keys.token("dc")
    data = {"TRISHULA_DATA": str(keys.path.parent)}
    async with Agent("vayu", hub.url, token=keys.token("vayu")) as vayu:
        assert (await broker("keys", "rotate", "--alg", "EdDSA", env=data)).code == 0
        new = keys.token("dc")
        async with asyncio.timeout(TIMEOUT_S):
            while (await broker("agents", env=as_(new))).code != 0:
                pass  # a look a second
        assert (await broker("agents", env=as_(old))).code == 0
        assert vayu.state == "active"


async def test_another_issuers_access_token_is_good_where_its_keys_are_trusted(
    tmp_path: Path, keys: Keys
) -> None:
    path = tmp_path / "id.json"
    path.write_text(json.dumps({"keys": [jwk("RS256", "their-key", use="sig")]}))
    now = int(time.time())
    claims = {
        "iss": "https://id.example",
        "aud": "hubs",
        "sub": "dc",
        "client_id": "x",
        "jti": "j",
        "iat": now,
        "exp": now + 600,
        "send": ["agni"],
    }
    headers = {"typ": "at+jwt", "kid": "their-key"}
    token = jwt.encode(claims, private("RS256"), "RS256", headers)
    trusting = {
        "TRISHULA_AUTH_TRUSTED": str(path),
        "TRISHULA_AUTH_TRUSTED_ISSUER": "https://id.example",
        "TRISHULA_AUTH_AUDIENCE": "hubs",
    }
    async with HubProcess(keys.path.parent, environ=trusting) as hub:
        done = await Broker(hub.url)("send", "vayu", "1", env=as_(token))
    assert "to: your token does not allow vayu; it allows agni" in done.err
    trusting["TRISHULA_AUTH_AUDIENCE"] = "others"
    async with HubProcess(keys.path.parent, environ=trusting) as hub:
        done = await Broker(hub.url)("send", "agni", "1", env=as_(token))
    assert "aud must be 'others' (auth.audience): it is for others" in done.err


async def test_the_guide_works_as_it_is_written(hub: HubProcess, tmp_path: Path) -> None:
    """Each line of its first block, in a shell's stead, beside a hub that runs already."""
    (hub.data / "keys.json").unlink()
    block = re.findall(r"^```shell\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)[0]
    lines = [line for line in str(block).splitlines() if not line.startswith("#")]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TRISHULA_")}
    beside = Path(sys.executable).parent  # where `broker` is installed
    environ |= {"TRISHULA_DATA": str(hub.data), "PATH": f"{beside}:{os.environ['PATH']}"}

    async def shell(script: str) -> Done:
        process = await asyncio.create_subprocess_shell(
            script,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env=environ,
        )
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())

    await hub.kill()
    assert lines[0] == "broker keys init"
    assert (await shell(lines[0])).code == 0
    await hub.start()
    environ["TRISHULA_URL"] = hub.url
    made = lines[1 : lines.index("export TRISHULA_TOKEN=$(cat dc.token)")]
    done = await shell("\n".join(["set -e", *made]))
    assert done.code == 0, done
    async with asyncio.timeout(TIMEOUT_S):  # the hub looks at the list once a second
        while "ci " not in (await shell("broker agents --token-file ada.token")).out:
            pass
    used = lines[1 + len(made) :]
    done = await shell("\n".join(["set -e", *used]))
    assert done.code == 0, done
    assert done.out.startswith("accepted ")
    assert "note: " not in done.err
