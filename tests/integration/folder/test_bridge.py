"""Agents that only know files, joined to a hub."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.integration.cli.command import Broker
from tests.integration.folder.rig import (
    PATIENCE_S,
    Inbound,
    box,
    drop,
    files,
    folder_agent,
    letter,
    until,
    until_files,
)
from tests.support.certificates import Authority
from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from trishula import Agent, Message
from trishula.folder.layout import Layout
from trishula_protocol.envelope import Envelope
from trishula_protocol.folder_file import open_envelope, pack, parse
from trishula_protocol.folder_key import Key

GUIDE = Path(__file__).parents[3] / "docs" / "folder.md"


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubProcess]:
    async with HubProcess(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    for name in ("inbox", "outbox"):
        (path / name).mkdir(parents=True)
    return path


@asynccontextmanager
async def bridge(
    folder: Path, url: str, *options: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """``broker bridge`` in a process of its own, once every agent is registered."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trishula_broker", "bridge"),
        *("--folder", str(folder), "--url", url, *options),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            said = b""
            while not said.startswith(b"bridging "):
                said = await process.stderr.readline()
                assert said, await process.wait()
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.stderr.read()
        await process.wait()


def written(folder: Path, agent: str) -> list[Envelope]:
    """What lies in an agent's inbox."""
    found = [path.read_bytes() for path in sorted(box(folder, agent, "inbox").iterdir())]
    return [open_envelope(parse(data).body) for data in found]


