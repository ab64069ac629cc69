"""docs/asyncapi.yaml, made of the types that the hub and the SDK speak with.

``python -m tests.support.asyncapi`` writes it. Knows the protocol, and nothing of hub or SDK.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from tests.support.asyncapi_examples import ASKED, EXAMPLES
from tests.support.yaml_text import to_yaml
from trishula_protocol import bodies, limits
from trishula_protocol.envelope import STORED_TYPES, StrictEnvelope, fault
from trishula_protocol.errors import RETRYABLE, CloseCode, ErrorCode

FILE: Final = Path(__file__).parents[2] / "docs" / "asyncapi.yaml"
OPERATIONS: Final[dict[str, type[msgspec.Struct]]] = {
    str(each.__struct_config__.tag): each for each in get_args(bodies.Operation)
}
"""What an agent may ask of the hub, by its ``op``."""

_HEAD: Final = (
    "# Made of the types in protocol/trishula_protocol by `python -m tests.support.asyncapi`:\n"
    "# do not edit. What it means is in protocol.md.\n"
)
_SCHEMA: Final = "#/components/schemas/{name}"
_MESSAGE: Final = "#/components/messages/{name}"
_CHANNEL: Final = "#/channels/ws"
_ANSWERS: Final[dict[str, type[msgspec.Struct]]] = {
    "register": bodies.Registered,
    "renew": bodies.Renewed,
}
_LIMITS: Final = {
    name: value for name, value in vars(limits).items() if name.isupper() and name[0] != "_"
}


def document() -> dict[str, Any]:
    """All of it, AsyncAPI 3.0. The application that it describes is the hub."""
    messages = _messages()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "trishula",
            "version": "2",
            "description": "The wire protocol of the hub, version 2: a durable message hub for "
            "agents. A frame is one envelope, or an array of up to "
            f"{limits.BATCH}; each message here is one envelope. What the hub promises, and when "
            "it refuses, is in protocol.md.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": _server("127.0.0.1:8765", "ws", "A hub without keys, for its own host"),
            "public": _server("hub.example.org", "wss", "A hub with keys, behind TLS")
            | {"security": [{"$ref": "#/components/securitySchemes/token"}]},
        },
        "channels": {
            "ws": {
                "address": limits.WEBSOCKET_PATH,
                "description": f"Text frames with the subprotocol {limits.SUBPROTOCOL_JSON} or "
                f"none, binary ones with {limits.SUBPROTOCOL_MSGPACK}: the same envelopes in "
                "MessagePack.",
                "bindings": {"ws": {"method": "GET", "query": _QUERY}},
                "messages": {name: {"$ref": _MESSAGE.format(name=name)} for name in messages},
            }
        },
        "operations": _operations(),
        "components": {
            "messages": messages,
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "`broker token create`; browsers give it as `?token=`.",
                }
            },
        },
        "x-limits": {
            name.lower(): list(value) if isinstance(value, tuple) else value
            for name, value in _LIMITS.items()
        },
        "x-close-codes": {str(int(code)): code.name.lower() for code in CloseCode},
    }


_QUERY: Final = {
    "type": "object",
    "properties": {"token": {"type": "string", "maxLength": limits.TOKEN_LENGTH}},
}


def _server(host: str, protocol: str, description: str) -> dict[str, Any]:
    return {"host": host, "protocol": protocol, "description": description}


def ask(op: str) -> str:
    """The name of the message that asks ``op`` of the hub."""
    return f"ask_{op}"


def _messages() -> dict[str, dict[str, Any]]:
    found = {}
    for kind in ("COMMAND", "STATUS", "RESULT", "ERROR", "HEARTBEAT"):
        found[kind.lower()] = _message(
            f"{kind}, from an agent", kind, *required(kind), example=EXAMPLES[kind.lower()]
        )
    found["settle"] = _message("What an agent did with its mail", "ACK", body="AgentAck")
    for op, body in OPERATIONS.items():
        payload = {"op": op} | ASKED.get(op, {})
        found[ask(op)] = _message(
            _first(body),
            *("COMMAND", "id", "to"),
            body=body.__name__,
            example={"type": "COMMAND", "to": "hub", "id": "q1", "payload": payload},
        )
    found["mail"] = _message("A stored message, to its recipient", None, "id", "from", "seq")
    found["acknowledgement"] = _message("Accepted, settled, and receipts", "ACK", body="HubAck")
    found["refusal"] = _message("What was not done, and why", "ERROR", "reply_to", body="ErrorBody")
    found["answer"] = _message("An operation's answer", "RESULT", "reply_to")
    found["registered"] = _message(
        _first(bodies.Registered), "RESULT", "reply_to", body="Registered"
    )
    found["renewed"] = _message(_first(bodies.Renewed), "RESULT", "reply_to", body="Renewed")
    found["news"] = _message("What `watch` and `tap` asked to hear; not stored", "STATUS")
    found["clock"] = _message("The hub's heartbeat", "HEARTBEAT")
    for name, example in EXAMPLES.items():
        found[name]["examples"] = [{"payload": example}]
    return found


def _message(
    summary: str,
    kind: str | None,
    *needed: str,
    body: str | None = None,
    example: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One, as an envelope of a type with the fields it must have."""
    properties: dict[str, Any] = {} if kind is None else {"type": {"const": kind}}
    if body is not None:
        properties["payload"] = {"$ref": _SCHEMA.format(name=body)}
    fields = ["type", *needed] + (["payload"] if body is not None else [])
    rule = {"type": "object", "required": fields, "properties": properties}
    envelope = {"$ref": _SCHEMA.format(name="Envelope")}
    found: dict[str, Any] = {"summary": summary, "payload": {"allOf": [envelope, rule]}}
    if example is not None:
        found["examples"] = [{"payload": example}]
    return found


