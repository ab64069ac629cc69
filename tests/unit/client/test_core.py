"""AgentCore: what outlives connections."""

from __future__ import annotations

import itertools

import pytest

from tests.unit.client.hub_link import delivery, ids, make_link, outgoing, seqs
from trishula import events
from trishula.inbox import Delivery, Stage
from trishula.outbox import Outgoing
from trishula_protocol import client_session as session
from trishula_protocol.bodies import Agents, Tap, Watch
from trishula_protocol.envelope import Envelope


def fresh(found: list[events.Event]) -> list[Delivery]:
    return [d for e in found if isinstance(e, events.NewMail) for d in e.deliveries]


def stage_of(delivery: Delivery) -> Stage:
    return delivery.stage


class TestSending:
    def test_nothing_but_the_registration_leaves_before_it_is_granted(self) -> None:
        link = make_link()
        link.core.send(outgoing(link.core, "a"))
        link.core.connect("reg1", link.now)
        assert ids(link.flush()) == ["reg1"]

    def test_what_is_sent_leaves_in_order_in_one_frame_and_is_accepted(self) -> None:
        link = make_link()
        link.register()
        for name in "abc":
            link.core.send(outgoing(link.core, name))
        assert len(frames := link.core.frames()) == 1
        assert frames[0].index(b'"a"') < frames[0].index(b'"b"') < frames[0].index(b'"c"')
        (accepted,) = link.ack("accepted", ids=["b", "a", "x"])
        assert isinstance(accepted, events.Accepted)
        assert [out.waiter for out in accepted.outs] == ["b", "a"]
        assert "c" in link.core.outbox
        assert not link.core.idle

    def test_what_was_not_accepted_goes_out_again_in_its_old_order(self) -> None:
        link = make_link()
        link.register()
        for name in "abcd":
            link.core.send(outgoing(link.core, name))
        link.flush()
        link.ack("accepted", ids=["b"])
        link.lose()
        link.core.send(outgoing(link.core, "e"))
        link.register()
        assert ids(link.flush()) == ["a", "c", "d", "e"]

    def test_an_id_on_its_way_cannot_be_used_again(self) -> None:
        link = make_link()
        link.core.send(outgoing(link.core, "a"))
        with pytest.raises(ValueError, match="'a' is on its way already"):
            link.core.send(outgoing(link.core, "a"))

    def test_what_is_held_leaves_once_it_is_released(self) -> None:
        link = make_link()
        link.register()
        out = outgoing(link.core, "a", held=True)
        link.core.send(out)
        assert ids(link.flush()) == []
        link.lose()
        link.register()
        assert ids(link.flush()) == []
        link.core.outbox.release([out])
        link.core.outbox.release([out])
        assert ids(link.flush()) == ["a"]

    def test_it_is_full_at_its_limit(self) -> None:
        link = make_link(messages=2)
        link.core.send(outgoing(link.core, "a"))
        found = [link.core.outbox.full]
        link.core.send(outgoing(link.core, "b"))
        found.append(link.core.outbox.full)
        link.register()
        link.flush()
        link.ack("accepted", ids=["a"])
        found.append(link.core.outbox.full)
        assert found == [False, True, False]

    def test_a_refusal_goes_to_its_waiter(self) -> None:
        link = make_link()
        link.register()
        link.core.send(outgoing(link.core, "a"))
        link.flush()
        (refused,) = link.error("a", "unknown_recipient", details={"nearest": ["agni"]})
        assert isinstance(refused, events.Refused)
        assert refused.out.waiter == "a"
        assert refused.error.details == {"nearest": ["agni"]}
        assert link.core.idle

    def test_why_nothing_is_accepted_is_told_once_until_something_is(self) -> None:
        link = make_link()
        link.register()

        def refused(message: str) -> list[str]:
            link.flush()
            found = link.error("a", "unavailable", message=message, retry_after_ms=1)
            link.pass_time(60)
            return [event.reason for event in found if isinstance(event, events.Waits)]

        link.core.send(outgoing(link.core, "a"))
        assert refused("the disk is full") == ["the disk is full"]
        assert refused("the disk is full") == []
        assert refused("it restarts") == ["it restarts"]
        link.flush()
        link.ack("accepted", ids=["a"])
        link.core.send(outgoing(link.core, "a"))
        assert refused("it restarts") == ["it restarts"]

    def test_unavailable_is_sent_again_under_the_same_id_in_order(self) -> None:
        link = make_link()
        link.register()
        for name in "abc":
            link.core.send(outgoing(link.core, name))
        link.flush()
        assert link.error("b", "unavailable", retryable=True) == [events.Waits("no")]
        link.error("a", "unavailable", retryable=True)
        link.core.send(outgoing(link.core, "d"))
        assert link.flush() == []
        link.written.clear()
        link.pass_time(60)
        assert ids(link.written) == ["a", "b", "d"]

    def test_rate_limited_waits_as_long_as_the_hub_says(self) -> None:
        link = make_link()
        link.register()
        link.core.send(outgoing(link.core, "a"))
        link.flush()
        link.written.clear()
        link.error("a", "rate_limited", retryable=True, retry_after_ms=700)
        link.pass_time(699)
        assert ids(link.written) == []
        link.pass_time(1)
        assert ids(link.written) == ["a"]

    def test_a_patient_message_waits_alone_for_a_full_mailbox(self) -> None:
        link = make_link()
        link.register()
        link.core.send(outgoing(link.core, "a", patient=True))
        link.core.send(outgoing(link.core, "b"))
        link.flush()
        assert link.error("a", "mailbox_full", retryable=True) == []
        link.core.send(outgoing(link.core, "c"))
        assert ids(link.flush()) == ["c"]
        link.written.clear()
        link.pass_time(100)
        assert ids(link.written) == ["a"]
        (refused,) = link.error("b", "mailbox_full", retryable=True)
        assert isinstance(refused, events.Refused)

    def test_what_an_earlier_life_left_behind_waits_for_a_full_mailbox(self) -> None:
        link = make_link()
        left = outgoing(link.core, "a")
        left.waiter = None
        link.core.resume([left], [])
        link.register()
        link.flush()
        link.written.clear()
        assert link.error("a", "mailbox_full", retryable=True) == []
        link.pass_time(100)
        assert ids(link.written) == ["a"]

    def test_what_no_frame_of_the_hub_can_hold_is_refused_here(self) -> None:
        link = make_link()
        link.core.send(outgoing(link.core, "a" * 100))
        link.core.send(outgoing(link.core, "b"))
        link.register(frame_bytes=150)
        assert ids(link.flush()) == ["b"]
        (refused,) = link.core.events()
        assert isinstance(refused, events.Refused)
        assert refused.error.code == "too_large"
        assert ids(link.flush()) == []

    def test_a_question_is_answered_and_asked_again_after_a_lost_connection(self) -> None:
        link = make_link()
        link.register()
        question = Envelope("COMMAND", id="q", to="hub", payload=Agents())
        link.core.ask(Outgoing("q", link.core.encode(question), "me", stored=False))
        link.flush()
        link.lose()
        link.register()
        assert ids(link.flush()) == ["q"]
        (answered,) = link.say(
            Envelope("RESULT", sender="hub", reply_to="q", payload={"agents": []})
        )
        assert isinstance(answered, events.Answered)
        assert answered.out.waiter == "me"
        assert answered.payload == {"agents": []}


