"""What counts as one peer, and what as this machine."""

import pytest

from trishula_broker.net.peers import (
    address_of,
    host_of,
    is_address,
    is_loopback,
    named,
    reached_at,
)


@pytest.mark.parametrize(
    ("address", "peer", "host", "counted"),
    [
        (("10.0.0.1", 80), "10.0.0.1:80", "10.0.0.1", "10.0.0.1"),
        (("2001:db8::1", 80, 0, 0), "[2001:db8::1]:80", "2001:db8::1", "2001:db8::/64"),
        (
            ("2001:db8::ffff:1", 9, 0, 0),
            "[2001:db8::ffff:1]:9",
            "2001:db8::ffff:1",
            "2001:db8::/64",
        ),
        (("fe80::1%eth0", 9, 0, 2), "[fe80::1%eth0]:9", "fe80::1", "fe80::/64"),
        (("::ffff:10.0.0.1", 9, 0, 0), "[::ffff:10.0.0.1]:9", "::ffff:10.0.0.1", "10.0.0.1"),
        ("/run/socket", "unknown", "unknown", "unknown"),
    ],
)
def test_a_peer_is_counted_by_its_address(
    address: object, peer: str, host: str, counted: str
) -> None:
    assert named(address) == peer
    assert host_of(peer) == host
    assert address_of(peer) == counted
    assert address_of(host) == counted


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("0.0.0.0", False),
        ("::", False),
        ("localhost.example.org", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_loopback_is_what_can_only_be_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_name_is_no_address() -> None:
    assert [is_address(each) for each in ("::1", "10.0.0.1", "localhost", "")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("host", "found_at"),
    [
        ("0.0.0.0", "host-a"),
        ("::", "host-a"),
        ("0:0::0", "host-a"),
        ("", "host-a"),
        ("127.0.0.1", "127.0.0.1"),
        ("2001:db8::1", "[2001:db8::1]"),
        ("hub.example", "hub.example"),
    ],
)
def test_who_listens_everywhere_is_reached_by_the_machines_name(host: str, found_at: str) -> None:
    assert reached_at(host, "host-a") == found_at
