"""What copying tools, other programs and bad people do to a shared folder."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from tests.integration.folder.rig import (
    Inbound,
    box,
    drop,
    files,
    folder_agent,
    letter,
    until_files,
)
from trishula.folder.directory import Directory
from trishula.folder.layout import Layout
from trishula_protocol.folder_file import file_name, pack
from trishula_protocol.folder_key import Key

KEY = Key("k1", b"0123456789abcdef0123456789abcdef")


def key_file(tmp_path: Path, *keys: Key) -> Path:
    path = tmp_path / "keys"
    path.write_text("".join(f"{key.kid} {key.secret.decode()}\n" for key in keys))
    return path


async def last(folder: Path, inbound: Inbound, count: int) -> None:
    """Wait until what was dropped before has been looked at: the next letter has come."""
    drop(folder, letter("dc", "agni", f"last{count}", "last"))
    assert (await inbound.until(count))[-1] == "last"


async def test_half_a_file_is_left_alone_until_it_is_whole(tmp_path: Path) -> None:
    agni = folder_agent("agni", tmp_path)
    inbound = Inbound(agni)
    whole = pack(letter("dc", "agni", "m1", "x" * 1000))
    path = box(tmp_path, "agni", "inbox") / file_name(1, "dc", "m1")
    async with agni:
        path.write_bytes(whole[:500])
        (path.parent / "notes.txt").write_text("somebody else's")
        (path.parent / "empty.msg").touch()
        await last(tmp_path, inbound, 1)
        path.write_bytes(whole[:-1] + b"\0")
        await last(tmp_path, inbound, 2)
        path.write_bytes(whole)
        assert (await inbound.until(3))[2] == "x" * 1000
        await until_files(tmp_path, "agni", "done", 3)
    assert files(tmp_path, "agni", "inbox") == ["empty.msg", "notes.txt"]
    assert files(tmp_path, "agni", "rejected") == []


async def test_one_message_under_several_names_is_delivered_once(tmp_path: Path) -> None:
    agni = folder_agent("agni", tmp_path)
    inbound = Inbound(agni)
    async with agni:
        message = letter("dc", "agni", "m1", "once")
        stamp = time.time_ns() // 1000
        name = file_name(stamp, "dc", "m1")
        conflict = name.replace(".msg", ".sync-conflict-20260210-000200-ABCDEFG.msg")
        drop(tmp_path, message, name=name)
        drop(tmp_path, message, name=conflict)
        await last(tmp_path, inbound, 2)
        await until_files(tmp_path, "agni", "inbox", 0)
        # Settled, and then once more, under a third name.
        drop(tmp_path, message, name=file_name(stamp + 1, "dc", "m1"))
        drop(tmp_path, message, name="copy of it.msg")
        await last(tmp_path, inbound, 3)
        await until_files(tmp_path, "agni", "inbox", 0)
    assert inbound.payloads == ["once", "last", "last"]
    assert len(files(tmp_path, "agni", "done")) == 3


async def test_symlinks_pipes_and_directories_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside.msg"
    outside.write_bytes(pack(letter("dc", "agni", "m1", "not from here")))
    agni = folder_agent("agni", folder)
    inbound = Inbound(agni)
    async with agni:
        inbox = box(folder, "agni", "inbox")
        (inbox / "link.msg").symlink_to(outside)
        (inbox / "directory.msg").mkdir()
        os.mkfifo(inbox / "pipe.msg")
        with (inbox / "huge.msg").open("wb") as huge:
            huge.truncate(1 << 30)
        await last(folder, inbound, 1)
        await until_files(folder, "agni", "done", 1)
    assert inbound.payloads == ["last"]
    assert outside.exists()
    assert len(files(folder, "agni", "inbox")) == 4
    assert "a symlink is not followed" in caplog.text


async def test_a_directory_that_is_a_symlink_is_not_entered(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    for which in ("inbox", "done", "rejected"):
        (outside / which).mkdir(parents=True)
    async with folder_agent("dc", folder) as dc:
        (folder / "agents" / "agni").symlink_to(outside)
        # It is no agent's place, so this is mail that only a hub can deliver.
        await dc.send("agni", 1)
        assert len(files(folder, "dc", "outbox")) == 1
    assert list((outside / "inbox").iterdir()) == []
    with pytest.raises(NotADirectoryError):
        Layout(folder).box("agni", "inbox")


@pytest.mark.parametrize("name", ["..", ".", "../dc", "a/b", "", "con", "Agni", "agni.", "hub"])
def test_names_that_lead_elsewhere_are_refused_before_anything_is_touched(
    tmp_path: Path, name: str
) -> None:
    layout = Layout(tmp_path / "not there")
    with pytest.raises(ValueError, match=re.escape(f"agent {name!r}")):
        layout.box(name, "inbox")
    with pytest.raises(ValueError, match="agent"):
        layout.make(name)


async def test_files_that_name_a_path_or_another_recipient_are_put_aside(tmp_path: Path) -> None:
    agni = folder_agent("agni", tmp_path)
    inbound = Inbound(agni)
    async with agni:
        for number, (sender, to) in enumerate([("../../dc", "agni"), ("dc", "../dc"), ("dc", "x")]):
            message = letter(sender, "agni", f"m{number}")
            message.to = to
            path = box(tmp_path, "agni", "inbox") / f"{number}.msg"
            path.write_bytes(pack(message))
        names = await until_files(tmp_path, "agni", "rejected", 6)
        await last(tmp_path, inbound, 1)
    rejected = box(tmp_path, "agni", "rejected")
    reasons = [(rejected / name).read_text() for name in names if name.endswith(".reason")]
    assert "from: agent '../../dc'" in reasons[0]
    assert "to: agent '../dc'" in reasons[1]
    assert reasons[2] == "to: it is for x, and lies in the inbox of agni\n"


async def test_a_file_that_cannot_be_read_does_not_keep_others_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = Directory.read
    denied = True

    def refusing(self: Directory, name: str, most: int) -> bytes:
        if denied and name == "locked.msg":
            raise PermissionError(13, "Permission denied", name)
        return read(self, name, most)

    monkeypatch.setattr(Directory, "read", refusing)
    agni = folder_agent("agni", tmp_path)
    inbound = Inbound(agni)
    async with agni:
        path = drop(tmp_path, letter("dc", "agni", "m1", "locked"), name="locked.msg")
        await last(tmp_path, inbound, 1)
        assert "Permission denied" in caplog.text
        denied = False
        path.chmod(0o600)
        assert (await inbound.until(2))[1] == "locked"


async def test_without_a_key_files_cannot_be_forged(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    keys = key_file(tmp_path, KEY)
    agni = folder_agent("agni", folder, folder_key=keys)
    inbound = Inbound(agni)
    async with agni, folder_agent("dc", folder, folder_key=keys) as dc:
        drop(folder, letter("dc", "agni", "forged", 1))
        drop(folder, letter("dc", "agni", "other", 1), Key("k1", b"x" * 32))
        drop(folder, letter("dc", "agni", "newer", 1), Key("k2", b"x" * 32))
        names = await until_files(folder, "agni", "rejected", 6)
        await dc.send("agni", "genuine")
        assert await inbound.until(1) == ["genuine"]
        # A letter to somebody else, signed as it is, is no letter to agni.
        drop(folder, letter("dc", "vayu", "moved", 1), KEY)
        (moved,) = box(folder, "vayu", "inbox").iterdir()
        moved.rename(box(folder, "agni", "inbox") / moved.name)
        await until_files(folder, "agni", "rejected", 8)
    rejected = box(folder, "agni", "rejected")
    reasons = {(rejected / name).read_text() for name in names if name.endswith(".reason")}
    assert reasons == {
        "not signed, and its sender must sign\n",
        "the signature is not that of key 'k1'\n",
        "signed with key 'k2', which is not in the key file\n",
    }


async def test_a_forged_file_is_kept_beside_another_of_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    agni = folder_agent("agni", folder, folder_key=key_file(tmp_path, KEY))
    name = file_name(1, "dc", "m1")
    async with agni:
        for count, payload in enumerate(["a", "b", "b"], 1):
            drop(folder, letter("dc", "agni", "m1", payload, timestamp=1), name=name)
            await until_files(folder, "agni", "inbox", 0)
            await until_files(folder, "agni", "rejected", 2 * min(count, 2))


async def test_version_1_files_are_read_as_envelopes(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    message = {
        "id": "20260210T000200Z_mac_agni_agent_redesign",
        "from": "Mac",
        "to": "Agni",
        "type": "task",
        "priority": "urgent",
        "subject": "Agent redesign",
        "body": "please",
        "timestamp": "2026-02-10T00:02:00Z",
    }
    text = json.dumps(message)
    path = inbox / f"{message['id']}.json"
    path.write_text(text[:40])
    (inbox / "other.json").write_text(json.dumps({**message, "to": "dc"}))
    (inbox / "broken.json").write_text(json.dumps({**message, "id": "x", "from": "../mac"}))
    async with folder_agent("agni", tmp_path) as agni:
        names = await until_files(tmp_path, "agni", "rejected", 2)
        assert names == ["broken.json", "broken.json.reason"]
        path.write_text(text)
        got = await anext(agni.messages())
        assert (got.type, got.sender, got.priority) == ("COMMAND", "mac", 1)
        assert got.payload == {"subject": "Agent redesign", "body": "please"}
        await got.done()
        await until_files(tmp_path, "agni", "done", 1)
    assert [each.name for each in inbox.iterdir()] == ["other.json"]


async def test_an_agent_that_only_understands_version_1_is_written_to_in_it(tmp_path: Path) -> None:
    Layout(tmp_path).root.mkdir(exist_ok=True)
    Layout(tmp_path).mark_version1("mac")
    async with folder_agent("agni", tmp_path) as agni:
        await agni.send("mac", {"subject": "hi", "body": "there"}, type="COMMAND", id="task-1")
        await agni.send("mac", "news", id="../x".replace("/", ":"))
        plain, odd = sorted(path.name for path in (tmp_path / "inbox").iterdir())[::-1]
        assert plain == "task-1.json"
        assert re.fullmatch(r"[0-9a-w-]+\.json", odd)
        found = json.loads((tmp_path / "inbox" / plain).read_text())
        assert (found["type"], found["from"], found["subject"]) == ("task", "agni", "hi")
        # The script has read and removed it; the same message does not come once more.
        (tmp_path / "inbox" / plain).unlink()
        await agni.send("mac", {"subject": "hi", "body": "there"}, type="COMMAND", id="task-2")
    assert sorted(path.name for path in (tmp_path / "inbox").iterdir()) == [odd, "task-2.json"]


async def test_names_that_are_too_long_or_no_text_do_not_stop_the_reading(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    agni = folder_agent("agni", tmp_path)
    inbound = Inbound(agni)
    async with agni:
        message = json.dumps({"from": "mac", "to": "agni", "body": 1}).encode()
        (inbox / ("ü" * 125 + ".json")).write_bytes(message)
        (Path(os.fsdecode(os.fsencode(inbox) + b"/\xff\xfe.json"))).write_bytes(message)
        (box(tmp_path, "agni", "inbox") / ("x" * 250 + ".msg")).write_bytes(
            pack(letter("../dc", "agni", "m1"))
        )
        await last(tmp_path, inbound, 1)
    rejected = box(tmp_path, "agni", "rejected")
    reasons = {path.read_text() for path in rejected.glob("*.reason")}
    assert len(reasons) == 3
    assert any("not valid Unicode" in reason for reason in reasons)