async def test_the_guides_old_script_and_an_sdk_agent_exchange_messages(
    hub: HubProcess, folder: Path, tmp_path: Path
) -> None:
    block = GUIDE.read_text().rpartition("```python\n")[2].partition("```")[0]
    lines = [line for line in block.splitlines() if line]
    assert len(lines) <= 20
    (tmp_path / "script.py").write_text(block)
    agni = Agent("agni", hub.url)
    statuses: asyncio.Queue[Message] = asyncio.Queue()
    agni.on_status(statuses.put_nowait)

    @agni.on_command
    def count(message: Message) -> str:
        return f"{len(message.payload['body'].split())} words"

    async with agni, bridge(folder, hub.url, "--v1", "mac"):
        script = await asyncio.create_subprocess_exec(
            *(sys.executable, str(tmp_path / "script.py"), str(folder), "mac", "agni"),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert script.stdout is not None
            async with asyncio.timeout(PATIENCE_S):
                assert await script.stdout.readline() == b"response agni 5 words\n"
                thanks = await statuses.get()
                assert thanks.payload == {"subject": "thanks", "body": "got it"}
                assert (thanks.sender, thanks.priority) == ("mac", 2)
        finally:
            script.kill()
            await script.communicate()
        await until(folder, lambda: len(list((folder / "done").glob("*.json"))) == 2)
        assert list((folder / "outbox").iterdir()) == []


async def test_files_of_version_2_become_mail_and_mail_becomes_files(
    hub: HubProcess, folder: Path
) -> None:
    async with (
        Agent("agni", hub.url, groups=["ops"]) as agni,
        bridge(folder, hub.url, "--agents", "dc,vayu") as process,
    ):
        inbound = Inbound(agni)
        # Into the recipient's inbox, and into its own outbox for what only a hub can deliver.
        drop(folder, letter("dc", "agni", "m1", "to agni", timestamp=1_700_000_000_000))
        outbox = box(folder, "dc", "outbox") / "any name.msg"
        outbox.write_bytes(pack(letter("dc", "#ops", "m2", "to all")))
        outbox.rename(outbox.with_name("1700000000000000-chhg-dkp0.msg"))
        assert sorted(await inbound.until(2)) == ["to agni", "to all"]
        await until(folder, lambda: not files(folder, "agni", "inbox"))
        # Between two that only know files no hub is needed.
        drop(folder, letter("dc", "vayu", "m3", "among us"))
        receipt = await agni.send("dc", {"n": 1}, type="COMMAND", receipt=True)
        assert await receipt.reached("done", timeout=PATIENCE_S) == "dc"
        (command,) = written(folder, "dc")
        assert (command.type, command.sender, command.payload) == ("COMMAND", "agni", {"n": 1})
        assert (command.id, command.seq) == (receipt.id, None)
        # It is accepted again and again; nobody gets it twice.
        await agni.send("dc", {"n": 1}, type="COMMAND", id=receipt.id)
        asking = asyncio.ensure_future(agni.command("dc", "?", timeout=PATIENCE_S))
        await until_files(folder, "dc", "inbox", 2)
        question = written(folder, "dc")[1]
        answer = Envelope("RESULT", id="r1", sender="dc", to="agni", reply_to=question.id)
        answer.payload, answer.timestamp = "!", time.time_ns() // 1_000_000
        drop(folder, answer)
        assert await asking == "!"
        assert len(files(folder, "vayu", "inbox")) == 1
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_on_a_hub_with_keys_each_agent_has_a_token_of_its_own(
    folder: Path, tmp_path: Path
) -> None:
    keys = Keys(tmp_path / "hub")
    tokens = tmp_path / "tokens"
    tokens.mkdir(0o700)
    async with HubProcess(tmp_path / "hub") as hub:
        for name in ("dc", "mac"):
            (tokens / f"{name}.token").touch(0o600)
            (tokens / f"{name}.token").write_text(keys.token(name) + "\n")
        options = ("--agents", "dc", "--v1", "mac", "--tokens", str(tokens))
        async with (
            Agent("agni", hub.url, token=keys.token("agni")) as agni,
            bridge(folder, hub.url, *options),
        ):
            inbound = Inbound(agni)
            drop(folder, letter("dc", "agni", "m1", "proven"))
            assert await inbound.until(1) == ["proven"]
            receipt = await agni.send("mac", {"n": 1}, receipt=True)
            assert await receipt.reached("done", timeout=PATIENCE_S) == "mac"


@pytest.mark.parametrize(
    ("token", "mode", "says"),
    [
        (None, 0o600, "no such file; `broker token create dc` prints what belongs into it"),
        ("letmein", 0o600, "it is not three parts of base64url"),
        ("agni", 0o600, "this token is for 'agni'; it must be for dc"),
        ("dc", 0o644, "others may read it (mode 0644); chmod 600 "),
    ],
)
async def test_a_token_that_does_not_do_is_told_before_anything_is_bridged(
    folder: Path, tmp_path: Path, token: str | None, mode: int, says: str
) -> None:
    path = tmp_path / "dc.token"
    if token is not None:
        keys = Keys(tmp_path / "keys")
        path.touch(mode)
        path.write_text(token if token == "letmein" else keys.token(token))
        path.chmod(mode)
    done = await Broker("ws://127.0.0.1:1")(
        *("bridge", "--folder", str(folder), "--agents", "dc", "--tokens", str(tmp_path))
    )
    assert done.code == 2
    assert done.err.startswith(f"Error: --tokens: {path}: ")
    assert says in done.err
    assert not token or token == "dc" or path.read_text() not in done.err
    assert not (folder / ".bridge.lock").exists()


async def test_what_the_hub_refuses_is_put_aside_with_the_reason_and_told(
    hub: HubProcess, folder: Path
) -> None:
    async with bridge(folder, hub.url, "--agents", "dc", "--v1", "mac"):
        (box(folder, "dc", "outbox") / "1700000000000000-chhg-dkog.msg").write_bytes(
            pack(letter("dc", "nobody", "m1"))
        )
        message = {"id": "x", "from": "mac", "to": "nobody", "type": "ack", "body": 1}
        (folder / "outbox" / "x.json").write_text(json.dumps(message))
        (folder / "outbox" / "y.json").write_text(json.dumps({**message, "to": "a/../b"}))
        _, reason = await until_files(folder, "dc", "rejected", 2)
        text = (box(folder, "dc", "rejected") / reason).read_text()
        assert text.startswith("unknown_recipient: ")
        await until(folder, lambda: (folder / "rejected" / "y.json.reason").exists())
        # Somebody of another host may be meant: it stays for whoever copies the folder there.
        assert [path.name for path in (folder / "outbox").iterdir()] == ["x.json"]


async def test_with_a_key_unsigned_files_are_put_aside(
    hub: HubProcess, folder: Path, tmp_path: Path
) -> None:
    key = Key("k1", b"0123456789abcdef0123456789abcdef")
    (tmp_path / "keys").write_text(f"{key.kid} {key.secret.decode()}\n")
    options = ("--agents", "dc,old", "--v1", "mac", "--key", str(tmp_path / "keys"))
    async with (
        Agent("agni", hub.url) as agni,
        bridge(folder, hub.url, *options, "--unsigned", "old"),
    ):
        inbound = Inbound(agni)
        drop(folder, letter("dc", "agni", "forged", "forged"))
        message = {"id": "x", "from": "mac", "to": "agni", "type": "ack", "body": 1}
        (folder / "outbox" / "x.json").write_text(json.dumps(message))
        await until_files(folder, "dc", "rejected", 2)
        await until(folder, lambda: (folder / "rejected" / "x.json.reason").exists())
        assert "must sign" in (folder / "rejected" / "x.json.reason").read_text()
        drop(folder, letter("dc", "agni", "signed", "signed"), key)
        drop(folder, letter("old", "agni", "unsigned", "unsigned"))
        assert sorted(await inbound.until(2)) == ["signed", "unsigned"]
        # What the bridge writes is signed, so an agent that must sign can tell.
        await agni.send("dc", "news")
        (name,) = await until_files(folder, "dc", "inbox", 1)
        parsed = parse((box(folder, "dc", "inbox") / name).read_bytes())
        assert (parsed.kid, parsed.signature) == ("k1", key.sign(parsed.body))


async def test_files_wait_for_a_hub_that_comes_back(hub: HubProcess, folder: Path) -> None:
    options = ("--agents", "dc", "--v1", "mac")
    async with Agent("agni", hub.url) as agni, bridge(folder, hub.url, *options):
        inbound = Inbound(agni)
        await hub.kill()
        drop(folder, letter("dc", "agni", "m1", "version 2"))
        message = {"id": "x", "from": "mac", "to": "agni", "type": "ack", "body": "version 1"}
        (folder / "outbox" / "x.json").write_text(json.dumps(message))
        await hub.start()
        found = await inbound.until(2)
        assert "version 2" in found
        assert {"body": "version 1"} in found
        await until(folder, lambda: (folder / "done" / "x.json").exists())
        assert len(found) == 2


async def test_one_bridge_a_folder(hub: HubProcess, folder: Path) -> None:
    async with bridge(folder, hub.url, "--v1", "mac") as first:
        broker = Broker(hub.url)
        done = await broker("bridge", "--folder", str(folder))
        assert done.code == 1
        assert f"is bridged by process {first.pid} on" in done.err
    async with bridge(folder, hub.url):  # the folder remembers who is of version 1
        pass


async def test_an_agent_that_has_learnt_to_use_a_hub_is_let_go(
    hub: HubProcess, folder: Path
) -> None:
    async with bridge(folder, hub.url, "--agents", "dc") as process:
        drop(folder, letter("agni", "dc", "m1", "before"))
        async with folder_agent("dc", folder, hub.url) as dc, Agent("agni", hub.url) as agni:
            inbound = Inbound(dc)
            await agni.send("dc", "by hub")
            assert sorted(await inbound.until(2)) == ["before", "by hub"]
            async with asyncio.timeout(PATIENCE_S):
                assert await process.wait() == 1


async def test_a_hub_bridges_its_folder_itself(folder: Path, tmp_path: Path) -> None:
    Layout(folder).mark_version1("mac")
    async with HubProcess(tmp_path / "hub", "--shared-folder", str(folder)) as hub:
        async with Agent("agni", hub.url) as agni:
            inbound = Inbound(agni)
            message = {"id": "x", "from": "mac", "to": "agni", "type": "ack", "body": 1}
            (folder / "outbox" / "x.json").write_text(json.dumps(message))
            assert await inbound.until(1) == [{"body": 1}]
            await agni.send("mac", "hello", id="greeting")
            await until(folder, lambda: (folder / "inbox" / "greeting.json").exists())
        async with HubProcess(tmp_path / "other") as other:
            done = await Broker(other.url)("bridge", "--folder", str(folder))
            assert f"is bridged by process {hub.pid} on" in done.err
        assert await hub.terminate() == 0


async def test_a_hub_with_keys_and_tls_bridges_its_folder_itself(
    folder: Path, tmp_path: Path
) -> None:
    keys = Keys(tmp_path / "hub")
    signed = Authority(tmp_path / "tls").sign(hosts=("hub.example.org",))
    Layout(folder).mark_version1("mac")
    options = ("--tls-cert", str(signed.cert), "--tls-key", str(signed.key))
    async with HubProcess(tmp_path / "hub", "--shared-folder", str(folder), *options):
        message = {"id": "x", "from": "mac", "to": "mac", "type": "ack", "body": 1}
        keys.token("agni")
        (folder / "outbox" / "x.json").write_text(json.dumps(message))
        await until(folder, lambda: len(list((folder / "inbox").glob("*.json"))) == 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--folder", "{tmp}/none"), "folder.path: there is no directory {tmp}/none; make it"),
        (("--folder", "{tmp}"), "folder.agents: name the agents that only know files"),
        (("--folder", "{tmp}", "--agents", "a/b"), "folder.agents: "),
        (("--folder", "{tmp}", "--agents", "a", "--v1", "a"), "'a' is one of folder.agents too"),
        (("--folder", "{tmp}", "--agents", "a", "--key", "{tmp}/k"), "folder.key: "),
        ((), "--folder: name the shared folder"),
    ],
)
async def test_what_cannot_be_bridged_says_why(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = await Broker("ws://127.0.0.1:1/ws")(
        "bridge", *(option.format(tmp=tmp_path) for option in options)
    )
    assert done.code in (1, 2)
    assert said.format(tmp=tmp_path) in done.err


async def test_a_hub_whose_folder_cannot_be_bridged_does_not_start(tmp_path: Path) -> None:
    for name, said in (("none", "folder.path: there is no directory"), (".", "folder.agents: ")):
        hub = HubProcess(tmp_path / f"hub{name}", "--shared-folder", str(tmp_path / name))
        with pytest.raises(RuntimeError, match=f"ended with 3: broker: {said}"):
            async with hub:
                pass


async def test_status_and_clean(tmp_path: Path) -> None:
    async with folder_agent("dc", tmp_path) as dc, folder_agent("agni", tmp_path) as agni:
        await dc.send("agni", 1)
        await (await anext(agni.messages())).done()
        await dc.send("#ops", 2)
        await until_files(tmp_path, "agni", "done", 1)
    Layout(tmp_path).mark_version1("mac")
    drop(tmp_path, letter("dc", "agni", "m1"))
    (box(tmp_path, "agni", "inbox") / ".m2.msg.part").write_text("half")
    (box(tmp_path, "agni", "inbox") / "m3.msg").write_text("half")
    os.utime(box(tmp_path, "agni", "inbox") / ".m2.msg.part", (1, 1))
    broker = Broker("ws://127.0.0.1:1/ws")
    done = await broker("folder", "status", "--folder", str(tmp_path), "--json")
    found: dict[str, Any] = {each["agent"]: each for each in done.json}
    assert found["mac"]["format"] == "v1"
    assert found["dc"]["for_a_hub"] == 1
    assert found["agni"] | {"oldest": 0} == {
        "agent": "agni",
        "format": "v2",
        "waiting": 1,
        "oldest": 0,
        "for_a_hub": 0,
        "done": 1,
        "rejected": 0,
        "partial": 2,
    }
    shown = await broker("folder", "status", "--folder", str(tmp_path))
    assert "agni" in shown.out
    done = await broker("folder", "clean", "--folder", str(tmp_path))
    assert done.out == "removed 0 settled messages, 0 rejected files, 1 half-written file\n"
    done = await broker("folder", "clean", "--folder", str(tmp_path), "--older-than", "0")
    assert done.out.startswith("removed 1 settled message, ")
    assert (await broker("folder", "status", "--folder", str(tmp_path / "no"))).code == 2
