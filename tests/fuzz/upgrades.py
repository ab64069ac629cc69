"""The head of a request, given to the gate that answers upgrades."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from tests.fuzz import http_front
from tests.fuzz.target import Target, fitting
from trishula_broker.net.admission import Admission
from trishula_broker.net.handshake import Gate
from trishula_broker.net.settings import NetSettings
from trishula_protocol.codec import CODECS

MAX_BYTES = 4096
ANSWER_BYTES = 2048
"""An answer quotes little of what was asked."""
MARK = b"\r\n\r\n"


def seeds() -> Sequence[bytes]:
    """Heads of good and of broken upgrades."""
    heads = [seed[1:].partition(MARK)[0] + MARK for seed in http_front.seeds()]
    return fitting(heads, MAX_BYTES)


@cache
def _gate() -> Gate:
    settings = NetSettings(handshakes_per_s=1 << 30)
    return Gate(settings, Admission(settings, None, _clock), _clock)


def _clock() -> float:
    """So fast that nothing is ever too much a second."""
    _now[0] += 1.0
    return _now[0]


_now = [0.0]


def run(data: bytes) -> None:
    """One head; what comes behind its empty line is never part of it."""
    gate = _gate()
    upgrade = gate.answer((data + MARK).partition(MARK)[0] + MARK, "192.0.2.7:40000")
    if upgrade.place is not None:
        upgrade.place.leave()
    assert (upgrade.status == 101) is (upgrade.protocol is not None)
    assert upgrade.codec in CODECS.values()
    assert len(upgrade.response) <= ANSWER_BYTES + len(data)
    if upgrade.response:
        head, mark, _ = upgrade.response.partition(MARK)
        assert mark
        assert head.startswith(b"HTTP/1.1 %d " % upgrade.status)
        assert b"\n" not in head.replace(b"\r\n", b"")


TARGET = Target(run, seeds, http_front.words(), MAX_BYTES)
