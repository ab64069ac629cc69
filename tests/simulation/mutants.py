"""Known faults, to be put into the core, the store and the SDK: the simulation must find each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from tests.simulation.hubs import HubHost
from trishula.inbox import Inbox
from trishula.outbox import Outbox
from trishula_broker.hub import guard as hub_guard
from trishula_broker.hub.acceptance import Acceptance
from trishula_broker.hub.backpressure import Backpressure
from trishula_broker.hub.delivery import Delivery
from trishula_broker.hub.hearing import Hearing
from trishula_broker.hub.mailbox import Mailbox
from trishula_broker.hub.membership import Membership
from trishula_broker.hub.now import Now
from trishula_broker.hub.registration import Registration
from trishula_broker.hub.standing import Standing
from trishula_broker.hub.window import Window
from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore, mail, sessions
from trishula_broker.store.memory import hints as memory_hints
from trishula_broker.store.memory import store as memory
from trishula_broker.store.memory.node import Lead
from trishula_protocol.envelope import Envelope
from trishula_protocol.hub_session import HubSession


@contextmanager
def replaced(kind: type, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """``kind.name`` is ``make(what it was)`` meanwhile."""
    with patch.object(kind, name, make(getattr(kind, name))):
        yield


@contextmanager
def operation(kind: type[base.Op], make: Callable[[Any], Any]) -> Iterator[None]:
    """The store does ``make(what it did)`` with operations of ``kind``."""
    with patch.dict(memory._APPLY, {kind: make(memory._APPLY[kind])}):
        yield


def acknowledged_before_the_commit() -> Any:
    def make(accept: Any) -> Any:
        def early(self: Acceptance, session: HubSession, envelope: Envelope, now: Now) -> None:
            accept(self, session, envelope, now)
            assert envelope.id is not None
            session.accepted(envelope.id)

        return early

    return replaced(Acceptance, "accept", make)


def a_copy_forgotten_at_a_restart() -> Any:
    def make(opened: Any) -> Any:
        async def forgetful(self: MemoryStore) -> None:
            await opened(self)
            for space in self._books.spaces.values():
                for box in space.mailboxes.values():
                    for _, seq in box.queue[-1:]:
                        space.settle(box.copies[seq], 0, "done", None)

        return forgetful

    return replaced(MemoryStore, "open", make)


def no_dedup() -> Any:
    def make(accept: Any) -> Any:
        def again(books: Any, space: Any, now: int, op: base.Accept) -> base.Outcome:
            space.ids.pop((op.sender, op.id), None)
            outcome: base.Outcome = accept(books, space, now, op)
            return outcome

        return again

    return operation(base.Accept, make)


def a_settle_dropped_now_and_then() -> Any:
    def make(settle: Any) -> Any:
        count = 0

        def sometimes(books: Any, space: Any, now: int, op: base.Settle) -> base.Outcome:
            nonlocal count
            count += 1
            outcome: base.Outcome = settle(books, space, now, op)
            if count % 5 == 0 and isinstance(outcome, base.Marked):
                for seq in outcome.seqs:
                    held = space.mailbox(op.agent).copies[seq]
                    if held.outcome == "done":
                        space.reopen(held)
            return outcome

        return sometimes

    return operation(base.Settle, make)


def an_answer_that_does_not_settle() -> Any:
    def make(accept: Any) -> Any:
        def without(books: Any, space: Any, now: int, op: base.Accept) -> base.Outcome:
            op = msgspec.structs.replace(op, settles=None)
            outcome: base.Outcome = accept(books, space, now, op)
            return outcome

        return without

    return operation(base.Accept, make)


def a_failed_commit_believed_to_have_done_nothing() -> Any:
    return replaced(Delivery, "doubt_all", lambda _: lambda self: None)


def an_old_session_not_fenced() -> Any:
    @contextmanager
    def mutant() -> Iterator[None]:
        def open_to_all(space: Any, name: str, epoch: int) -> None:
            return None

        with (
            patch.object(mail, "fence", open_to_all),
            patch.object(sessions, "fence", open_to_all),
        ):
            yield

    return mutant()


def a_broadcast_that_reaches_its_sender() -> Any:
    def make(recipients: Any) -> Any:
        def everybody(space: Any, op: base.Accept) -> list[str] | None:
            names: list[str] | None = recipients(space, op)
            return sorted(space.agents) if str(op.address) == "broadcast" else names

        return everybody

    return patch.object(mail, "_recipients", make(mail._recipients))


def nobody_told_of_what_was_given_up() -> Any:
    def make(discard: Any) -> Any:
        def silently(books: Any, space: Any, now: int, op: base.Discard) -> base.Outcome:
            op = msgspec.structs.replace(op, notice=None)
            outcome: base.Outcome = discard(books, space, now, op)
            return outcome

        return silently

    return operation(base.Discard, make)


def a_window_that_forgets_what_it_dropped() -> Any:
    def make(halve: Any) -> Any:
        def forget(self: Window) -> None:
            halve(self)
            self.horizon = None

        return forget

    return replaced(Window, "halve", make)


def a_prefetch_that_is_never_freed() -> Any:
    return replaced(Mailbox, "said_done", lambda _: lambda self, seqs: None)


def unaccepted_messages_counted_for_ever() -> Any:
    def make(regulate: Any) -> Any:
        def leak(self: Backpressure, session: HubSession, now: Now) -> None:
            session.unaccepted += 1
            regulate(self, session, now)

        return leak

    return replaced(Backpressure, "regulate", make)


def an_sdk_that_forgets_what_it_finished() -> Any:
    def make(offer: Any) -> Any:
        def forget(self: Inbox, envelopes: Any) -> Any:
            self.finished = type(self.finished)(1)
            return offer(self, envelopes)

        return forget

    return replaced(Inbox, "offer", make)


def an_sdk_that_sends_again_in_another_order() -> Any:
    def make(reconnected: Any) -> Any:
        def backwards(self: Outbox) -> None:
            reconnected(self)
            self._ready.reverse()

        return backwards

    return replaced(Outbox, "reconnected", make)


def an_sdk_that_does_not_send_again() -> Any:
    def make(reconnected: Any) -> Any:
        def silent(self: Outbox) -> None:
            reconnected(self)
            self._ready.clear()

        return silent

    return replaced(Outbox, "reconnected", make)


def a_node_that_does_not_hear_of_a_takeover() -> Any:
    return replaced(Hearing, "_ended", lambda _: lambda self, hint, now: None)


def a_node_that_does_not_look_for_what_it_missed() -> Any:
    return replaced(Delivery, "look_again", lambda _: lambda self, now: None)


def a_node_that_goes_on_when_it_was_given_up() -> Any:
    return replaced(Registration, "disowned", lambda _: lambda self: None)


def a_commit_that_returns_before_its_hints() -> Any:
    return replaced(HubHost, "_catch_up", lambda _: lambda self: None)


def a_frozen_node_that_leads() -> Any:
    return replaced(Lead, "fence", lambda _: lambda self, epoch: None)


def a_frozen_node_that_delivers() -> Any:
    return replaced(Membership, "sure", lambda _: lambda self, now: True)


def mail_for_another_node_that_is_not_told() -> Any:
    return patch.object(memory_hints, "_mail", lambda space, agent, seq: iter(()))


def a_pause_that_is_not_told_to_other_nodes() -> Any:
    def make(caused: Any) -> Any:
        def silent(space: Any, op: Any, outcome: Any, before: Any) -> Iterator[Any]:
            return iter(()) if isinstance(op, base.Pause) else caused(space, op, outcome, before)

        return silent

    return patch.object(memory, "caused", make(memory_hints.caused))


def a_pause_after_which_the_window_is_still_handed_out() -> Any:
    return replaced(Delivery, "look_at", lambda _: lambda self, agent: None)


def a_store_that_hands_out_what_is_paused() -> Any:
    def make(fetch: Any) -> Any:
        def blind(books: Any, space: Any, now: int, op: base.Fetch) -> base.Outcome:
            agent = space.agents.get(op.agent)
            paused, agent.paused = agent.paused, None
            try:
                outcome: base.Outcome = fetch(books, space, now, op)
                return outcome
            finally:
                agent.paused = paused

        return blind

    return operation(base.Fetch, make)


def answers_to_an_earlier_sessions_mail_not_allowed() -> Any:
    return patch.object(hub_guard, "_received", lambda traced, agent, sender: False)


def a_token_that_does_not_allow_a_group() -> Any:
    return replaced(Standing, "allowed", lambda _: lambda self, sign, names: ())


MUTANTS: list[Callable[[], Any]] = [
    acknowledged_before_the_commit,
    a_copy_forgotten_at_a_restart,
    no_dedup,
    a_settle_dropped_now_and_then,
    an_answer_that_does_not_settle,
    a_failed_commit_believed_to_have_done_nothing,
    an_old_session_not_fenced,
    a_broadcast_that_reaches_its_sender,
    nobody_told_of_what_was_given_up,
    a_window_that_forgets_what_it_dropped,
    a_prefetch_that_is_never_freed,
    unaccepted_messages_counted_for_ever,
    an_sdk_that_forgets_what_it_finished,
    an_sdk_that_sends_again_in_another_order,
    an_sdk_that_does_not_send_again,
    a_node_that_does_not_hear_of_a_takeover,
    a_node_that_does_not_look_for_what_it_missed,
    a_node_that_goes_on_when_it_was_given_up,
    a_commit_that_returns_before_its_hints,
    a_frozen_node_that_leads,
    a_frozen_node_that_delivers,
    mail_for_another_node_that_is_not_told,
    a_pause_that_is_not_told_to_other_nodes,
    a_pause_after_which_the_window_is_still_handed_out,
    a_store_that_hands_out_what_is_paused,
    answers_to_an_earlier_sessions_mail_not_allowed,
    a_token_that_does_not_allow_a_group,
]
