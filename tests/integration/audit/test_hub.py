"""A real hub's archive, by the command that reads it: nothing of a hub is needed for that."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import random
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.command import Broker, Done
from tests.integration.folder.rig import until
from tests.support.hub_process import HubProcess
from tests.support.trails import NAME, as_file
from trishula import Agent
from trishula_broker.audit import segment

KEY = "00" * 31 + "01"
SECRET = "swordfish"


async def audit(*args: str, data: Path | None = None, **environ: str) -> Done:
    given = () if data is None else ("--data", str(data))
    return await Broker("ws://127.0.0.1:1/ws")("audit", *args, *given, env=environ)


async def exchange(hub: HubProcess, *payloads: Any) -> list[str]:
    """dc sends, agni is done; the ids."""
    ids = []
    async with Agent("agni", [hub.url]) as agni, Agent("dc", [hub.url]) as dc:
        for payload in payloads:
            await dc.send("agni", payload, thread="build-17")
            message = await anext(agni.messages())
            await message.done()
            ids.append(message.id)
    return ids


async def health(hub: HubProcess) -> dict[str, Any]:
    def get() -> Any:
        with urllib.request.urlopen(f"{hub.http_url}/health") as answer:
            return json.load(answer)

    found: dict[str, Any] = await asyncio.to_thread(get)
    return found


def tamper(data: Path, old: bytes, new: bytes) -> None:
    """Change what an archive's only segment says."""
    [each] = segment.segments(NAME.folder(data / "audit"))
    text = segment.read(each, NAME, None).text
    assert old in text
    each.path.write_bytes(as_file(each, text.replace(old, new, 1), None))


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubProcess]:
    async with HubProcess(tmp_path / "data") as running:
        yield running


async def test_an_archive_is_verified_while_the_hub_runs_and_after(hub: HubProcess) -> None:
    await exchange(hub, {"n": 1}, {"n": 2})
    done = await audit("verify", data=hub.data)
    assert done.code == 0, done
    assert await hub.terminate() == 0
    done = await audit("verify", data=hub.data)
    assert done.code == 0, done
    assert "trail default of hub: whole" in done.out
    assert "local of hub: whole" in done.out
    assert "came after the head" not in done.out  # a hub that ends leaves nothing behind


async def test_what_was_done_to_it_is_said_and_ends_with_1(hub: HubProcess) -> None:
    await exchange(hub, {"n": 1}, {"n": 2})  # the second is in the clear, and can be changed
    await hub.terminate()
    tamper(hub.data, b'{"n":2}', b'{"n":3}')
    done = await audit("verify", "--json", data=hub.data)
    assert done.code == 1
    [report, _] = json.loads(done.out)
    assert "was changed" in report["findings"][0]["what"]
    assert report["findings"][0]["segment"] == "00000001.open.jsonl.zst"
    # Far from its store it says what it cannot see.
    moved = hub.data.parent / "elsewhere"
    moved.mkdir()
    (hub.data / "audit").rename(moved / "audit")
    done = await audit("verify", str(moved / "audit"), data=moved)
    assert "out of reach" in done.out


async def test_the_life_of_a_message_is_shown(hub: HubProcess) -> None:
    [id_] = await exchange(hub, {"text": "hällo"})
    await hub.terminate()
    done = await audit("show", id_, data=hub.data)
    assert done.code == 0, done
    events = [line.split()[1] for line in done.out.splitlines() if line.startswith("20")]
    assert events == ["accepted", "delivered", "done"]
    assert "hällo" in done.out
    shown = json.loads((await audit("show", id_, "--json", data=hub.data)).out)
    assert [moment["event"] for moment in shown["messages"][0]["moments"]] == events
    done = await audit("show", "nobody-sent-this", data=hub.data)
    assert done.code == 1
    assert "no message nobody-sent-this" in done.err


async def test_records_are_searched_and_exported(hub: HubProcess) -> None:
    ids = await exchange(hub, {"n": 1}, {"n": 22})
    await hub.terminate()
    for args, expected in [
        (("--from", "dc", "--to", "agni", "--type", "STATUS", "--since", "1h"), ids),
        (("--thread", "build-17", "--text", '"n":22'), ids[1:]),
        (("--from", "agni", "--namespace", "default"), []),
        (("--from", "dc", "--until", "2001-01-01"), []),
    ]:
        done = await audit("search", "--json", *args, data=hub.data)
        assert done.code == 0, done
        assert [json.loads(line)["id"] for line in done.out.splitlines()] == expected, args
    lines = (await audit("export", data=hub.data)).out.splitlines()
    assert [json.loads(line)["event"] for line in lines].count("accepted") == 2
    rows = list(
        csv.DictReader(io.StringIO((await audit("export", "--format", "csv", data=hub.data)).out))
    )
    assert [row["id"] for row in rows if row["event"] == "accepted"] == ids
    assert len(rows) == len(lines)
    for bad, needle in [
        (("--event", "acepted"), "there are accepted, delivered"),
        (("--type", "mail"), "'command', 'status'"),
    ]:
        done = await audit("search", *bad, data=hub.data)
        assert (done.code, done.out) == (2, ""), bad
        assert needle in done.err
    done = await audit("search", "--type", "status", "--event", "Accepted", data=hub.data)
    assert [line.split()[2] for line in done.out.splitlines()] == ["accepted"] * 2
    done = await audit("search", "--from", "nobody", data=hub.data)
    assert (done.code, done.out) == (0, "")
    assert "no record fits" in done.err
    done = await audit("search", data=hub.data)
    told = [line.split() for line in done.out.splitlines()]
    assert [at for at, *_ in told] == sorted(at for at, *_ in told)
    assert {"connected", "registered"} <= {event for _, _, event, *_ in told}
    assert {who for _, _, event, who, *_ in told if event == "done"} == {"agni"}
    done = await audit("search", "--since", "yesterday", data=hub.data)
    assert done.code == 2
    assert "is no time" in done.err


