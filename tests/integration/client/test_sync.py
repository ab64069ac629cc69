"""trishula.sync: the same agent for programs without asyncio."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.client.scripted_hub import ScriptedHub, hub
from trishula import AgentClosed, Refused, RemoteError
from trishula import agent as asynchronous
from trishula.sync import Agent, Message


@pytest.fixture
def found() -> Iterator[ScriptedHub]:
    """A hub in a thread of its own."""
    ready = threading.Event()
    made: list[Any] = []

    async def serve() -> None:
        async with hub() as running:
            stop = asyncio.Event()
            made.extend([running, asyncio.get_running_loop(), stop])
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    running, loop, stop = made
    yield running
    loop.call_soon_threadsafe(stop.set)
    thread.join()


def test_sending_receiving_and_settling(found: ScriptedHub) -> None:
    with Agent("dc", found.url) as dc, Agent("agni", found.url) as agni:
        receipt = dc.send("agni", {"n": 1})
        message = next(agni.messages())
        assert (message.id, message.payload, message.sender) == (receipt.id, {"n": 1}, "dc")
        message.done()
        assert dc.agents() == [{"id": "agni"}, {"id": "dc"}]
        assert list(agni.messages(timeout=0.01)) == []
    assert found.settled == [1]
    assert dc.state == "closed"


def test_handlers_run_in_threads_and_may_use_the_agent(found: ScriptedHub) -> None:
    with Agent("dc", found.url) as dc, Agent("agni", found.url) as agni:
        progress: list[Any] = []

        @agni.on_command
        def work(message: Message) -> Any:
            if message.payload == "fail":
                raise RemoteError("no", "never")
            message.progress({"thread": threading.current_thread().name[:16]})
            agni.send("dc", "by the way")
            return [message.payload]

        assert dc.command("agni", 1, timeout=60, on_progress=progress.append) == [1]
        assert progress == [{"thread": "trishula-handler"}]
        assert next(dc.messages()).payload == "by the way"
        with pytest.raises(RemoteError, match="no: never"):
            dc.command("agni", "fail", timeout=60)


def test_errors_are_those_of_the_agent(found: ScriptedHub) -> None:
    before = set(threading.enumerate())
    agent = Agent("dc", found.url)
    with pytest.raises(AgentClosed, match="is not entered"):
        agent.send("agni", 1)
    with agent:
        with pytest.raises(ValueError, match="to: agent 'No'"):
            agent.send("No")
        with pytest.raises(TimeoutError):
            agent.command("agni", timeout=0.01)
    with pytest.raises(AgentClosed, match="was entered before"):
        agent.__enter__()
    assert set(threading.enumerate()) <= before


def test_what_a_reader_was_given_and_did_not_take_is_given_to_the_next(
    found: ScriptedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Agent("dc", found.url) as dc, Agent("agni", found.url) as agni:
        dc.send("agni", 1)
        loop = agni._loop
        call = loop.call

        def interrupted(work: Any) -> Any:
            call(work)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(loop, "call", interrupted)
            with pytest.raises(KeyboardInterrupt):
                next(agni.messages())
        message = next(agni.messages())
        assert message.payload == 1
        message.done()


def test_it_can_do_all_that_the_agent_can() -> None:
    def public(kind: type) -> dict[str, Any]:
        return {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")}

    theirs, ours = public(asynchronous.Agent), public(Agent)
    assert theirs.keys() - ours.keys() == {"give_back", "run_until"}
    for name in ("status", "join", "leave", "peek", "history", "trace", "recall", "deregister"):
        expected = inspect.signature(theirs[name]).parameters
        assert dict(inspect.signature(ours[name]).parameters) == dict(expected)


def test_what_the_hub_is_asked(found: ScriptedHub) -> None:
    states: list[str] = []
    agent = Agent("dc", found.url)
    agent.on_state(states.append)
    with agent:
        assert agent.url == found.url
        assert agent.status("busy", {"n": 1}) == {"op": "status"}
        assert agent.join("ops") == {"op": "join"}
        assert agent.leave("ops") == {"op": "leave"}
        assert agent.peek(3) == {"op": "peek"}
        assert agent.history("t", after=2, limit=5) == {"op": "history"}
        assert agent.trace("m1") == {"op": "trace"}
        assert agent.deregister() == {"op": "deregister"}
        with pytest.raises(Refused, match="forbidden: it was read"):
            agent.recall("m1")
    asked = [each.payload for each in found.seen if each.to == "hub"][1:]
    assert asked[0] == {"op": "status", "text": "busy", "details": {"n": 1}}
    assert asked[4] == {"op": "history", "thread": "t", "after": 2, "limit": 5}
    assert asked[-1] == {"op": "recall", "id": "m1"}
    assert states == ["connecting", "active", "closing", "closed"]