def required(kind: str) -> list[str]:
    """Fields that the protocol's own rule misses in an envelope of ``kind`` without them."""
    whole = {"id": "m1", "to": "agni", "reply_to": "m0"}
    found = []
    for field in whole:
        left = {name: value for name, value in whole.items() if name != field}
        if fault(StrictEnvelope(kind, **left)) is not None:  # type: ignore[arg-type]
            found.append(field)
    return found


def _first(kind: type[Any]) -> str:
    """The first sentence of a type's docstring, without the marks of reStructuredText."""
    text = " ".join((kind.__doc__ or "").split())
    text = re.sub(r":\w+:`([^`]+)`", r"`\1`", text).replace("``", "`")
    return re.split(r"(?<=[^.])\. |\.$", text)[0]


def _operations() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in (*sorted(STORED_TYPES), "HEARTBEAT"):
        reply = "clock" if kind == "HEARTBEAT" else "acknowledgement"
        found[f"take_{kind.lower()}"] = _operation("receive", kind.lower(), reply)
    found["take_settle"] = _operation("receive", "settle", "acknowledgement")
    for op in OPERATIONS:
        answer = _ANSWERS[op].__name__.lower() if op in _ANSWERS else "answer"
        found[f"answer_{op}"] = _operation("receive", ask(op), answer)
    for name in ("mail", "acknowledgement", "refusal", "news"):
        found[f"send_{name}"] = _operation("send", name)
    return found


def _operation(action: str, message: str, reply: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "action": action,
        "channel": {"$ref": _CHANNEL},
        "messages": [{"$ref": f"{_CHANNEL}/messages/{message}"}],
    }
    if reply is not None:
        replies = [reply] if reply == "clock" else [reply, "refusal"]
        found["reply"] = {
            "channel": {"$ref": _CHANNEL},
            "messages": [{"$ref": f"{_CHANNEL}/messages/{name}"} for name in replies],
        }
    return found


def _schemas() -> dict[str, Any]:
    kinds: list[Any] = [
        *(StrictEnvelope, bodies.HubAck, bodies.ErrorBody, bodies.Registered, bodies.Renewed),
        *(*get_args(bodies.AgentAck), *OPERATIONS.values()),
    ]
    _, found = msgspec.json.schema_components(kinds, ref_template=_SCHEMA)
    found["Envelope"] = found.pop("StrictEnvelope") | {
        "title": "Envelope",
        "description": "One message. Whose field is which: protocol.md, section 2.",
    }
    found["AgentAck"] = {
        "title": "AgentAck",
        "oneOf": [
            {"$ref": _SCHEMA.format(name=kind.__name__)} for kind in get_args(bodies.AgentAck)
        ],
    }
    properties = found["ErrorBody"]["properties"]
    properties["code"] = {
        "type": "string",
        "description": "Agents that answer by ERROR have codes of their own; these are the hub's.",
        "examples": [str(code) for code in ErrorCode],
        "x-retryable": sorted(str(code) for code in RETRYABLE),
    }
    return {name: _portable(found[name]) for name in sorted(found)}


def _portable(value: Any) -> Any:
    """The same with Python's ``\\Z`` as the ``$`` that JSON Schema has, and Markdown for text."""
    if isinstance(value, dict):
        return {
            name: each.replace(r"\Z", "$")
            if name == "pattern"
            else _plain(each)
            if name == "description" and isinstance(each, str)
            else _portable(each)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_portable(each) for each in value]
    return value


def _plain(text: str) -> str:
    text = re.sub(r":\w+:`~?(?:\w+\.)*([^`]+)`", r"`\1`", text)
    return " ".join(text.replace("``", "`").split())


def text() -> str:
    """The file's."""
    return _HEAD + to_yaml(document())


if __name__ == "__main__":
    FILE.write_text(text())
