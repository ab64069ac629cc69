"""docs/protocol.md: its frames are frames, and what it lists is what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from trishula_broker.hub.operations.table import TABLE
from trishula_protocol import bodies, limits
from trishula_protocol.codec import JSON, MSGPACK, encode_json
from trishula_protocol.envelope import Envelope, MessageType
from trishula_protocol.errors import RETRYABLE, CloseCode, ErrorCode
from trishula_protocol.payload import payload_fault

TEXT = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()


class Block(NamedTuple):
    """A fenced frame and who sends it."""

    by: str
    frame: bytes


BLOCKS = [
    Block(found[1], found[2].encode())
    for found in re.finditer(r"^```json (\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
]


def by(sender: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "frame", [block.frame for block in BLOCKS if block.by == sender], ids=lambda f: f[:40]
    )


def envelopes(frame: bytes, *, from_hub: bool) -> list[Envelope]:
    items = JSON.decode(frame, from_hub=from_hub)
    good = [item for item in items if isinstance(item, Envelope)]
    assert good == items
    # Both encodings carry it.
    again = MSGPACK.decode(MSGPACK.frame([MSGPACK.encode(each) for each in good]), from_hub=True)
    assert again == good
    return good


def test_every_block_of_json_says_who_sends_it() -> None:
    assert len(BLOCKS) == TEXT.count("```json")
    assert {block.by for block in BLOCKS} == {"client", "hub"}


@by("client")
def test_what_clients_send_is_accepted(frame: bytes) -> None:
    for envelope in envelopes(frame, from_hub=False):
        assert payload_fault(envelope.payload, encode_json(envelope)) is None
        if envelope.type == "ACK":
            msgspec.convert(envelope.payload, bodies.AgentAck)
        elif envelope.to == "hub":
            msgspec.convert(envelope.payload, bodies.Operation)


@by("hub")
def test_what_the_hub_sends_is_of_its_types(frame: bytes) -> None:
    for envelope in envelopes(frame, from_hub=True):
        assert (envelope.sender == "hub") or envelope.seq is not None
        if envelope.type == "ACK":
            msgspec.convert(envelope.payload, bodies.HubAck)
        elif envelope.type == "ERROR":
            error = msgspec.convert(envelope.payload, bodies.ErrorBody)
            assert error.retryable is (ErrorCode(error.code) in RETRYABLE)
            assert b'"reply_to"' in frame
        elif "session" in (envelope.payload or {}):
            msgspec.convert(envelope.payload, bodies.Registered)


def test_every_field_type_code_and_operation_is_there() -> None:
    named = set(re.findall(r"`([A-Za-z_$]+)`", TEXT))
    fields = {field.encode_name for field in msgspec.structs.fields(Envelope)}
    registration = {field.encode_name for field in msgspec.structs.fields(bodies.Register)}
    assert fields | registration <= named
    assert set(MessageType.__args__) <= named  # type: ignore[attr-defined]
    assert {str(code) for code in ErrorCode} <= named
    assert set(TABLE) | {"register"} <= named
    rows = set(re.findall(r"^\| (\d{4}) \|", TEXT, re.MULTILINE))
    assert {str(int(code)) for code in CloseCode} <= rows


def test_which_codes_are_retryable_is_told_right() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (yes)? ?\|", TEXT, re.MULTILINE))
    told = {code for code in map(str, ErrorCode) if rows[code] == "yes"}
    assert told == {str(code) for code in RETRYABLE}


def test_numbers_are_those_of_the_code() -> None:
    for number in (
        f"{limits.DEFAULT_PORT}",
        f"1 to {limits.BATCH} envelopes",
        f"nesting is at most {limits.PAYLOAD_DEPTH} deep",
        f"up to {limits.HEADERS}, names of 1-{limits.ID_LENGTH} characters, values up to "
        f"{limits.HEADER_LENGTH}",
        f"1 to {limits.AGENT_LENGTH} characters",
        f"1-10 000, {limits.PREFETCH_DEFAULT}",
        f"up to {limits.TAGS} each",
        f"`reason` has up to {limits.REASON_LENGTH} characters",
        f"has {limits.MESSAGE_LENGTH} characters at most",
        f"handed out {limits.DELIVERIES} times",
        "`limit` is 1-1000",
    ):
        assert number in TEXT, number
