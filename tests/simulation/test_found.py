"""Faults that simulated runs have found, each as small as it can be told."""

from __future__ import annotations

from trishula_broker.hub.mailbox import Mailbox
from trishula_broker.hub.settings import HubSettings
from trishula_broker.store.base import Copy, Fetched, Message


def copy(seq: int, priority: int = 3) -> Copy:
    message = Message(seq, f"m{seq}", "dc", "STATUS", "agni", priority, None, False, 0, None, b"{}")
    return Copy(message, 0, 0, None)


def test_a_doubt_that_comes_while_a_fetch_is_on_its_way_is_not_forgotten() -> None:
    mailbox = Mailbox(10, HubSettings())
    mailbox.fetch()
    mailbox.fetched(Fetched((copy(4),), more=True, due_at=None))
    assert mailbox.fetch()[0] == (3, 4)
    mailbox.doubt()  # a copy before the fourth has become due
    mailbox.fetched(Fetched((copy(6),), more=True, due_at=None))
    assert mailbox.wants_fetch()
    assert mailbox.fetch()[0] is None