class TestMail:
    def test_done_in_the_flush_that_took_it_says_no_read(self) -> None:
        link = make_link()
        link.register()
        one, two = fresh(link.mail(1, 2))
        link.core.take(one)
        link.core.take(two)
        link.core.done(two)
        said = link.flush()
        assert seqs(said, "read") == [1]
        assert seqs(said, "done") == [2]
        assert link.flush() == []

    def test_an_answer_in_the_flush_that_took_it_says_no_read(self) -> None:
        link = make_link()
        link.register()
        one, two = fresh(link.mail(1, 2, type="COMMAND"))
        link.core.take(one)
        link.core.take(two)
        link.core.answer(two, outgoing(link.core, "answer"))
        said = link.flush()
        assert seqs(said, "read") == [1]
        assert ids(said) == ["answer"]

    def test_when_its_answer_is_refused_it_is_read_after_all(self) -> None:
        link = make_link()
        link.register()
        (one,) = fresh(link.mail(1, type="COMMAND"))
        link.core.take(one)
        link.core.answer(one, outgoing(link.core, "answer"))
        link.flush()
        link.error("answer", "forbidden")
        assert seqs(link.flush(), "read") == [1]

    def test_many_settlements_share_an_ack(self) -> None:
        link = make_link()
        link.register()
        for one in fresh(link.mail(*range(1, 101))):
            link.core.take(one)
            link.core.done(one)
        assert len(link.flush()) == 1
        assert not link.core.idle
        link.ack("settled", seqs=list(range(1, 101)))
        assert link.core.idle

    def test_settlements_not_confirmed_are_said_again_after_a_lost_connection(self) -> None:
        link = make_link()
        link.register()
        one, two, three = fresh(link.mail(1, 2, 3))
        link.core.done(one)
        link.core.done(two)
        link.core.reject(three, "no", requeue=False)
        link.flush()
        link.ack("settled", seqs=[1])
        link.lose()
        link.register()
        said = link.flush()
        assert seqs(said, "done") == [2]
        assert seqs(said, "rejected") == [3]

    def test_a_finished_message_that_comes_again_is_settled_and_not_seen(self) -> None:
        link = make_link()
        link.register()
        one, two = fresh(link.mail(1, 2))
        link.core.done(one)
        link.core.reject(two, "broken", requeue=False)
        link.flush()
        assert link.mail(1, 2, attempt=2) == []
        said = link.flush()
        assert seqs(said, "done") == [1]
        assert [e.payload for e in said if e.payload["stage"] == "rejected"] == [
            {"stage": "rejected", "seqs": [2], "reason": "broken"}
        ]

    def test_a_requeued_message_is_handed_out_again(self) -> None:
        link = make_link()
        link.register()
        (one,) = fresh(link.mail(1))
        link.core.take(one)
        link.core.reject(one, "busy", requeue=True)
        (said,) = link.flush()
        assert said.payload == {
            "stage": "rejected",
            "seqs": [1],
            "reason": "busy",
            "requeue": True,
        }
        (again,) = fresh(link.mail(1, attempt=2))
        assert again.attempt == 2

    def test_a_requeue_is_not_said_on_another_connection(self) -> None:
        link = make_link()
        link.register()
        (one,) = fresh(link.mail(1))
        link.core.take(one)
        link.core.reject(one, "busy", requeue=True)
        link.lose()
        link.register()
        assert link.flush() == []
        assert link.core.idle

    def test_a_handler_outlives_its_connection(self) -> None:
        link = make_link()
        link.register()
        (one,) = fresh(link.mail(1))
        link.core.take(one)
        link.flush()
        link.lose()
        link.register()
        assert seqs(link.flush(), "read") == [1]
        assert link.mail(1, attempt=2) == []
        assert one.attempt == 2
        assert seqs(link.flush(), "read") == [1]
        link.core.done(one)
        assert seqs(link.flush(), "done") == [1]

    def test_what_nobody_began_is_given_back_with_the_connection(self) -> None:
        link = make_link()
        link.register()
        assert len(fresh(link.mail(1))) == 1
        link.lose()
        link.register()
        assert link.flush() == []
        assert len(fresh(link.mail(1))) == 1

    def test_leases_are_renewed_before_half_of_them_is_over(self) -> None:
        link = make_link(lease_ms=30_000)
        link.register()
        (one,) = fresh(link.mail(1))
        link.pass_time(1_000)
        link.core.take(one)
        link.flush()
        said_at = [link.now]
        for _ in range(60):
            link.written.clear()
            link.say(Envelope("HEARTBEAT", sender="hub"))
            link.pass_time(1_000)
            if seqs(link.written, "read"):
                said_at.append(link.now)
        assert len(said_at) >= 5
        assert max(b - a for a, b in itertools.pairwise(said_at)) < 15_000

    def test_mail_that_is_not_ours_any_more_is_told_and_not_renewed(self) -> None:
        link = make_link(lease_ms=3_000)
        link.register()
        (one,) = fresh(link.mail(1))
        link.core.take(one)
        link.flush()
        (stale,) = link.error(None, "stale_ack", details={"seqs": [1]})
        assert isinstance(stale, events.StaleMail)
        assert stale.deliveries == [one]
        link.pass_time(1_500)
        assert seqs(link.written, "read") == [1]

    def test_mail_that_was_recalled_before_it_was_begun_is_not_held_any_more(self) -> None:
        link = make_link()
        link.register()
        one, two = fresh(link.mail(1, 2))
        (told,) = link.error(None, "stale_ack", details={"seqs": [1]})
        assert told == events.StaleMail([])
        assert [link.core.inbox.holds(each) for each in (one, two)] == [False, True]

    def test_settling_twice_says_it_once(self) -> None:
        link = make_link()
        link.register()
        (one,) = fresh(link.mail(1))
        link.core.done(one)
        link.core.done(one)
        link.core.reject(one, "no", requeue=False)
        link.core.reject(one, "no", requeue=True)
        assert seqs(link.flush(), "done") == [1]
        assert link.core.inbox.unconfirmed == 1

    def test_only_the_last_finished_ids_are_kept(self) -> None:
        link = make_link(finished=100)
        link.register()
        for seq in range(1, 1_001):
            (one,) = fresh(link.mail(seq))
            link.core.done(one)
        assert 50 <= len(link.core.inbox.finished) <= 100
        assert fresh(link.mail(1_000)) == []
        assert len(fresh(link.mail(1))) == 1


