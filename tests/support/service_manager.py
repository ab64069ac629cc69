"""The socket on which systemd hears a service, with a test at its end."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Self

TIMEOUT_S = 240.0
"""Generous: a test fails by it instead of hanging."""


class ServiceManager:
    """Listens at ``address``: a path, or ``@name`` of the abstract kind."""

    def __init__(self, address: str | Path) -> None:
        self.address = str(address)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.address.replace("@", "\0", 1))
        self.socket.settimeout(TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def environ(self, watchdog_s: float = 0.0) -> dict[str, str]:
        """What a service is given."""
        watchdog = {"WATCHDOG_USEC": str(int(watchdog_s * 1e6))} if watchdog_s else {}
        return {"NOTIFY_SOCKET": self.address} | watchdog

    def hear(self) -> dict[str, str]:
        """The next message, by its names."""
        said = self.socket.recv(4096).decode()
        return dict(line.split("=", 1) for line in said.splitlines())

    async def heard(self, name: str) -> dict[str, str]:
        """The next message that has ``name``."""
        while name not in (said := await asyncio.to_thread(self.hear)):
            pass
        return said
