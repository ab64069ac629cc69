"""Every number of the wire protocol in one place, each with its unit and reason.

Section numbers refer to docs/protocol.md.
"""

from __future__ import annotations

from typing import Final

DEFAULT_PORT: Final = 8765
"""TCP port of a hub that is told no other (§1)."""
WEBSOCKET_PATH: Final = "/ws"
SUBPROTOCOL_JSON: Final = "trishula.v2.json"
SUBPROTOCOL_MSGPACK: Final = "trishula.v2.msgpack"

HUB_FRAME_BYTES: Final = 1 << 20
"""Bytes of the largest frame a hub accepts by default, inflated (§1)."""
CLIENT_FRAME_BYTES: Final = 4 << 20
"""Bytes of the largest frame every client must accept (§1)."""
BATCH: Final = 1000
"""Envelopes in one frame at most (§1)."""

ID_LENGTH: Final = 128
"""Characters of an envelope id at most (§2)."""
AGENT_LENGTH: Final = 64
"""Characters of an agent id, a group or a capability at most (§4)."""
PAYLOAD_DEPTH: Final = 64
"""Nesting of a payload at most; deeper input is refused before it can exhaust a stack (§2)."""
ANSWER_DEPTH: Final = PAYLOAD_DEPTH + 4
"""The same of an answer of the hub's, which may hold others' payloads inside its own (§7)."""
INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1
"""Integers of a payload: what MessagePack has, so that both encodings carry the same (§2)."""
HEADERS: Final = 32
"""Headers of one envelope at most."""
HEADER_LENGTH: Final = 1024
"""Characters of one header value at most."""
TAGS: Final = 64
"""Capabilities, or groups, of one agent at most."""
STATUS_LENGTH: Final = 1024
"""Characters of an agent's status text at most."""
REASON_LENGTH: Final = 1024
"""Characters of a reason given with ``rejected`` at most."""
TOKEN_LENGTH: Final = 8 << 10
"""Characters of a token at most; a longer one is refused unread (§3)."""
MESSAGE_LENGTH: Final = 1024
"""Characters of an ERROR's message at most."""
TTL_MAX: Final = 366 * 24 * 3600 * 1000
"""Milliseconds of the longest ttl."""

PRIORITY_FIRST: Final = 1
PRIORITY_DEFAULT: Final = 3
PRIORITY_LAST: Final = 5
"""Priorities from the most to the least urgent; few, because each is strict (§3)."""

PREFETCH_MIN: Final = 1
PREFETCH_DEFAULT: Final = 256
PREFETCH_MAX: Final = 10_000
"""Messages a session may have that are neither read nor settled: enough by default to keep a
connection busy, at most what one ACK settles and an agent's memory bears (§3)."""

LEASE_MIN_MS: Final = 1_000
LEASE_DEFAULT_MS: Final = 60_000
LEASE_MAX_MS: Final = 24 * 3600 * 1000
"""Milliseconds that ``read`` lasts: longer than a renewal may be late, short enough that the
work of a hung handler goes on elsewhere within a minute by default (§5)."""

HEARTBEAT_MIN_MS: Final = 2_000
HEARTBEAT_DEFAULT_MS: Final = 30_000
HEARTBEAT_MAX_MS: Final = 60_000
"""Milliseconds between two heartbeats: seldom enough for 10 000 idle sessions, often enough
for a proxy that drops what is silent for a minute or two (§3)."""
HEARTBEAT_SDK_MS: Final = 2_000
"""What SDKs ask for: a silent hub is found within two of these (§3)."""
HEARTBEATS_MISSED: Final = 2
"""Missed heartbeats after which a session ends with 4408 (§3)."""
REGISTER_TIMEOUT_MS: Final = 10_000
"""A connection that has not registered by then is closed."""

UNACCEPTED_MESSAGES: Final = 10_000
"""Messages of one session not yet accepted, at which the hub stops reading its socket (§5)."""
UNACCEPTED_BYTES: Final = 8 << 20
"""The same in bytes."""
MAILBOX_MESSAGES: Final = 100_000
"""Unsettled messages of one mailbox by default (§5)."""
MAILBOX_BYTES: Final = 256 << 20
"""The same in bytes."""

ATTEMPTS: Final = 5
"""Attempts that ended after ``read``, or by ``requeue``, before the dead letters (§5)."""
DELIVERIES: Final = 100
"""Deliveries never read before the dead letters (§5)."""
RETRY_DELAYS_MS: Final = (1_000, 5_000, 30_000, 120_000)
"""Wait before the next attempt, by the number of attempts that ended (§5)."""
DEDUP_MS: Final = 24 * 3600 * 1000
"""How long a sender's ids are kept at least ... (§5)"""
DEDUP_IDS: Final = 1_000_000
"""... unless it sent more than this many since (§5)."""
EPHEMERAL_MS: Final = 60_000
"""An ephemeral agent is forgotten this long after it left (§3)."""
BAD_FRAMES: Final = 10
"""Unreadable frames in a row that end a session with 4400 (§6)."""


def retry_delay_ms(ended: int) -> int:
    """Milliseconds before the next attempt once ``ended`` (≥ 1) attempts have ended."""
    return RETRY_DELAYS_MS[min(ended, len(RETRY_DELAYS_MS)) - 1]
