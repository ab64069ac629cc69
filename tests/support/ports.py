"""Ports for servers that cannot be told to take a free one, or that come back to theirs.

None is of those the system gives to whoever connects or asks for any (32768 and up on Linux, 49152
and up elsewhere): one of those may be taken while its server starts or is away, even by an agent
that tries to reach it. Test processes that run at once have ports of their own.
"""

from __future__ import annotations

import itertools
import os
import re
import socket
from typing import Final

FIRST: Final = 10_240
EACH: Final = 1_024
"""Ports of one test process."""
SHARES: Final = (32_768 - FIRST) // EACH


def ports_of(worker: str, pid: int) -> range:
    """The ports of a process; ``worker`` is its name among those of one run, such as ``gw1``."""
    number = re.search(r"\d+$", worker)
    share = int(number[0]) if number else pid
    begin = FIRST + share % SHARES * EACH
    return range(begin, begin + EACH)


_mine: Final = ports_of(os.environ.get("PYTEST_XDIST_WORKER", ""), os.getpid())
# Its children count on from elsewhere.
_next = itertools.count(os.getpid() * 37)


def free_port() -> int:
    """A port of the loopback that nobody listens on, another one each time."""
    for number in itertools.islice(_next, EACH):
        port = _mine[number % EACH]
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port of {_mine} is free")
