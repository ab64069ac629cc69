"""``folder_mode``: all agents are ordered to their shared folder, and back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.hub_bench import Bench, Peer
from tests.unit.hub.test_nodes import agent, make_pair


def told(peer: Peer) -> list[bool]:
    """What its heartbeats said of it."""
    return [
        each["payload"].get("folder_mode", False)
        for each in peer.take()
        if each["type"] == "HEARTBEAT"
    ]


def order(peer: Peer, on: bool | None = None, **fields: Any) -> Any:
    given = {} if on is None else {"on": on}
    return peer.ask("folder_mode", **given, **fields)["payload"]


def test_everybody_is_told_at_once_and_with_every_heartbeat() -> None:
    bench = Bench()
    operator, agni = bench.agent("op"), bench.agent("agni", folder=True)
    side = bench.agent("agni", receive=False)
    order(operator, True, reason="audit")
    assert [told(agni), told(side)] == [[True], [True]]
    agni.send({"type": "HEARTBEAT"})
    assert told(agni) == [True]
    order(operator, False)
    agni.send({"type": "HEARTBEAT"})
    assert told(agni) == [False, False]


def test_ordered_again_with_another_reason_nobody_is_told_again() -> None:
    bench = Bench()
    operator, agni = bench.agent("op"), bench.agent("agni", folder=True)
    order(operator, True)
    told(agni)
    assert order(operator, True, reason="late")["reason"] == "late"
    assert told(agni) == []


def test_the_answer_says_who_goes_by_files_and_who_does_not() -> None:
    bench = Bench()
    operator = bench.agent("op", receive=False)
    bench.agent("agni", folder=True)
    bench.agent("dc")
    bench.agent("away", folder=True).drop()
    assert order(operator) == {
        "on": False,
        "reason": "",
        "since": None,
        "with_folder": 1,
        "without_folder": ["dc"],
        "more": 0,
    }
    answer = order(operator, True, reason="why")
    assert (answer["on"], answer["reason"], answer["without_folder"]) == (True, "why", ["dc"])
    assert answer["since"] == bench.now.wall
    assert order(operator) == answer
    assert bench.agent("eye").ask("nodes")["payload"]["folder_mode"] == {
        "reason": "why",
        "since": answer["since"],
    }
    assert bench.hub.describe(bench.now)["folder_mode"]["reason"] == "why"
    [agni] = [
        each
        for each in operator.ask("agents", online=True)["payload"]["agents"]
        if "folder" in each
    ]
    assert agni["id"] == "agni"


def test_many_agents_without_a_folder_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trishula_broker.hub.operations.folder_mode.NAMED", 2)
    bench = Bench()
    for name in ("a", "b", "c", "d"):
        bench.agent(name)
    answer = order(bench.agent("op", receive=False), True)
    assert (answer["without_folder"], answer["more"]) == (["a", "b"], 2)


def test_who_comes_later_is_told_when_it_registers_also_after_a_restart() -> None:
    bench = Bench()
    order(bench.agent("op"), True)
    for _ in range(2):
        answer = bench.peer().ask("register", agent="agni", folder=True)
        assert answer["payload"]["folder_mode"] is True
        bench.restart()
    order(bench.agent("op"), False)
    answer = bench.peer().ask("register", agent="agni", folder=True)
    assert "folder_mode" not in answer["payload"]


def test_another_node_hears_of_it_with_its_next_beat() -> None:
    pair = make_pair()
    one, other = pair
    operator, agni = agent(one, "op"), agent(other, "agni", folder=True)
    order(operator, True, reason="why")
    assert told(agni) == []
    pair.advance(1_500)
    assert told(agni) == [True]
    assert order(agent(other, "op2"))["reason"] == "why"
    order(operator, False)
    pair.advance(1_500)
    assert told(agni) == [False]
