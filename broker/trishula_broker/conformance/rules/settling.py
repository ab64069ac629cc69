"""§5: what recipients say of their mail, and what becomes of it otherwise."""

from __future__ import annotations

from typing import Any, Final

from trishula_broker.conformance.lab import Lab
from trishula_broker.conformance.peer import Envelope, Peer, command
from trishula_broker.conformance.rule import Chapter, need

CHAPTER: Final = Chapter("§5")
NEVER: Final = 2**53
"""A seq that nobody has."""


async def _held(lab: Lab, **fields: Any) -> tuple[Peer, Peer, Envelope]:
    """A sender, a recipient, and a message that it was handed."""
    sender, recipient = await lab.agent(), await lab.agent(**fields)
    id_ = await sender.send(recipient.name)
    return sender, recipient, await recipient.mail(id_)


async def _nothing_else(sender: Peer, recipient: Peer, what: str) -> None:
    """That nothing was delivered before a message that is sent now."""
    await recipient.mail(await sender.send(recipient.name, priority=5))
    need(not recipient.heard(lambda it: "seq" in it), what)


async def _stale(peer: Peer, seq: int) -> None:
    found = await peer.hear("stale_ack", lambda it: it["type"] == "ERROR" and "seq" not in it)
    told = found["payload"]
    need(told.get("code") == "stale_ack", f"{told.get('code')}, instead of stale_ack")
    seqs = (told.get("details") or {}).get("seqs")
    need(seqs == [seq], f"details.seqs is {seqs!r}, instead of [{seq}]")


@CHAPTER.rule
async def done_is_for_good(lab: Lab) -> None:
    """What is done is answered settled, and never delivered again."""
    sender, recipient, held = await _held(lab)
    await recipient.settle(held["seq"])
    recipient = await lab.back(recipient)
    await _nothing_else(sender, recipient, "what was settled was delivered again")


@CHAPTER.rule
async def settled_again(lab: Lab) -> None:
    """A repetition is answered settled, too, on another session as well; a seq given twice counts
    once."""
    _, recipient, held = await _held(lab)
    await recipient.settle(held["seq"], held["seq"])
    await recipient.settle(held["seq"])
    recipient = await lab.back(recipient)
    await recipient.settle(held["seq"])


@CHAPTER.rule
async def nothing_is_settled_by_being_sent(lab: Lab) -> None:
    """What a session held unread when it ended goes out again at the agent's next registration,
    and costs no attempt."""
    _, recipient, held = await _held(lab)
    again = await (await lab.back(recipient)).mail(held["id"])
    need(again["seq"] == held["seq"], "it came under another seq")
    need(again["attempt"] == 1, f"attempt is {again['attempt']}, though it was never read")


@CHAPTER.rule
async def an_attempt_ends_with_its_session(lab: Lab) -> None:
    """A session that ends after read costs an attempt; the next one comes with attempt 2."""
    _, recipient, held = await _held(lab)
    await recipient.ack("read", held["seq"])
    await recipient.ask("peek")
    again = await (await lab.back(recipient)).mail(held["id"])
    need(again["attempt"] == 2, f"attempt is {again['attempt']}, after one that was read")


@CHAPTER.rule
async def an_attempt_goes_on(lab: Lab) -> None:
    """When the agent says read again on its new session, the attempt has not ended: it is not
    handed out again, and done settles it."""
    sender, recipient, held = await _held(lab)
    await recipient.ack("read", held["seq"])
    await recipient.ask("peek")
    recipient = await lab.back(recipient)
    await recipient.ack("read", held["seq"])
    await recipient.settle(held["seq"])
    await _nothing_else(sender, recipient, "an attempt that went on was handed out again")


@CHAPTER.rule
async def a_lease_lapses(lab: Lab) -> None:
    """What is read and neither settled nor renewed within lease_ms comes again, with attempt 2."""
    _, recipient, held = await _held(lab, lease_ms=1000)
    await recipient.ack("read", held["seq"])
    again = await recipient.mail(held["id"])
    need(again["attempt"] == 2, f"attempt is {again['attempt']}, after a lease that lapsed")


@CHAPTER.rule
async def requeue_is_another_attempt(lab: Lab) -> None:
    """Rejected with requeue ends an attempt; the next one comes with attempt 2."""
    _, recipient, held = await _held(lab)
    await recipient.settle(held["seq"], stage="rejected", reason="busy", requeue=True)
    again = await recipient.mail(held["id"])
    need(again["attempt"] == 2, f"attempt is {again['attempt']}, after a requeue")


@CHAPTER.rule
async def stale_ack_for_what_is_not_ones_own(lab: Lab) -> None:
    """Settling what is another's, or was never in this mailbox, is stale_ack with details.seqs;
    the good ones of the same ACK are settled all the same."""
    sender, recipient, held = await _held(lab)
    await recipient.ack("done", held["seq"], NEVER)
    await _stale(recipient, NEVER)
    await recipient.settled(held["seq"])
    id_ = await recipient.send(sender.name)
    theirs = await sender.mail(id_)
    await recipient.ack("done", theirs["seq"])
    await _stale(recipient, theirs["seq"])
    await sender.settle(theirs["seq"])


@CHAPTER.rule
async def an_answer_settles(lab: Lab) -> None:
    """A RESULT with settles is accepted and settles in one commit, and is delivered without
    settles."""
    sender, recipient, held = await _held(lab)
    answer = await recipient.send(
        sender.name, {"ok": True}, type="RESULT", reply_to=held["id"], settles=held["seq"]
    )
    await recipient.settled(held["seq"])
    got = await sender.mail(answer)
    need(got.get("reply_to") == held["id"], f"reply_to became {got.get('reply_to')!r}")
    need("settles" not in got, "settles was delivered")
    recipient = await lab.back(recipient)
    await _nothing_else(sender, recipient, "what its answer settled was delivered again")


@CHAPTER.rule
async def an_answer_that_settles_nothing(lab: Lab) -> None:
    """With settles of what is not one's own, stale_ack, and nothing is sent."""
    sender, recipient, held = await _held(lab)
    answer = command(
        sender.name, type="RESULT", reply_to=held["id"], settles=NEVER, payload="wrong"
    )
    await recipient.refuses(answer, "stale_ack")
    await _nothing_else(recipient, sender, "an answer was sent that settled nothing")


@CHAPTER.rule
async def acks_have_a_form(lab: Lab) -> None:
    """An ACK has a stage of read, done or rejected, and up to 10 000 seqs."""
    _, recipient, held = await _held(lab)
    for payload in (
        {"stage": "eaten", "seqs": [held["seq"]]},
        {"stage": "done", "seqs": list(range(1, 10_002))},
        {"stage": "done", "seqs": "all"},
        {"stage": "rejected", "seqs": [held["seq"]], "reason": "x" * 1025},
    ):
        await recipient.refuses({"type": "ACK", "to": "hub", "payload": payload}, "bad_message")
    await recipient.settle(held["seq"])
