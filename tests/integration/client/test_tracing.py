"""A trace goes with a message, into its handler, and back with the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanContext, Tracer

from tests.support.hub_process import HubProcess
from trishula import Agent, Message, sync
from trishula.tracing import find_tracing


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    """Makes real spans, which nobody collects."""
    provider = TracerProvider(shutdown_on_exit=False)
    yield provider.get_tracer("tests")
    provider.shutdown()


def current() -> SpanContext:
    return trace.get_current_span().get_span_context()


async def test_from_sender_to_handler_and_back(tmp_path: Path, tracer: Tracer) -> None:
    handled: list[SpanContext] = []
    async with HubProcess(tmp_path / "data") as hub:
        with tracer.start_as_current_span("entered in"):  # is no message's
            agni = Agent("agni", hub.url)
            await agni.__aenter__()
        try:

            @agni.on_command
            async def work(message: Message) -> str:
                handled.append(current())
                with tracer.start_as_current_span("work"):
                    await agni.send("dc", "from the handler")
                    await message.progress("half")
                return message.headers.get("traceparent", "")

            async with Agent("dc", hub.url) as dc:
                with tracer.start_as_current_span("ask") as asking:
                    told = await dc.command("agni", timeout=60)
                ours = asking.get_span_context()
                assert told.startswith(f"00-{ours.trace_id:032x}-{ours.span_id:016x}-0")
                assert (handled[0].trace_id, handled[0].span_id) == (ours.trace_id, ours.span_id)
                from_handler = await anext(dc.messages())
                assert from_handler.headers["traceparent"][3:35] == f"{ours.trace_id:032x}"
                await from_handler.done()
                # Without a span there is no trace, whatever agni was entered in.
                assert await dc.command("agni", timeout=60) == ""
                assert not handled[1].is_valid
        finally:
            await agni.close()


@pytest.mark.parametrize("with_otel", [True, False], ids=["with", "without"])
async def test_an_answer_continues_the_trace(
    tmp_path: Path, tracer: Tracer, monkeypatch: pytest.MonkeyPatch, with_otel: bool
) -> None:
    async with HubProcess(tmp_path / "data") as hub, Agent("dc", hub.url) as dc:
        if not with_otel:
            monkeypatch.setattr("trishula.sending.find_tracing", lambda: None)
        async with Agent("agni", hub.url) as agni:
            assert (agni._engine.sending.tracing is None) is not with_otel
            with tracer.start_as_current_span("send") as sending:
                await dc.send("agni", type="COMMAND")
            got = await anext(agni.messages())
            await got.reply("here")  # outside of any span
            answer = await anext(dc.messages())
            assert answer.headers["traceparent"] == got.headers["traceparent"]
            assert f"{sending.get_span_context().trace_id:032x}" in answer.headers["traceparent"]
            await answer.done()


async def test_the_synchronous_agent_does_so_too(tmp_path: Path, tracer: Tracer) -> None:
    def scene(url: str) -> None:
        with sync.Agent("dc", url) as dc, sync.Agent("agni", url) as agni:

            @agni.on_command
            def work(message: sync.Message) -> str:
                return f"{current().trace_id:032x}"

            with tracer.start_as_current_span("ask") as asking:
                ours = f"{asking.get_span_context().trace_id:032x}"
                assert dc.command("agni", timeout=60) == ours
            assert int(dc.command("agni", timeout=60), 16) == 0

    assert find_tracing() is not None
    async with HubProcess(tmp_path / "data") as hub:
        await asyncio.to_thread(scene, hub.url)
