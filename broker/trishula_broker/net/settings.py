"""What an operator may set about sockets. Durations are seconds, sizes bytes."""

from __future__ import annotations

from typing import Annotated

import msgspec

from trishula_protocol import limits

Bytes = Annotated[int, msgspec.Meta(ge=1024, le=1 << 30)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Address = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F.:]+$")]


class NetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits and habits of the listener and of every WebSocket connection."""

    frame_bytes: Bytes = limits.HUB_FRAME_BYTES
    """The largest frame taken from a client, inflated; over it the close code is 1009."""
    compression: bool = True
    """Whether permessage-deflate is granted to clients that offer it."""
    origins: tuple[str, ...] = ()
    """Web pages of other hosts that may connect, as ``https://host[:port]``; ``*`` is any.
    A browser tells the page's origin; what is no browser tells none and is not asked."""
    proxies: tuple[Address, ...] = ()
    """Addresses of proxies whose ``X-Forwarded-For`` says who a peer is. Without keys nobody is
    taken through a proxy, listed or not."""
    handshake_s: Seconds = 10.0
    """From the TCP connection to the end of the request's head."""
    close_s: Seconds = 5.0
    """What the peer has to answer a close frame before the connection is cut."""
    write_pause_bytes: Bytes = 256 << 10
    """Unsent bytes at which a session gets no more deliveries. With frames of 256 KiB two fit,
    which keeps the kernel's buffer busy."""
    write_limit_bytes: Bytes = 8 << 20
    """Unsent bytes at which a slow reader's session is closed; above the 4 MiB every client
    must be able to take as one frame."""
    unregistered: Annotated[int, msgspec.Meta(ge=1)] = 4096
    """Connections that have not registered yet, at which new ones get HTTP 503. One address may
    have as many as are left: alone it gets half of them."""
    handshakes_per_s: Annotated[int, msgspec.Meta(ge=1)] = 1000
    """Upgrades a second, and as many at once after a quiet second. 10 000 agents that lost
    their hub are back within 10 s, and their registrations do not starve the others. One address
    does not use them up: half at once, and then what comes after, so that a newcomer finds some."""
    http_head_bytes: Bytes = 16 << 10
    """The largest head of a request."""
    http_body_bytes: Bytes = 1 << 20
    """The largest body of a request."""
    http_request_s: Seconds = 30.0
    """From the first byte of a request to the last of its answer."""
    http_keep_alive_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 5
    """How long an idle HTTP connection is kept."""
