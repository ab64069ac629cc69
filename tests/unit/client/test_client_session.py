"""ClientSession: one connection's state machine."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trishula_protocol import client_session as cs
from trishula_protocol.bodies import Register
from trishula_protocol.client_session import ClientSession, State
from trishula_protocol.codec import JSON, MSGPACK, Codec
from trishula_protocol.envelope import Envelope
from trishula_protocol.errors import ProtocolError


def registered(
    *,
    heartbeat_ms: int = 2_000,
    frame_bytes: int = 1 << 20,
    batch: int = 1000,
    session: str = "s1",
) -> Envelope:
    payload = {
        "agent": "dc",
        "namespace": "default",
        "node": "n1",
        "role": "primary",
        "session": session,
        "heartbeat_ms": heartbeat_ms,
        "server_time": 0,
        "limits": {"frame_bytes": frame_bytes, "batch": batch, "prefetch": 256},
    }
    return Envelope("RESULT", sender="hub", reply_to="r1", payload=payload)


def new(codec: Codec = JSON, heartbeat_ms: int = 2_000) -> ClientSession:
    return ClientSession(Register("dc", ["python"], heartbeat_ms=heartbeat_ms), "r1", codec, 0)


def active(**limits: Any) -> ClientSession:
    session = new()
    session.frames()
    session.receive([registered(**limits)], 0)
    assert session.state is State.ACTIVE
    return session


def types(frames: list[bytes]) -> list[str]:
    return [e.type for f in frames for e in JSON.decode(f) if isinstance(e, Envelope)]


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_it_begins_with_the_registration_alone(codec: Codec) -> None:
    (frame,) = new(codec).frames()
    (hello,) = codec.decode(frame)
    assert isinstance(hello, Envelope)
    assert (hello.type, hello.to, hello.id) == ("COMMAND", "hub", "r1")
    assert hello.payload["op"] == "register"
    assert hello.payload["agent"] == "dc"
    assert hello.payload["capabilities"] == ["python"]
    assert hello.payload["heartbeat_ms"] == 2_000


def test_the_result_makes_it_active() -> None:
    session = new()
    (opened,) = session.receive([registered(frame_bytes=5_000)], 0)
    assert isinstance(opened, cs.Opened)
    assert opened.info.node == "n1"
    assert session.frame_bytes == 5_000


@pytest.mark.parametrize(
    "answer",
    [
        Envelope(
            "ERROR", sender="hub", reply_to="r1", payload={"code": "forbidden", "message": ""}
        ),
        Envelope("ERROR", sender="hub", payload={"code": "bad_message", "message": ""}),
        Envelope("RESULT", sender="hub", reply_to="r1", payload={"agent": "dc"}),
    ],
)
def test_any_other_answer_closes_it(answer: Envelope) -> None:
    session = new()
    (closed,) = session.receive([answer], 0)
    assert isinstance(closed, cs.Closed)
    assert (closed.error is None) == (answer.type == "RESULT")
    assert session.state is State.CLOSED
    assert session.frames() == []
    assert session.receive([registered()], 0) == []
    assert session.next_timeout() is None


@pytest.mark.parametrize(("heartbeat_ms", "given_up_at"), [(2_000, 4_000), (30_000, 10_000)])
def test_a_registration_without_answer_is_given_up_like_a_silent_hub(
    heartbeat_ms: int, given_up_at: int
) -> None:
    session = new(heartbeat_ms=heartbeat_ms)
    assert session.next_timeout() == given_up_at
    assert session.timeout(given_up_at - 1) == []
    (closed,) = session.timeout(given_up_at)
    assert isinstance(closed, cs.Closed)


def test_events_keep_the_order_of_the_frame_and_mail_comes_in_batches() -> None:
    session = active()
    mail = [Envelope("STATUS", id=f"m{n}", sender="a", to="dc", seq=n) for n in (1, 2, 3)]
    ack = Envelope("ACK", sender="hub", payload={"stage": "accepted", "ids": ["x"]})
    events = session.receive([mail[0], mail[1], ack, mail[2]], 0)
    assert [type(e) for e in events] == [cs.Mail, cs.Accepted, cs.Mail]
    assert isinstance(events[0], cs.Mail)
    assert events[0].envelopes == mail[:2]


def test_what_the_hub_says_is_told_apart() -> None:
    session = active()
    events = session.receive(
        [
            Envelope("ACK", sender="hub", payload={"stage": "settled", "seqs": [4]}),
            Envelope("ACK", sender="hub", payload={"stage": "read", "seqs": [4]}),
            Envelope("ACK", sender="hub", payload={"stage": "read", "ids": ["x"], "by": "agni"}),
            Envelope("ACK", sender="hub", payload={"stage": "so what"}),
            Envelope("RESULT", sender="hub", reply_to="q", payload=1),
            Envelope("ERROR", sender="hub", reply_to="q", payload={"code": "c", "message": "m"}),
            Envelope("ERROR", sender="hub", payload="?"),
            Envelope("HEARTBEAT", sender="hub"),
            Envelope("STATUS", id="p", sender="hub", to="dc"),
            Envelope("COMMAND", id="p", to="dc"),
            ProtocolError("bad_message", "no"),  # type: ignore[arg-type]
        ],
        0,
    )
    assert [type(e) for e in events] == [
        cs.Settled,
        cs.Trouble,
        cs.Receipt,
        cs.Trouble,
        cs.Answer,
        cs.Refused,
        cs.Refused,
        cs.Mail,
        cs.Trouble,
        cs.Trouble,
    ]


def test_a_heartbeat_leaves_at_least_every_interval_the_hub_named() -> None:
    session = active(heartbeat_ms=500)
    sent = 0
    for now in range(0, 5_000, 100):
        session.alive(now)
        assert session.timeout(now) == []
        sent += types(session.frames()).count("HEARTBEAT")
    assert sent in (9, 10)  # the first comes sooner


def beats_until(session: ClientSession, end: int, begin: int = 0) -> list[int]:
    """When it sends a heartbeat, to a hub that answers at once."""
    beats = []
    for now in range(begin, end):
        due = session.next_timeout()
        if due is not None and due <= now:
            assert session.timeout(now) == []
            if session.frames():
                beats.append(now)
                session.alive(now)
    return beats


@given(st.text(min_size=1, max_size=30))
def test_the_first_heartbeat_comes_within_an_interval_and_the_others_after_one(name: str) -> None:
    first, second, third = beats_until(active(heartbeat_ms=50, session=name), 151)[:3]
    assert 0 < first <= 50
    assert second == first + 50
    assert third == second + 50


def test_agents_that_register_together_do_not_go_on_speaking_together() -> None:
    firsts = [
        beats_until(active(heartbeat_ms=2_000, session=f"01J{n:04}"), 2_001)[0] for n in range(100)
    ]
    for quarter in range(0, 2_000, 500):
        assert 10 < sum(quarter < first <= quarter + 500 for first in firsts) < 40


@pytest.mark.parametrize("held_up", [1, 400, 1_999, 2_000, 2_001, 3_900])
def test_who_was_held_up_keeps_its_turn(held_up: int) -> None:
    session = active(heartbeat_ms=2_000)
    due = session.next_timeout()
    assert due is not None
    session.alive(due + held_up)
    session.timeout(due + held_up)
    assert types(session.frames()) == ["HEARTBEAT"]
    following = due + 2_000 if held_up < 2_000 else due + held_up + 2_000
    assert session.next_timeout() == following


def test_silence_of_two_intervals_ends_it() -> None:
    session = active()
    session.alive(1_000)
    assert session.timeout(4_999) == []
    (closed,) = session.timeout(5_000)
    assert isinstance(closed, cs.Closed)
    assert closed.code == 4408


def test_a_process_that_was_stopped_itself_asks_before_it_gives_up() -> None:
    session = active()
    assert session.timeout(60_000) == []
    assert types(session.frames()) == ["HEARTBEAT"]
    session.receive([Envelope("HEARTBEAT", sender="hub")], 60_010)
    assert session.timeout(62_000) == []
    assert session.state is State.ACTIVE
    session.timeout(120_000)
    (closed,) = session.timeout(122_000)
    assert isinstance(closed, cs.Closed)


def test_an_ending_is_reported_once() -> None:
    session = active()
    (closed,) = session.closed(1012, "drain")
    assert closed == cs.Closed(1012, "drain")
    assert session.closed(1006, "") == []


def test_what_no_frame_can_hold_is_an_error_before_it_is_sent() -> None:
    session = active(frame_bytes=100)
    with pytest.raises(ProtocolError, match="too_large"):
        session.send(b"x" * 101)
    session.send(b'"' + b"x" * 98 + b'"')
    assert len(session.frames()) == 1


@given(
    sizes=st.lists(st.integers(2, 300), max_size=60),
    frame_bytes=st.integers(300, 2_000),
    batch=st.integers(1, 20),
)
def test_all_leaves_in_order_within_the_hubs_limits(
    sizes: list[int], frame_bytes: int, batch: int
) -> None:
    session = active(frame_bytes=frame_bytes, batch=batch)
    parts = [b'"%d%s"' % (n % 10, b"x" * (size - 3)) for n, size in enumerate(sizes)]
    for part in parts:
        session.send(part)
    frames = session.frames()
    assert all(len(frame) <= frame_bytes for frame in frames)
    assert b",".join(f.strip(b"[]") for f in frames) == b",".join(parts)
    assert all(frame.count(b'"') // 2 <= batch for frame in frames)
    assert session.frames() == []
    if parts and batch >= len(parts) and sum(sizes) + len(sizes) + 1 <= frame_bytes:
        assert len(frames) == 1
