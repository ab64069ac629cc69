"""The examples in docs/asyncapi.yaml: an envelope for each kind of message."""

from __future__ import annotations

from typing import Any, Final

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "command": {
        "type": "COMMAND",
        "id": "c1",
        "to": "agni",
        "priority": 2,
        "payload": {"do": "build"},
        "ttl": 3_600_000,
        "receipt": True,
    },
    "status": {"type": "STATUS", "id": "s1", "to": "#ops", "payload": {"text": "lunch"}},
    "result": {
        "type": "RESULT",
        "id": "r1",
        "to": "dc",
        "reply_to": "c1",
        "settles": 41,
        "payload": {"ok": True},
    },
    "error": {
        "type": "ERROR",
        "id": "e1",
        "to": "dc",
        "reply_to": "c1",
        "settles": 41,
        "payload": {"code": "no_file", "message": "file: required", "retryable": False},
    },
    "heartbeat": {"type": "HEARTBEAT"},
    "settle": {"type": "ACK", "to": "hub", "payload": {"stage": "done", "seqs": [41]}},
    "mail": {
        "type": "COMMAND",
        "id": "c1",
        "from": "dc",
        "to": "agni",
        "timestamp": 1_700_000_000_000,
        "payload": {"do": "build"},
        "seq": 41,
        "attempt": 1,
    },
    "acknowledgement": {
        "type": "ACK",
        "from": "hub",
        "payload": {"stage": "accepted", "ids": ["c1"]},
    },
    "refusal": {
        "type": "ERROR",
        "from": "hub",
        "reply_to": "c1",
        "payload": {
            "code": "unknown_recipient",
            "message": "to: agn never registered here; did you mean agni?",
            "retryable": False,
            "details": {"nearest": ["agni"]},
        },
    },
    "answer": {"type": "RESULT", "from": "hub", "reply_to": "q1", "payload": {}},
    "news": {
        "type": "STATUS",
        "from": "hub",
        "timestamp": 1_700_000_000_000,
        "payload": {"event": "presence", "agent": "agni", "online": True},
    },
    "clock": {"type": "HEARTBEAT", "from": "hub", "payload": {"time": 1_700_000_002_000}},
    "registered": {
        "type": "RESULT",
        "from": "hub",
        "reply_to": "q1",
        "payload": {
            "agent": "agni",
            "namespace": "default",
            "node": "hub-1",
            "role": "primary",
            "session": "hub-1-18bcfe56800-3",
            "heartbeat_ms": 2000,
            "server_time": 1_700_000_000_000,
            "limits": {"frame_bytes": 1_048_576, "batch": 1000, "prefetch": 256},
        },
    },
    "renewed": {
        "type": "RESULT",
        "from": "hub",
        "reply_to": "q1",
        "payload": {"expires_at": 1_700_086_400_000},
    },
}
"""A frame of one envelope for each message that is no operation's."""

ASKED: Final[dict[str, dict[str, Any]]] = {
    "register": {"agent": "agni", "capabilities": ["review"], "groups": ["ops"]},
    "join": {"group": "ops"},
    "leave": {"group": "ops"},
    "trace": {"id": "c1"},
    "recall": {"id": "c1"},
    "retry": {"agent": "agni", "seq": 41},
    "drop": {"agent": "agni", "seq": 41},
    "pause": {"agent": "agni", "reason": "audit"},
    "resume": {"agent": "agni"},
    "forget": {"agent": "agni"},
    "revoke": {"agent": "agni"},
    "renew": {"token": "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"},
}
"""Fields of an operation beside ``op``, of those that need any."""
