"""Traces of messages through real hubs, received as a collector does."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from tests.support.hub_process import HubProcess
from tests.support.otlp_receiver import OtlpReceiver, Seen
from tests.support.two_hubs import two_hubs
from trishula import Agent, Message

STEPS = {"accept", "commit", "deliver", "settle"}
TRACE, SENDER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def settled(times: int, seen: list[Seen]) -> bool:
    return [each.name for each in seen].count("settle") >= times


async def ask(sender: str, receiver: str) -> tuple[str, str]:
    """A question and its answer, from a span of the sender's: its trace and its id."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    async with Agent("dc", sender) as dc, Agent("agni", receiver) as agni:

        @agni.on_command
        def work(message: Message) -> str:
            return f"{trace.get_current_span().get_span_context().trace_id:032x}"

        with tracer.start_as_current_span("ask") as asking:
            told = await dc.command("agni", {"secret": "hush"}, timeout=60)
    ours = asking.get_span_context()
    assert told == f"{ours.trace_id:032x}"
    return told, f"{ours.span_id:016x}"


async def test_one_trace_from_sender_over_the_hub_to_the_receiver_and_back(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        async with HubProcess(tmp_path / "data", "--otlp", receiver.url) as hub:
            trace_id, span_id = await ask(hub.url, hub.url)
            # The question's settlement is in the answer's commit, and the answer is settled too.
            seen = await receiver.until(lambda seen: settled(2, seen))
    assert receiver.paths == {"/v1/traces"}
    assert {each.trace_id for each in seen} == {trace_id}
    assert {each.name for each in seen} == STEPS
    assert len(seen) == 8
    by_id = {each.span_id: each for each in seen}
    for each in seen:
        assert each.began <= each.ended
        assert each.node == "hub"
        if each.name in ("accept", "deliver"):
            assert each.parent_id == span_id
        else:
            parent = by_id[each.parent_id]
            assert parent.name == {"commit": "accept", "settle": "deliver"}[each.name]
    types = [each.attributes["trishula.type"] for each in seen if each.name == "accept"]
    assert types == ["COMMAND", "RESULT"]
    assert "hush" not in repr(seen)


async def test_one_trace_over_two_nodes(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        async with two_hubs(tmp_path, "--otlp", receiver.url) as (one, two):
            trace_id, span_id = await ask(one.url, two.url)
            seen = await receiver.until(lambda seen: settled(2, seen))
    assert {each.trace_id for each in seen} == {trace_id}
    where = {(each.name, each.attributes.get("trishula.type")): each.node for each in seen}
    assert where["accept", "COMMAND"] == where["deliver", "RESULT"] == "one"
    assert where["accept", "RESULT"] == where["deliver", "COMMAND"] == "two"
    for each in seen:
        assert each.began <= each.ended
        if each.name in ("accept", "deliver"):
            assert each.parent_id == span_id


async def test_a_hub_begins_traces_for_a_share_of_what_nobody_traces(tmp_path: Path) -> None:
    config = tmp_path / "broker.toml"
    with OtlpReceiver() as receiver:
        config.write_text(f'[tracing]\notlp = "{receiver.url}/of/its/own"\nratio = 1.0\n')
        async with HubProcess(tmp_path / "data", "--config", str(config)) as hub:
            async with Agent("dc", hub.url) as dc:
                await dc.send("dc", 1)
                await dc.send("dc", 2, headers={"traceparent": f"00-{TRACE}-{SENDER}-00"})
                for _ in range(2):
                    await (await anext(dc.messages())).done()
            assert await hub.terminate() == 0
    seen = receiver.seen  # a hub that ends sends what it has
    assert receiver.paths == {"/of/its/own"}
    assert sorted(each.name for each in seen) == sorted(STEPS)
    assert len({each.trace_id for each in seen}) == 1
    (root,) = [each for each in seen if not each.parent_id]
    assert root.name == "accept"


async def test_a_trace_comes_in_by_http_as_it_does_everywhere(tmp_path: Path) -> None:
    def post(url: str) -> None:
        request = urllib.request.Request(
            f"{url}/api/v1/messages?as=curl",
            json.dumps({"to": "agni", "type": "STATUS", "payload": 1}).encode(),
            {
                "Content-Type": "application/json",
                "traceparent": f"00-{TRACE}-{SENDER}-01",
                "tracestate": "a=1",
            },
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 201

    with OtlpReceiver() as receiver:
        async with (
            HubProcess(tmp_path / "data", "--otlp", receiver.url) as hub,
            Agent("agni", hub.url) as agni,
        ):
            await asyncio.to_thread(post, hub.http_url)
            got = await anext(agni.messages())
            assert got.headers["traceparent"] == f"00-{TRACE}-{SENDER}-01"
            assert got.headers["tracestate"] == "a=1"
            await got.done()
            seen = await receiver.until(lambda seen: settled(1, seen))
    assert {each.trace_id for each in seen} == {TRACE}
    assert {each.name for each in seen} == STEPS


async def test_mail_goes_on_while_no_collector_answers_and_the_log_says_so_once(
    tmp_path: Path,
) -> None:
    with OtlpReceiver(status=400) as receiver:
        async with HubProcess(tmp_path / "data", "--otlp", receiver.url) as hub:
            for times in (1, 2):
                await ask(hub.url, hub.url)
                await receiver.asked(times)
            receiver.status = 200
            await ask(hub.url, hub.url)
            await receiver.until(bool)
            await hub.terminate()  # it sends what is left, and has said all
            lines = [json.loads(line) for line in hub.log.splitlines()]
    (said,) = [line for line in lines if line["event"] == "traces_not_sent"]
    assert "400" in said["why"]
    assert "a collector" in said["todo"]
    assert [line["event"] for line in lines].count("traces_sent_again") == 1


async def test_a_hub_does_not_start_without_what_tracing_takes(tmp_path: Path) -> None:
    without = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from trishula_broker.cli import main; main()"
    )
    command = [sys.executable, "-c", without, "serve", "--port", "0", "--data", str(tmp_path)]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "--otlp", "http://127.0.0.1:4318"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert "pip install 'trishula[otel]'" in done.stderr


async def test_a_hub_that_does_not_trace_imports_nothing_for_it(tmp_path: Path) -> None:
    said = (
        "import sys, trishula_broker.app, trishula_broker.cli.serve\n"
        "assert not [m for m in sys.modules if m.startswith(('opentelemetry', 'google.protobuf'))]"
    )
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", said], check=True, timeout=60)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("collector:4318", "must be http://HOST:PORT"),
        ("grpc://collector:4317", "must be http://HOST:PORT"),
        ("http://:4318", "must be http://HOST:PORT"),
        ("http://collector:port", "must be http://HOST:PORT"),
        ("http://me:hush@collector:4318", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("http://collector:4318/v1/traces?key=hush", "OTEL_EXPORTER_OTLP_HEADERS"),
    ],
)
async def test_a_url_that_is_no_collectors_is_refused(url: str, rule: str) -> None:
    from trishula_broker.config import ConfigError, load

    with pytest.raises(ConfigError, match=f"tracing.otlp: .*{rule}.*--otlp") as caught:
        load({"tracing.otlp": url}, {}, None, Path("/"))
    assert "hush" not in str(caught.value)
