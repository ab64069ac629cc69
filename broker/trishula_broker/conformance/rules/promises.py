"""§5: accepted once, in order, told of."""

from __future__ import annotations

from typing import Any, Final

from trishula_broker.conformance.lab import Lab
from trishula_broker.conformance.peer import Peer, command
from trishula_broker.conformance.rule import Chapter, need

CHAPTER: Final = Chapter("§5")
MANY: Final = 100


async def _again(lab: Lab, first: Any, second: Any, **fields: Any) -> tuple[Peer, Peer, Any]:
    """Two messages under one id; who sent them, who got the first, and the fate of the second."""
    sender, recipient = await lab.agent(), await lab.agent()
    id_ = await sender.send(recipient.name, first)
    await sender.say(command(recipient.name, second, id=id_, **fields))
    fate = await sender.fate(id_)
    await recipient.mail(id_)
    return sender, recipient, fate


@CHAPTER.rule
async def the_same_again_is_not_delivered_again(lab: Lab) -> None:
    """The same id with the same content is acknowledged again and not delivered again; the order
    of keys is nothing, and 1 and 1.0 are the same."""
    sender, recipient, fate = await _again(lab, {"a": 1, "b": [2]}, {"b": [2.0], "a": 1})
    need(fate is None, f"the same content was refused: {fate}")
    await recipient.mail(await sender.send(recipient.name))
    need(not recipient.heard(lambda it: "seq" in it), "it was delivered twice")


@CHAPTER.rule
async def another_under_the_same_id(lab: Lab) -> None:
    """The same id with other content is duplicate_id; content is type, to, reply_to and the
    payload's value. true and 1 are not the same."""
    for first, second, fields in (
        (True, 1, {}),
        ({"a": 1}, {"a": 2}, {}),
        (None, None, {"type": "STATUS"}),
        (None, None, {"reply_to": "x"}),
    ):
        sender, recipient, fate = await _again(lab, first, second, **fields)
        code = "none" if fate is None else fate["payload"]["code"]
        what = f"{second!r} {fields or ''} under the id of {first!r}"
        need(code == "duplicate_id", f"{what} was answered by {code}")
        await recipient.mail(await sender.send(recipient.name))
        need(not recipient.heard(lambda it: "seq" in it), f"{what} was delivered")


@CHAPTER.rule
async def a_refusal_frees_the_id(lab: Lab) -> None:
    """A refusal stores nothing and frees the id."""
    peer = await lab.agent()
    wrong = command(peer.name, priority=9)
    await peer.refuses(wrong, "bad_message")
    await peer.send(peer.name, id=wrong["id"], priority=3)
    await peer.mail(wrong["id"])


@CHAPTER.rule
async def ids_are_their_senders(lab: Lab) -> None:
    """An id is unique for its sender: two agents may use the same."""
    one, two = await lab.agent(), await lab.agent()
    id_ = await one.send(two.name, 1)
    await two.send(one.name, 2, id=id_)
    await one.mail(id_)
    await two.mail(id_)


@CHAPTER.rule
async def order_is_kept(lab: Lab) -> None:
    """From one sender to one recipient at one priority, first deliveries come in the order of
    acceptance."""
    sender, recipient = await lab.agent(), await lab.agent()
    sent = [command(recipient.name, n) for n in range(MANY)]
    await sender.say(*sent[: MANY // 2])
    for each in sent[MANY // 2 :]:
        await sender.say(each)
    got = [(await recipient.mail())["payload"] for _ in sent]
    need(got == list(range(MANY)), f"the order was {got}")


@CHAPTER.rule
async def receipts_tell(lab: Lab) -> None:
    """With receipt the sender hears delivered, read and done, each with ids and by."""
    sender, recipient = await lab.agent(), await lab.agent()
    id_ = await sender.send(recipient.name, receipt=True)
    seq = (await recipient.mail(id_))["seq"]
    await recipient.ack("read", seq)
    await recipient.settle(seq)
    for stage in ("delivered", "read", "done"):
        found = await sender.hear(
            f"the receipt {stage}",
            lambda it, stage=stage: (  # type: ignore[misc]
                it["type"] == "ACK" and it["payload"].get("stage") == stage
            ),
        )
        told = found["payload"]
        need(told.get("ids") == [id_], f"{stage} has ids {told.get('ids')!r}")
        need(told.get("by") == recipient.name, f"{stage} is by {told.get('by')!r}")


@CHAPTER.rule
async def who_is_away_too_long(lab: Lab) -> None:
    """A message whose ttl ends while nobody holds it is not delivered, and its sender hears
    expired, as mail."""
    sender, name = await lab.agent(), await lab.gone()
    id_ = await sender.send(name, ttl=1)
    told = await sender.mail()
    _is_hub_mail(told, "expired", id_)
    recipient = await lab.agent(name)
    await recipient.mail(await sender.send(name))
    need(not recipient.heard(lambda it: "seq" in it), "it was delivered after its ttl")


@CHAPTER.rule
async def rejected_is_told_to_the_sender(lab: Lab) -> None:
    """Rejected mail is settled, and its sender gets undeliverable with the reason, as mail."""
    sender, recipient = await lab.agent(), await lab.agent()
    id_ = await sender.send(recipient.name)
    await recipient.settle((await recipient.mail(id_))["seq"], stage="rejected", reason="no such")
    told = await sender.mail()
    _is_hub_mail(told, "undeliverable", id_)
    details = told["payload"]["details"]
    need(details.get("agents") == [recipient.name], f"details.agents is {details.get('agents')}")
    need(details.get("reason") == "no such", f"details.reason is {details.get('reason')!r}")


def _is_hub_mail(told: dict[str, Any], code: str, about: str) -> None:
    """That it is mail of the hub's about a message: with id and seq, from hub, with reply_to."""
    need(told.get("from") == "hub" and told["type"] == "ERROR", f"the hub's mail is {told}")
    need(isinstance(told.get("id"), str), "the hub's mail has no id")
    need(told.get("reply_to") == about, f"its reply_to is {told.get('reply_to')!r}")
    need(told["payload"].get("code") == code, f"its code is {told['payload'].get('code')!r}")


@CHAPTER.rule
async def direct_errors_are_not_mail(lab: Lab) -> None:
    """The hub's direct errors have neither id nor seq, and say code, message and retryable."""
    peer = await lab.agent()
    wrong = command(peer.name, priority=9)
    await peer.say(wrong)
    found = await peer.fate(wrong["id"])
    need(found is not None, "priority 9 was accepted")
    assert found is not None
    need("id" not in found and "seq" not in found, f"a direct error is {found}")
    need(found.get("from") == "hub", f"its from is {found.get('from')!r}")
    told = found["payload"]
    need(isinstance(told.get("message"), str), f"its message is {told.get('message')!r}")
    need(len(told["message"]) <= 1024, f"its message has {len(told['message'])} characters")
    need(told.get("retryable") is False, f"its retryable is {told.get('retryable')!r}")
    need("priority" in told["message"], f"its message does not name the field: {told['message']}")