class TestAnswers:
    def test_an_answer_settles_with_its_acceptance(self) -> None:
        link = make_link()
        link.register()
        (one,) = fresh(link.mail(1, type="COMMAND"))
        link.core.take(one)
        link.core.answer(one, outgoing(link.core, "r"))
        link.flush()
        assert stage_of(one) is Stage.ANSWERED
        link.ack("accepted", ids=["r"])
        assert stage_of(one) is Stage.FINISHED
        assert link.core.idle
        assert link.mail(1, attempt=2) == []
        assert seqs(link.flush(), "done") == [1]

    def test_the_lease_is_renewed_until_the_answer_is_accepted(self) -> None:
        link = make_link(lease_ms=3_000)
        link.register()
        (one,) = fresh(link.mail(1, type="COMMAND"))
        link.core.take(one)
        link.core.answer(one, outgoing(link.core, "r"))
        link.flush()
        link.written.clear()
        link.pass_time(1_100)
        assert seqs(link.written, "read") == [1]

    def test_a_refused_answer_leaves_the_message_with_the_application(self) -> None:
        link = make_link()
        link.register()
        (one,) = fresh(link.mail(1, type="COMMAND"))
        link.core.take(one)
        link.core.answer(one, outgoing(link.core, "r"))
        link.flush()
        (refused,) = link.error("r", "unknown_recipient")
        assert isinstance(refused, events.Refused)
        assert one.stage is Stage.TAKEN
        link.core.done(one)
        assert seqs(link.flush(), "done") == [1]


