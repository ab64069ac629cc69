"""Addresses: what is one, what is not, and why."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trishula_protocol.address import (
    AGENT_PATTERN,
    Address,
    Kind,
    agent_fault,
    is_id,
    parse_address,
    tag_fault,
)
from trishula_protocol.errors import ErrorCode, ProtocolError

GOOD = ["a", "0", "agni", "dc-2", "a_b", "x.y.z", "rushabdev", "a" * 64, "console", "com", "hubs"]
NOT_NAMES = [
    "",
    " ",
    "Agni",
    "AGNI",
    "a" * 65,
    "-a",
    "_a",
    ".a",
    "a.",
    "a..b",
    "..",
    ".",
    "../etc",
    "a/b",
    "a\\b",
    "a b",
    "a:b",
    "a\n",
    "\na",
    "a\0",
    "a\r",
    "a\t",
    "é",
    "ａ",
    "а",  # Cyrillic
    "١",  # a digit, but not one of 0-9
    "a\u200b",
    "ſ",
    "a@b",
    "a#b",
]
RESERVED = ["con", "prn", "aux", "nul", "com0", "com1", "com9", "lpt1", "lpt9", "con.x", "nul.a.b"]


@pytest.mark.parametrize("name", GOOD)
def test_names_are_addresses_with_and_without_a_sign(name: str) -> None:
    assert parse_address(name) == Address(Kind.AGENT, name)
    assert parse_address("#" + name) == Address(Kind.GROUP, name)
    assert parse_address("@" + name) == Address(Kind.CAPABILITY, name)
    for text in (name, "#" + name, "@" + name):
        assert str(parse_address(text)) == text


@pytest.mark.parametrize("name", NOT_NAMES, ids=ascii)
def test_what_is_no_name_is_refused_with_or_without_a_sign(name: str) -> None:
    assert agent_fault(name)
    assert tag_fault(name)
    for text in (name, "#" + name, "@" + name):
        with pytest.raises(ProtocolError) as refused:
            parse_address(text)
        assert refused.value.code is ErrorCode.BAD_MESSAGE
        assert refused.value.message.startswith("to: ")
        assert "1-64 characters" in refused.value.message


@pytest.mark.parametrize("name", RESERVED)
def test_device_names_are_no_agents_but_may_be_groups(name: str) -> None:
    assert "reserve" in (agent_fault(name) or "")
    with pytest.raises(ProtocolError, match="reserve"):
        parse_address(name)
    assert parse_address("#" + name).name == name


def test_the_protocols_own_names() -> None:
    assert parse_address("hub") == Address(Kind.HUB, "hub")
    assert parse_address("broadcast") == Address(Kind.BROADCAST, "broadcast")
    for name in ("hub", "broadcast"):
        assert "taken" in (agent_fault(name) or "")
        assert str(parse_address(name)) == name
    for text in ("Hub", "hub\n", "broadcast\0", "#", "@", "##a", "#@a", "@#a", "a#", "*"):
        with pytest.raises(ProtocolError):
            parse_address(text)


def test_only_broadcast_and_groups_fan_out() -> None:
    fanning = [
        text for text in ("a", "#a", "@a", "hub", "broadcast") if parse_address(text).fans_out
    ]
    assert fanning == ["#a", "broadcast"]


def test_a_refusal_does_not_repeat_what_is_too_long() -> None:
    with pytest.raises(ProtocolError) as refused:
        parse_address("X" * 100_000)
    assert len(refused.value.message) < 300


@given(st.text(max_size=70))
def test_two_ways_to_say_the_rule_agree(name: str) -> None:
    by_words = (
        0 < len(name) <= 64
        and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-.")
        and name[0] not in "_-."
        and name[-1] != "."
        and ".." not in name
    )
    assert (tag_fault(name) is None) is by_words


@given(st.from_regex(AGENT_PATTERN))
def test_whatever_the_pattern_makes_is_a_safe_file_name(name: str) -> None:
    if agent_fault(name) is None:
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name)
        assert name not in (".", "..")
        assert name == name.casefold()
        assert len(name.encode()) <= 64


@pytest.mark.parametrize("text", ["a", "A.b_c:d-e", "0" * 128, "..", "--", ":"])
def test_ids(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize("text", ["", "a" * 129, "a b", "a\n", "\n", "a\0", "a/b", "é", "a,b", "١"])
def test_no_ids(text: str) -> None:
    assert not is_id(text)
