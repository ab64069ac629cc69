"""The core with a shared folder: both ways in and out, each message once."""

from __future__ import annotations

from typing import Any

from trishula.core import AgentCore
from trishula.events import Accepted, NewMail, Refused, Returned
from trishula.inbox import Delivery
from trishula.outbox import Outgoing
from trishula_protocol.bodies import ErrorBody, Register
from trishula_protocol.codec import JSON
from trishula_protocol.envelope import Envelope

KEY = ("dc", "m1")


def make_core() -> AgentCore:
    return AgentCore(Register("agni"), fraction=lambda: 0.5)


def letter(id: str = "m1", seq: int | None = None, **fields: Any) -> Envelope:
    return Envelope("STATUS", id=id, sender="dc", to="agni", seq=seq, **fields)


def connect(core: AgentCore) -> None:
    core.connect("r", 0)
    registered = {
        "agent": "agni",
        "namespace": "default",
        "node": "hub",
        "role": "primary",
        "session": "s",
        "heartbeat_ms": 2000,
        "server_time": 0,
        "limits": {"frame_bytes": 1 << 20, "batch": 1000, "prefetch": 256},
    }
    core.receive(JSON.encode(Envelope("RESULT", sender="hub", reply_to="r", payload=registered)), 0)
    core.frames()
    core.events()


def deliver(core: AgentCore, envelope: Envelope) -> None:
    core.receive(JSON.encode(envelope), 1)


def new_mail(core: AgentCore) -> list[Delivery]:
    return [
        each for event in core.events() if isinstance(event, NewMail) for each in event.deliveries
    ]


def test_a_file_is_mail_and_is_put_away_once_it_is_finished() -> None:
    core = make_core()
    core.file_in([letter()])
    (mail,) = new_mail(core)
    core.take(mail)
    assert core.inbox.taken == 1
    assert core.inbox.put_away() == []
    core.done(mail)
    assert core.inbox.put_away() == [(KEY, None)]
    assert (core.inbox.taken, core.idle) == (0, True)
    core.file_in([letter()])
    assert new_mail(core) == []
    assert core.inbox.put_away() == [(KEY, None)]


def test_what_comes_both_ways_is_handed_out_once_and_settled_both_ways() -> None:
    for file_first in (True, False):
        core = make_core()
        connect(core)
        for file in (file_first, not file_first):
            if file:
                core.file_in([letter()])
            else:
                deliver(core, letter(seq=7))
        (mail,) = new_mail(core)
        core.take(mail)
        core.done(mail)
        assert core.inbox.put_away() == [(KEY, None)]
        assert b'"done","seqs":[7]' in b"".join(core.frames())


def test_a_lost_connection_takes_back_the_hubs_mail_and_leaves_the_folders() -> None:
    core = make_core()
    connect(core)
    deliver(core, letter(seq=7))
    deliver(core, letter("m2", seq=8))
    core.file_in([letter()])
    both, only_hub = new_mail(core)
    core.disconnect(1006, "", 2)
    assert core.inbox.holds(both)
    assert not core.inbox.holds(only_hub)
    # It is taken while no hub is there; the next one is not told of a seq it took back.
    core.take(both)
    connect(core)
    assert core.inbox.acks() == []
    core.events()
    deliver(core, letter(seq=7))
    assert new_mail(core) == []
    core.done(both)
    assert core.inbox.put_away() == [(KEY, None)]
    assert b'"done","seqs":[7]' in b"".join(core.frames())


def test_another_attempt_is_the_hubs_affair_when_it_has_the_message() -> None:
    core = make_core()
    connect(core)
    core.file_in([letter(), letter("m2")])
    deliver(core, letter(seq=7))
    for mail in new_mail(core):
        core.take(mail)
        core.reject(mail, "not now", requeue=True)
    assert core.inbox.again() == [("dc", "m2")]
    assert b'"seqs":[7],"reason":"not now","requeue":true' in b"".join(core.frames())
    core.file_in([letter("m2")])
    assert [mail.key for mail in new_mail(core)] == [("dc", "m2")]


def test_what_the_folder_has_stored_is_accepted_and_questions_wait_for_a_hub() -> None:
    core = make_core()
    first, question, second = (
        Outgoing("a", b"{}"),
        Outgoing("q", b"{}", stored=False),
        Outgoing("b", b"{}"),
    )
    for out in (first, question, second):
        core.send(out)
    core.leave_hub()
    assert core.take_out() == [first, second]
    core.filed_out([first])
    core.refuse_out(second, ErrorBody("unavailable", "the disk is full", retryable=True))
    accepted, refused = core.events()
    assert isinstance(accepted, Accepted)
    assert accepted.outs == [first]
    assert isinstance(refused, Refused)
    assert refused.out is second
    assert list(core.outbox) == [question]
    core.filed_out([first])
    assert core.events() == []


def test_an_answer_in_the_folder_settles_its_question_also_at_the_hub() -> None:
    core = make_core()
    connect(core)
    deliver(core, letter(seq=7))
    (mail,) = new_mail(core)
    core.take(mail)
    core.frames()
    core.disconnect(1006, "", 2)
    out = Outgoing("answer", b'{"settles":7}')
    core.answer(mail, out)
    core.leave_hub()
    core.filed_out(core.take_out())
    connect(core)
    assert core.inbox.unconfirmed == 1


def test_a_hubs_copy_of_what_was_answered_by_name_only_is_settled_too() -> None:
    core = make_core()
    core.file_in([letter()])
    (mail,) = new_mail(core)
    core.take(mail)
    out = Outgoing("answer", b"{}")
    core.answer(mail, out)
    connect(core)
    deliver(core, letter(seq=7))
    deliver(core, Envelope("ACK", sender="hub", payload={"stage": "accepted", "ids": ["answer"]}))
    assert core.inbox.put_away() == [(KEY, None)]
    assert b'"done","seqs":[7]' in b"".join(core.frames())


def test_an_answer_that_came_by_file_goes_to_the_command_that_waits() -> None:
    core = make_core()
    waiter = object()
    core.commands.expect("c1", waiter)
    answer = Envelope("RESULT", id="r1", sender="dc", to="agni", reply_to="c1")
    core.file_in([answer])
    (returned,) = core.events()
    assert isinstance(returned, Returned)
    assert returned.waiter is waiter
    assert core.inbox.put_away() == [(("dc", "r1"), None)]
    core.commands.expect("c2", waiter)
    core.notice(Envelope("ERROR", id="n", sender="hub", reply_to="c2", payload={}))
    assert isinstance(core.events()[0], Returned)