async def test_an_encrypted_archive_needs_its_key(tmp_path: Path) -> None:
    hub = HubProcess(
        tmp_path / "data",
        environ={"TRISHULA_AUDIT_KEY": KEY, "TRISHULA_AUDIT_REDACT": "payload.password"},
    )
    async with hub:
        [id_] = await exchange(hub, {"password": SECRET})
        await hub.terminate()
    for path in (hub.data / "audit").rglob("*.jsonl*"):
        assert path.suffix == ".enc"
        assert id_.encode() not in path.read_bytes()
    assert KEY not in hub.log
    done = await audit("verify", data=hub.data, TRISHULA_AUDIT_KEY=KEY)
    assert done.code == 0, done
    done = await audit("show", id_, data=hub.data, TRISHULA_AUDIT_KEY=KEY)
    assert "$redacted" in done.out
    assert SECRET not in done.out
    done = await audit("verify", data=hub.data)
    assert done.code == 1
    assert "no key was given" in done.out
    assert "cannot be verified without its key" in done.err
    assert "cut off" not in done.out  # nobody can know that without the key
    for args in (("search",), ("export",), ("show", id_)):
        done = await audit(*args, data=hub.data)
        assert (done.code, done.out) == (1, ""), args
        assert "could be read" in done.err
    with pytest.raises(RuntimeError, match="key"):  # and the hub does not go on in clear
        await HubProcess(hub.data).start()


async def test_a_hub_that_cannot_archive_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeError, match=r"--no-audit"):
        await HubProcess(tmp_path / "data", "--audit", str(tmp_path / "file" / "audit")).start()
    async with HubProcess(tmp_path / "data", "--no-audit") as hub:
        await exchange(hub, 1)
        assert (await health(hub))["audit"] == {"enabled": False}
    assert not (tmp_path / "data" / "audit").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only who may mount can have a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_stops_acceptance_and_nothing_is_lost(
    tmp_path: Path, small_disk: Path
) -> None:
    filler = small_disk / "filler"
    async with HubProcess(tmp_path / "data", "--audit", str(small_disk / "audit")) as hub:
        async with (
            Agent("agni", [hub.url]) as agni,
            Agent("dc", [hub.url]) as dc,
        ):
            await _send(dc, range(5))
            filler.write_bytes(bytes(small_disk_room(small_disk)))
            await _send(dc, range(5, 6))  # accepted, and found not to fit
            await until(hub.log_path.parent, lambda: "audit_unavailable" in hub.log)
            sending = asyncio.create_task(_send(dc, range(6, 20)))
            report = await health(hub)
            assert report["status"] == "degraded"
            assert "No space left" in report["why"]
            done = await Broker(hub.url)("send", "agni", "{}", "--timeout", "8", "--until", "done")
            assert done.code == 4
            assert "accepts nothing now" in done.err
            assert "No space left" in done.err
            got: list[int] = []
            async for message in agni.messages():  # what was accepted goes on
                got.append(message.payload["n"])
                await message.done()
                if len(got) == 6:
                    assert not sending.done()
                    filler.unlink()
                if len(got) == 20:
                    break
            await asyncio.wait_for(sending, 60)
        assert got == list(range(20))
        assert (await health(hub))["status"] == "ok"
        assert "audit_unavailable" in hub.log
        assert "audit_available" in hub.log
        await hub.terminate()
        done = await audit("verify", str(small_disk / "audit"), data=hub.data)
        assert done.code == 0, done
        done = await audit("search", "--from", "dc", "--json", "--audit", str(small_disk / "audit"))
        assert len(done.out.splitlines()) == 20


def small_disk_room(folder: Path) -> int:
    free = os.statvfs(folder)
    return free.f_bavail * free.f_bsize


async def _send(dc: Agent, numbers: range) -> None:
    for n in numbers:
        fill = random.Random(n).randbytes(6_000).hex()  # more than a page, also compressed
        await dc.send("agni", {"n": n, "fill": fill})
