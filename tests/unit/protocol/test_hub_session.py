"""The hub's end of a connection: its states, and how what it says is packed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trishula_protocol import limits
from trishula_protocol.bodies import Register
from trishula_protocol.codec import CODECS, JSON, Codec
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import CloseCode, ErrorCode, ProtocolError
from trishula_protocol.hub_session import ACK_ITEMS, FRAME_TARGET, HubSession, State

BOTH = pytest.mark.parametrize("codec", list(CODECS.values()), ids=["json", "msgpack"])


def new(codec: Codec = JSON, *, now: int = 0) -> tuple[HubSession, list[HubSession]]:
    outlet: list[HubSession] = []
    return HubSession(1, codec, "10.0.0.1", outlet, [], now), outlet


def active(codec: Codec = JSON, **fields: Any) -> HubSession:
    session, _ = new(codec)
    session.registering(Register("dc", **fields))
    session.activate("s1", 7, 2_000)
    return session


def heard(codec: Codec, frames: list[bytes]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    for frame in frames:
        assert len(frame) <= limits.CLIENT_FRAME_BYTES
        decoded = msgspec.msgpack.decode(frame) if codec.binary else msgspec.json.decode(frame)
        told += decoded if isinstance(decoded, list) else [decoded]
    return told


# --- states ---

STEPS = {
    "registering": lambda session: session.registering(Register("dc")),
    "refused": lambda session: session.refused(),
    "activate": lambda session: session.activate("s1", 1, 2_000),
    "close": lambda session: session.close(CloseCode.RESTART, "bye"),
    "lost": lambda session: session.lost(),
}
WAYS = {
    State.NEW: [],
    State.REGISTERING: ["registering"],
    State.ACTIVE: ["registering", "activate"],
}
TABLE = {
    (State.NEW, "registering"): State.REGISTERING,
    (State.NEW, "refused"): None,
    (State.NEW, "activate"): None,
    (State.NEW, "close"): State.CLOSED,
    (State.NEW, "lost"): State.CLOSED,
    (State.REGISTERING, "registering"): None,
    (State.REGISTERING, "refused"): State.NEW,
    (State.REGISTERING, "activate"): State.ACTIVE,
    (State.REGISTERING, "close"): State.CLOSED,
    (State.REGISTERING, "lost"): State.CLOSED,
    (State.ACTIVE, "registering"): None,
    (State.ACTIVE, "refused"): None,
    (State.ACTIVE, "activate"): None,
    (State.ACTIVE, "close"): State.CLOSED,
    (State.ACTIVE, "lost"): State.CLOSED,
    (State.CLOSED, "registering"): None,
    (State.CLOSED, "refused"): None,
    (State.CLOSED, "activate"): None,
    (State.CLOSED, "close"): State.CLOSED,
    (State.CLOSED, "lost"): State.CLOSED,
}


@pytest.mark.parametrize(("state", "step"), list(TABLE), ids=str)
def test_the_table_of_states(state: State, step: str) -> None:
    session, _ = new()
    for each in WAYS.get(state, ["close"]):
        STEPS[each](session)
    assert session.state is state
    wanted = TABLE[state, step]
    if wanted is None:
        with pytest.raises(AssertionError, match="cannot become"):
            STEPS[step](session)
        assert session.state is state
    else:
        STEPS[step](session)
        assert session.state is wanted
    assert session.live is (session.state is State.ACTIVE)
    assert session.closed is (session.state is State.CLOSED)
    assert session.state.value in repr(session)


def test_a_session_is_closed_once_and_the_first_reason_stays() -> None:
    session = active()
    session.close(CloseCode.TAKEN_OVER, "a newer one")
    session.close(CloseCode.RESTART, "bye")
    session.lost()
    assert (session.close_code, session.close_reason) == (4409, "a newer one")


def test_what_was_said_before_the_end_is_still_said_and_nothing_after() -> None:
    session = active()
    session.accepted("m1")
    session.close(CloseCode.RESTART, "bye")
    session.error(ProtocolError(ErrorCode.INTERNAL, "late"))
    assert [each["type"] for each in heard(JSON, session.frames())] == ["ACK"]


def test_a_lost_connection_has_nothing_to_say() -> None:
    session = active()
    session.accepted("m1")
    session.settled([1])
    session.receipt("read", "agni", "m1")
    session.answer("q", {})
    session.lost()
    assert session.frames() == []
    assert session.buffered == 0


def test_deadlines() -> None:
    session, _ = new(now=500)
    assert session.deadline(True) == 500 + limits.REGISTER_TIMEOUT_MS
    session.registering(Register("dc"))
    session.activate("s", 1, 2_000)
    session.heard_at = 9_000
    assert session.deadline(True) == 13_000
    assert session.deadline(False) is None  # the hub itself does not read
    session.stalled_at = 10_000
    assert session.deadline(False) == 20_000
    session.close(CloseCode.HEARTBEAT, "silent")
    assert session.deadline(True) is None


# --- packing ---


@BOTH
def test_acknowledgements_of_a_moment_share_an_envelope(codec: Codec) -> None:
    session = active(codec)
    for n in range(5):
        session.accepted(f"m{n}")
    session.settled([1, 2])
    session.settled([3])
    session.receipt("read", "agni", "a")
    session.receipt("read", "agni", "b")
    session.receipt("read", "rushabdev", "a")
    session.receipt("done", "agni", "a")
    [frame] = session.frames()
    assert [each["payload"] for each in heard(codec, [frame])] == [
        {"stage": "accepted", "ids": ["m0", "m1", "m2", "m3", "m4"]},
        {"stage": "settled", "seqs": [1, 2, 3]},
        {"stage": "read", "ids": ["a", "b"], "by": "agni"},
        {"stage": "read", "ids": ["a"], "by": "rushabdev"},
        {"stage": "done", "ids": ["a"], "by": "agni"},
    ]
    assert session.frames() == []


@BOTH
def test_ever_so_many_acknowledgements_fit_frames_that_clients_must_take(codec: Codec) -> None:
    session = active(codec)
    ids = [f"{n:0>128}" for n in range(40_000)]
    for each in ids:
        session.accepted(each)
        session.receipt("done", "agni", each)
    session.settled(list(range(1, 1_000_001)))
    told = [each["payload"] for each in heard(codec, session.frames())]
    assert max(len(each.get("ids", each.get("seqs"))) for each in told) == ACK_ITEMS
    for stage in ("accepted", "done"):
        assert [i for each in told if each["stage"] == stage for i in each["ids"]] == ids
    seqs = [i for each in told if each["stage"] == "settled" for i in each["seqs"]]
    assert seqs == list(range(1, 1_000_001))


@BOTH
@given(st.lists(st.integers(0, 120_000), min_size=1, max_size=12))
def test_frames_are_bounded_whole_and_in_order(codec: Codec, sizes: list[int]) -> None:
    session = active(codec)
    for n, size in enumerate(sizes):
        session.answer(f"q{n}", "x" * size)
    frames = session.frames()
    assert [each["reply_to"] for each in heard(codec, frames)] == [
        f"q{n}" for n in range(len(sizes))
    ]
    assert all(len(frame) <= FRAME_TARGET + 120_200 for frame in frames)
    assert session.frames() == []
    assert session.buffered == 0


@BOTH
@pytest.mark.parametrize("count", [1, 2, 999, 1000, 1001, 2500])
def test_a_frame_has_a_thousand_envelopes_at_most(codec: Codec, count: int) -> None:
    session = active(codec)
    for n in range(count):
        session.say(Envelope("HEARTBEAT", sender="hub", payload=n))
    frames = session.frames()
    assert len(frames) == -(-count // 1000)
    decoded = [codec.decode(frame, from_hub=True) for frame in frames]
    assert all(len(items) <= 1000 for items in decoded)
    assert [
        item.payload for items in decoded for item in items if isinstance(item, Envelope)
    ] == list(range(count))


def test_one_envelope_larger_than_the_target_goes_alone() -> None:
    session = active()
    session.answer("a", 1)
    session.answer("b", "x" * (FRAME_TARGET * 2))
    session.answer("c", 1)
    assert len(session.frames()) == 3


@BOTH
def test_an_error_always_says_what_it_answers_or_that_it_does_not(codec: Codec) -> None:
    session = active(codec)
    session.error(ProtocolError(ErrorCode.BAD_MESSAGE, "frame: no"))
    session.error(ProtocolError(ErrorCode.BAD_MESSAGE, "to: no", reply_to="m1"))
    first, second = heard(codec, session.frames())
    payload = {"code": "bad_message", "message": "frame: no", "retryable": False}
    assert first == {"type": "ERROR", "from": "hub", "reply_to": None, "payload": payload}
    assert second["reply_to"] == "m1"


def test_the_outlet_hears_once_until_it_is_emptied() -> None:
    session, outlet = new()
    session.registering(Register("dc"))
    session.activate("s", 1, 2_000)
    for _ in range(3):
        session.accepted("m")
        session.answer("q", 1)
    assert outlet == [session]
    session.frames()
    session.accepted("m")
    assert outlet == [session, session]
    session.withhold()  # the socket takes nothing: asked for again later
    session.touch()
    assert outlet == [session, session, session]
    assert len(heard(JSON, session.frames())) == 1