class TestCommands:
    def test_the_result_goes_to_the_waiter_and_is_settled(self) -> None:
        link = make_link()
        link.register()
        link.core.commands.expect("c", "me")
        (returned,) = link.mail(7, type="RESULT", reply_to="c")
        assert isinstance(returned, events.Returned)
        assert returned.waiter == "me"
        assert seqs(link.flush(), "done") == [7]

    def test_progress_comes_before_it(self) -> None:
        link = make_link()
        link.register()
        link.core.commands.expect("c", "me")
        found = link.say(
            delivery(1, reply_to="c"), delivery(2, type="RESULT", reply_to="c"), delivery(3)
        )
        assert [type(event) for event in found] == [
            events.Progress,
            events.Returned,
            events.NewMail,
        ]
        assert seqs(link.flush(), "done") == [1, 2]

    def test_late_and_further_answers_are_settled_and_dropped(self) -> None:
        link = make_link()
        link.register()
        link.core.commands.expect("c", "me")
        link.core.commands.expect("d", "me")
        link.core.commands.abandon("c")
        assert link.mail(7, type="RESULT", reply_to="c") == []
        assert len(link.mail(8, type="RESULT", reply_to="d")) == 1
        assert link.mail(9, type="RESULT", reply_to="d") == []
        assert seqs(link.flush(), "done") == [7, 8, 9]

    def test_answers_nobody_expects_are_mail(self) -> None:
        link = make_link()
        link.register()
        assert len(fresh(link.mail(7, type="RESULT", reply_to="z"))) == 1


