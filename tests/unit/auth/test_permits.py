"""What a token's rights allow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trishula_broker.auth.identity import Identity, Rights, Role
from trishula_broker.auth.permits import (
    matches,
    may_join,
    may_send,
    may_type,
    pattern_fault,
    receive_fault,
    shown,
)
from trishula_protocol.address import AGENT_PATTERN

TYPES = ["COMMAND", "STATUS", "RESULT", "ERROR"]
NAMES = st.from_regex(AGENT_PATTERN).filter(lambda name: name not in ("hub", "broadcast"))


def identity(role: Role = "agent", **rights: tuple[str, ...] | None) -> Identity:
    return Identity("dc", "default", role, "t1", 0, None, Rights(**rights))


@pytest.mark.parametrize("to", ["agni", "#ops", "@review", "broadcast", "hub"])
@pytest.mark.parametrize("who", [None, identity(), identity("operator"), identity(send=("*",))])
def test_without_a_limit_every_address_is_allowed(who: Identity | None, to: str) -> None:
    assert may_send(who, to)


@pytest.mark.parametrize(
    ("send", "allowed", "refused"),
    [
        (("agni",), ["agni"], ["agni2", "agn", "#agni", "@agni", "broadcast"]),
        (("build-*",), ["build-1", "build-"], ["build", "#build-1", "@build-1", "broadcast"]),
        (("#ops", "@review"), ["#ops", "@review"], ["#opsx", "ops", "review", "broadcast"]),
        (("#*",), ["#ops"], ["ops", "@ops", "broadcast"]),
        (("@*",), ["@ops"], ["ops", "#ops", "broadcast"]),
        (("b*",), ["bob", "b"], ["#b", "broadcast", "alice"]),
        (("broadcast",), ["broadcast"], ["broadcaster", "#broadcast", "agni"]),
        ((), [], ["agni", "#ops", "@review", "broadcast", ""]),
    ],
)
def test_addresses_outside_the_patterns_are_refused(
    send: tuple[str, ...], allowed: list[str], refused: list[str]
) -> None:
    who = identity(send=send)
    assert all(may_send(who, to) for to in [*allowed, "hub"])
    assert not any(may_send(who, to) for to in refused)


@pytest.mark.parametrize("send", [None, ("*",), ("agni",)])
def test_an_observer_asks_the_hub_and_sends_nothing(send: tuple[str, ...] | None) -> None:
    who = identity("observer", send=send)
    assert may_send(who, "hub")
    assert not any(may_send(who, to) for to in ("agni", "#ops", "@review", "broadcast"))


def test_groups_capabilities_and_broadcasts_are_joined_as_allowed() -> None:
    assert may_join(None, "#ops")
    assert may_join(identity(), "@python")
    who = identity(receive=("#ops", "@py*"))
    assert [may_join(who, tag) for tag in ("#ops", "@python", "#py", "@ops")] == [
        True,
        True,
        False,
        False,
    ]


def test_types_are_limited_and_what_is_no_message_is_not() -> None:
    assert all(may_type(None, type_) and may_type(identity(), type_) for type_ in TYPES)
    who = identity(types=("STATUS",))
    assert [type_ for type_ in [*TYPES, "ACK", "HEARTBEAT"] if may_type(who, type_)] == [
        "STATUS",
        "ACK",
        "HEARTBEAT",
    ]


@given(NAMES, st.sampled_from(["", "#", "@"]), st.data())
def test_a_beginning_stands_for_what_begins_so(name: str, sign: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(name)))
    pattern = f"{sign}{name[:length]}*"
    assert matches((pattern,), sign + name)
    if pattern != "*":
        assert not matches((pattern,), ("@" if sign == "#" else "#") + name)


@pytest.mark.parametrize(
    "pattern",
    ["*", "#*", "@*", "agni", "#ops", "@review", "broadcast", "build-*", "#o*", "a.b*", "a.*"],
)
def test_patterns(pattern: str) -> None:
    assert pattern_fault(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("", "must be 1-64 characters"),
        ("**", "must be 1-64 characters"),
        ("a*b", "must be 1-64 characters"),
        ("Agni", "must be 1-64 characters"),
        ("#", "must be 1-64 characters"),
        ("a" * 65 + "*", "must be 1-64 characters"),
        ("a..b*", "must be 1-64 characters"),
        ("a b", "must be 1-64 characters"),
        ("a\n*", "must be 1-64 characters"),
        ("con", "some file systems reserve"),
        ("hub", "everybody may ask the hub"),
    ],
)
def test_what_is_no_pattern_is_told(pattern: str, says: str) -> None:
    fault = pattern_fault(pattern)
    assert fault is not None
    assert says in fault


def test_what_one_is_reached_by_has_a_sign() -> None:
    assert [receive_fault(each) for each in ("#ops", "@*", "*")] == [None] * 3
    for name in ("agni", "broadcast", ""):
        assert "by its own name, and by broadcast" in (receive_fault(name) or "")
    assert "must be 1-64" in (receive_fault("#Ops") or "")


def test_patterns_are_shown() -> None:
    assert shown(map(str, range(20))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 8 more"
    assert [shown(each) for each in (None, (), ("agni", "#ops"))] == [
        "everything",
        "nothing",
        "agni, #ops",
    ]
