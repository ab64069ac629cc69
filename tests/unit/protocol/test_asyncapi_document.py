"""docs/asyncapi.yaml is what the types of the protocol make it, and its examples are good."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest

from tests.support import asyncapi
from tests.support.yaml_text import to_yaml
from trishula_broker.hub.operations.table import TABLE
from trishula_protocol import bodies, limits
from trishula_protocol.codec import JSON
from trishula_protocol.envelope import Envelope, MessageType
from trishula_protocol.errors import CloseCode, ErrorCode

DOCUMENT = asyncapi.document()
MESSAGES = DOCUMENT["components"]["messages"]
SCHEMAS = DOCUMENT["components"]["schemas"]
FROM_HUB = {
    "mail",
    "acknowledgement",
    "refusal",
    "answer",
    "registered",
    "renewed",
    "news",
    "clock",
}


def references(value: Any) -> Iterator[str]:
    """All that the document points to inside itself."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "$ref":
                yield each
            else:
                yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_the_file_is_what_the_types_make_it() -> None:
    assert asyncapi.FILE.read_text() == asyncapi.text(), (
        "docs/asyncapi.yaml is not of today's types: write it by `python -m tests.support.asyncapi`"
    )


def test_what_it_points_to_is_there() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > len(MESSAGES)
    for each in found:
        place: Any = DOCUMENT
        for part in each.removeprefix("#/").split("/"):
            place = place[part]


def test_every_operation_limit_and_code_is_there() -> None:
    assert {asyncapi.ask(op) for op in (*TABLE, "register")} <= set(MESSAGES)
    assert {f"answer_{op}" for op in (*TABLE, "register")} <= set(DOCUMENT["operations"])
    assert SCHEMAS["ErrorBody"]["properties"]["code"]["examples"] == [
        str(each) for each in ErrorCode
    ]
    assert set(DOCUMENT["x-close-codes"]) == {str(int(each)) for each in CloseCode}
    assert DOCUMENT["x-limits"]["batch"] == limits.BATCH
    assert len(DOCUMENT["x-limits"]) == len([name for name in vars(limits) if name.isupper()])
    fields = {field.encode_name for field in msgspec.structs.fields(Envelope)}
    assert set(SCHEMAS["Envelope"]["properties"]) == fields


def test_every_type_of_message_is_there() -> None:
    rules = [message["payload"]["allOf"][1]["properties"] for message in MESSAGES.values()]
    said = {rule["type"]["const"] for rule in rules if "type" in rule}
    assert said == set(get_args(MessageType))


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_every_message_has_an_example_that_the_codec_takes(name: str) -> None:
    (example,) = MESSAGES[name]["examples"]
    frame = msgspec.json.encode(example["payload"])
    (envelope,) = JSON.decode(frame, from_hub=name in FROM_HUB)
    assert isinstance(envelope, Envelope)
    rule = MESSAGES[name]["payload"]["allOf"][1]
    assert set(rule["required"]) <= set(example["payload"])
    properties = rule["properties"]
    if "type" in properties:
        assert envelope.type == properties["type"]["const"]
    if "payload" in properties:
        kind = properties["payload"]["$ref"].rpartition("/")[2]
        msgspec.convert(envelope.payload, getattr(bodies, kind))


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("COMMAND", ["id", "to"]),
        ("STATUS", ["id"]),
        ("RESULT", ["id", "to", "reply_to"]),
        ("ERROR", ["id", "to", "reply_to"]),
        ("HEARTBEAT", []),
    ],
)
def test_what_a_type_needs_is_asked_of_the_protocol(kind: str, needed: list[str]) -> None:
    assert asyncapi.required(kind) == needed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1, "b": [True, None, "x: y"]}, 'a: 1\nb:\n  - true\n  - null\n  - "x: y"\n'),
        ({"on": {"no": []}, "4401": "token"}, '"on":\n  "no": []\n"4401": "token"\n'),
        ([{"a": 1, "b": {}}, [1, [2]]], "- a: 1\n  b: {}\n- - 1\n  - - 2\n"),
        ({}, "{}\n"),
        ("# no comment\n", '"# no comment\\n"\n'),
    ],
)
def test_it_is_written_so_that_any_reader_of_yaml_reads_the_same(value: Any, text: str) -> None:
    assert to_yaml(value) == text
