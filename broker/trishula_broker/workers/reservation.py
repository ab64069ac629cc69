"""The port that workers share, kept for them while any of them is away."""

from __future__ import annotations

import errno
import socket
from typing import Any

from trishula_broker.net.sockets import PortInUse


class Reservation:
    """A port of a host, bound and not listened on: only who binds it with ``SO_REUSEPORT`` too, as
    the same user, gets it.

    Args:
        host: a name or an address.
        port: 0 takes a free one.

    Raises:
        PortInUse: somebody listens there, also another hub's workers.
        OSError: ``host`` is not an address of this machine, or the port is not allowed.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = port
        self._sockets: list[socket.socket] = []
        failure: OSError | None = None
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                self._take(family, address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    self.release()
                    raise PortInUse(host, self.port) from error
                failure = error  # localhost is often ::1 too, where there may be no IPv6
        if not self._sockets:
            raise failure or OSError(errno.EADDRNOTAVAIL, f"{host} has no address")

    def _take(self, family: int, address: tuple[Any, ...]) -> None:
        # Without sharing first: workers of another hub would share the port with these.
        with _bound(family, (address[0], self.port, *address[2:]), shared=False) as alone:
            self.port = alone.getsockname()[1]
        self._sockets.append(_bound(family, (address[0], self.port, *address[2:]), shared=True))

    def release(self) -> None:
        """Give it back."""
        for each in self._sockets:
            each.close()
        self._sockets = []


def _bound(family: int, address: tuple[Any, ...], *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made
