"""What an operator may set about the core's behaviour."""

from __future__ import annotations

import msgspec

from trishula_protocol import limits


class HubSettings(msgspec.Struct, frozen=True):
    """Limits a hub keeps; the defaults are the protocol's."""

    frame_bytes: int = limits.HUB_FRAME_BYTES
    """Told to clients when they register; the listener enforces it."""
    prefetch: int = limits.PREFETCH_MAX
    """The most a session may ask for; it gets this when it asks for more."""
    unaccepted_messages: int = limits.UNACCEPTED_MESSAGES
    unaccepted_bytes: int = limits.UNACCEPTED_BYTES
    all_unaccepted_bytes: int = 256 << 20
    """The same for all sessions together: a slow store must not eat the memory."""
    messages_per_s: float = 0.0
    """Messages an agent may send a second, in the long run, through this hub; 0: as many as are
    accepted in time."""
    messages_burst: int = 1_000
    """How many of them at once, after a rest."""
    window_messages: int = 2_000
    """Waiting copies of one mailbox kept in memory; the rest stays in the store."""
    window_bytes: int = 4 << 20
    """The same in bytes of bodies."""
    outgoing_bytes: int = 1 << 20
    """Bytes queued for one session beyond which it gets no more deliveries for now."""
    leeway_ms: int = 30_000
    """A token counts this much longer than it says, as when it is shown: clocks differ."""
    patience_ms: int = 3
    """What recipients say of their mail waits this long for another commit to go along with;
    0: not at all."""
    beat_ms: int = 1_000
    """A node tells the store that it lives this often."""
    lease_ms: int = 5_000
    """A node that has not for this long is dead to the others, and its lease is free."""
