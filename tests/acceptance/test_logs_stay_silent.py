"""The log tells each thing that matters, and never what messages say, nor a token or a key."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import httpx
import pytest

from tests.support.attacker import wire
from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from tests.support.otlp_receiver import OtlpReceiver
from trishula import Agent, Refused, RemoteError


async def test_a_run_of_everything_tells_nothing_that_was_said(tmp_path: Path) -> None:
    data = tmp_path / "data"
    keys = Keys(data)
    word = secrets.token_hex(12)
    archive_key = secrets.token_hex(32)
    tokens = {
        name: keys.token(name, role="operator" if name == "ops" else "agent")
        for name in ("dc", "agni", "ops", "raw")
    }
    said = {"password": word, word: [word] * 3}
    environ = {"TRISHULA_LOG_LEVEL": "debug", "TRISHULA_AUDIT_KEY": archive_key}
    with OtlpReceiver() as receiver:
        config = tmp_path / "broker.toml"
        config.write_text(f'[tracing]\notlp = "{receiver.url}"\nratio = 1.0\n')
        async with HubProcess(data, "--config", str(config), environ=environ) as hub:
            async with (
                Agent("dc", hub.url, token=tokens["dc"]) as dc,
                Agent("agni", hub.url, token=tokens["agni"]) as agni,
            ):
                await dc.status(word, said)
                await dc.send("agni", said, headers={"x": word}, id="m1")
                mail = agni.messages()
                await (await anext(mail)).reject(word)
                with pytest.raises(Refused, match="duplicate_id"):
                    await dc.send("agni", {"other": word}, id="m1")
                with pytest.raises(Refused, match="unknown_recipient"):
                    await dc.send("nobody", said)
                await dc.send("agni", said, ttl=0.001)
                await dc.send("agni", said)
                await (await anext(mail)).reject(word, requeue=True)

                @agni.on_command
                def fails(message: object) -> None:
                    raise ValueError(word)

                with pytest.raises(RemoteError, match=word):
                    await dc.command("agni", said, timeout=60)
            async with wire(hub.url, tokens["raw"]) as raw:
                await raw.register("raw")
                for wrong in (
                    {"type": "COMMAND", "to": "agni", "payload": said},
                    {"type": "COMMAND", "id": "x", "to": "agni", "payload": said, "priority": word},
                    {"type": "COMMAND", "id": "x", "to": "agni", "payload": said, "headers": word},
                    {"type": "RESULT", "id": "x", "to": "agni", "reply_to": "y", "settles": 9},
                    {"type": "COMMAND", "id": "x", "to": "hub", "payload": {"op": word}},
                    {"type": "COMMAND", "id": "x", "to": "hub", "payload": {"op": "tap"}},
                    {"type": "ACK", "to": "hub", "payload": {"stage": word, "seqs": []}},
                ):
                    assert (await raw.answer(**wrong))["type"] == "ERROR"
                await raw._socket.send(f'{{"type":"COMMAND","payload":"{word}')
                assert (await raw.hear())["payload"]["code"] == "bad_message"
            async with httpx.AsyncClient(
                base_url=hub.http_url, trust_env=False, timeout=60
            ) as client:
                bearer = {"Authorization": f"Bearer {tokens['ops']}"}
                for body in (
                    {"type": "STATUS", "to": "agni", "payload": said},
                    {"type": "STATUS", "to": "agni", "payload": said, "wrong": word},
                    {"type": word, "to": "agni"},
                ):
                    await client.post("/api/v1/messages", json=body, headers=bearer)
                await client.get(f"/api/v1/search?text={word}", headers=bearer)
                await client.get(f"/api/v1/agents?token={tokens['ops']}")
                await client.get("/api/v1/agents", headers={"Authorization": f"Bearer {word}"})
                found = await client.get("/api/v1/deadletters", headers=bearer)
                assert [each["agent"] for each in found.json()["deadletters"]] == ["agni"]
            assert await hub.terminate() == 0
            log = hub.log
    lines = [json.loads(line) for line in log.splitlines()]
    events = {line["event"] for line in lines}
    assert {
        "serving",
        "registered",
        "refused",
        "dead_letter",
        "session_ended",
        "connection_refused",
        "draining",
        "stopped",
    } <= events
    assert all({"level", "timestamp"} <= line.keys() for line in lines)
    assert "bug" not in events, log
    [dead] = [line for line in lines if line["event"] == "dead_letter"]
    assert (dead["agent"], dead["sender"], dead["outcome"]) == ("agni", "dc", "rejected")
    hidden = [word, archive_key, *(token.rpartition(".")[2] for token in tokens.values())]
    hidden += [key["k"] for key in json.loads(keys.path.read_text())["keys"] if "k" in key]
    for secret in hidden:
        assert secret not in log
    assert receiver.seen
    assert word not in repr(receiver.seen)
