"""Who is at the other end, as far as a socket can tell."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

UNKNOWN: Final = "unknown"
V6_SITE: Final = 64
"""Bits of an IPv6 address that are one site's: whoever has one address there has all of them."""


def named(address: Any) -> str:
    """A socket's address as ``host:port``."""
    if not isinstance(address, tuple):
        return UNKNOWN
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"


def host_of(peer: str) -> str:
    """The host of ``host:port``, without brackets; a host alone is one already."""
    host, colon, port = peer.rpartition(":")
    if not colon or not port.isdecimal() or (":" in host and not host.startswith("[")):
        host = peer
    return host.strip("[]").partition("%")[0]


def address_of(peer: str) -> str:
    """What counts as one peer where room is shared: an IPv4 address, an IPv6 site."""
    host = host_of(peer)
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, V6_SITE), strict=False))


def is_address(host: str) -> bool:
    """Whether ``host`` is an IP address, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address, can only mean this machine."""
    host = host.strip("[]")
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reached_at(host: str, own_name: str) -> str:
    """Where others reach who listens on ``host``, as a URL has it: on every address, that is by
    the machine's ``own_name``."""
    try:
        everywhere = not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        everywhere = False
    if everywhere:
        return own_name
    return f"[{host}]" if ":" in host else host