class TestConnection:
    def test_a_refused_registration_is_reported_with_its_error(self) -> None:
        link = make_link()
        link.core.connect("reg1", link.now)
        link.flush()
        (hangup,) = link.error("reg1", "forbidden")
        assert isinstance(hangup, events.Hangup)
        (lost,) = link.lose()
        assert isinstance(lost, events.Lost)
        assert lost.error is not None
        assert lost.error.code == "forbidden"

    def test_a_silent_hub_is_given_up_within_two_heartbeats(self) -> None:
        link = make_link()
        link.register()
        found = link.pass_time(4_000)
        assert [type(event) for event in found] == [events.Hangup]
        assert [e.type for e in link.written].count("HEARTBEAT") in (1, 2)

    def test_a_group_joined_is_a_group_at_the_next_registration(self) -> None:
        link = make_link(groups=["ops"])
        link.register()
        link.core.joined("dev", True)
        link.core.joined("ops", False)
        link.lose()
        link.register()
        assert link.written[-1].payload["groups"] == ["dev"]

    def test_watching_goes_on_after_a_lost_connection(self) -> None:
        link = make_link()
        link.core.subscriptions = {"watch": Watch(), "tap": Tap(sender="dc")}
        link.register()
        watch, tap = link.flush()
        assert watch.payload == {"op": "watch"}
        assert tap.payload == {"op": "tap", "from": "dc"}
        (presence,) = link.say(
            Envelope("STATUS", id="p", sender="hub", to="dc", payload={"agent": "agni"})
        )
        assert isinstance(presence, events.Presence)

    def test_an_unreadable_frame_costs_itself_alone(self) -> None:
        link = make_link()
        link.register()
        link.core.receive(b"{", link.now)
        (trouble,) = link.core.events()
        assert isinstance(trouble, events.Trouble)
        assert link.core.active


class TestMoving:
    def test_nothing_new_leaves_while_it_is_held_back_and_the_rest_is_answered(self) -> None:
        link = make_link()
        link.register()
        link.core.send(outgoing(link.core, "a"))
        assert not link.core.underway
        link.flush()
        (mail,) = fresh(link.mail(1))
        link.core.hold_back = True
        link.core.send(outgoing(link.core, "b"))
        link.core.take(mail)
        link.core.done(mail)
        assert seqs(link.flush(), "done") == [1]
        assert ids(link.written) == ["reg1", "a"]
        link.ack("accepted", ids=["a"])
        link.ack("settled", seqs=[1])
        assert not link.core.underway
        link.core.hold_back = False
        assert ids(link.flush()) == ["b"]

    def test_what_a_hub_asked_to_wait_with_is_not_under_way(self) -> None:
        link = make_link()
        link.register()
        link.core.send(outgoing(link.core, "a"))
        link.core.send(outgoing(link.core, "b", patient=True))
        link.core.send(outgoing(link.core, "c", held=True))
        link.flush()
        link.error("a", "unavailable", retryable=True)
        link.error("b", "mailbox_full", retryable=True)
        assert not link.core.underway

    def test_a_session_that_registered_elsewhere_goes_on_with_all_of_it(self) -> None:
        link = make_link()
        link.register()
        link.core.send(outgoing(link.core, "a"))
        link.flush()
        link.core.hold_back = True
        link.core.send(outgoing(link.core, "b"))
        taken, _ = fresh(link.mail(1, 2))
        link.core.take(taken)
        other = make_link()
        other.register()
        assert other.core.session is not None
        assert other.core.session.info is not None
        opened = session.Opened(other.core.session.info)
        link.core.adopt(other.core.session, [opened, session.Mail([delivery(2)])], link.now)
        lost, active, mail = link.core.events()
        assert isinstance(lost, events.Lost)
        assert isinstance(active, events.Active)
        assert [d.seq for d in fresh([mail])] == [2]
        assert ids(again := link.flush()) == ["a", "b"]
        assert seqs(again, "read") == [1]
