"""§7: what agents may ask the hub."""

from __future__ import annotations

from typing import Any, Final

from trishula_broker.conformance.lab import Lab
from trishula_broker.conformance.peer import Peer, answers, command, fresh
from trishula_broker.conformance.rule import Chapter, need

CHAPTER: Final = Chapter("§7")


async def _refused(peer: Peer, op: str, code: str, **fields: Any) -> None:
    found = await peer.operation(op, **fields)
    got = found["payload"].get("code")
    need(got == code, f"{op} {fields} was answered by {found['type']} {got}, instead of {code}")


async def _record(peer: Peer, name: str) -> Any:
    """What `agents` says of one."""
    after = None
    while True:
        page = await peer.ask("agents", **({} if after is None else {"after": after}))
        for each in page["agents"]:
            if each["id"] == name:
                return each
        after = page["next"]
        need(after is not None, f"{name} is not in the list of agents")


@CHAPTER.rule
async def an_unknown_operation(lab: Lab) -> None:
    """A hub that does not have an operation says unknown_op."""
    await _refused(await lab.agent(), "make_coffee", "unknown_op")


@CHAPTER.rule
async def operations_have_an_op(lab: Lab) -> None:
    """A COMMAND to hub says in payload.op what is asked; one that does not is refused."""
    peer = await lab.agent()
    for payload in (None, "peek", {}, {"op": 1}):
        asked = command("hub", payload)
        await peer.say(asked)
        found = await peer.hear("an ERROR", lambda it, id_=asked["id"]: answers(it, id_))  # type: ignore[misc]
        need(found["type"] == "ERROR", f"{payload!r} was answered by a RESULT")


@CHAPTER.rule
async def unknown_fields_of_operations(lab: Lab) -> None:
    """Fields an operation does not know are ignored."""
    await (await lab.agent()).ask("peek", colour="blue")


@CHAPTER.rule
async def limit_has_a_range(lab: Lab) -> None:
    """limit is 1-1000."""
    peer = await lab.agent()
    for good in (1, 1000):
        await peer.ask("history", limit=good)
    for bad in (0, 1001, "1"):
        await _refused(peer, "history", "bad_message", limit=bad)


@CHAPTER.rule
async def agents_tells_who_there_is(lab: Lab) -> None:
    """agents tells who there is: capabilities, groups, online, status; filters narrow."""
    skill, group = lab.name(), lab.name()
    asking, other = await lab.agent(), await lab.agent(capabilities=[skill], groups=[group])
    found = await _record(asking, other.name)
    need(found["online"] is True, f"online is {found['online']!r}")
    need(found["capabilities"] == [skill], f"capabilities are {found['capabilities']}")
    need(found["groups"] == [group], f"groups are {found['groups']}")
    for fields in ({"capability": skill}, {"group": group}):
        page = await asking.ask("agents", **fields)
        names = [each["id"] for each in page["agents"]]
        need(names == [other.name], f"agents with {fields} are {names}")
    await asking.ask("watch")
    await other.close()
    await asking.hear(
        f"presence of {other.name}",
        lambda it: it["type"] == "STATUS" and it["payload"].get("agent") == other.name,
    )
    page = await asking.ask("agents", capability=skill, online=True)
    need(not page["agents"], "an agent that left is told as online")


@CHAPTER.rule
async def status_is_told(lab: Lab) -> None:
    """A STATUS without to is the agent's status, text or object; agents tells it. Of more than
    4096 bytes it is too_large."""
    peer, other = await lab.agent(), await lab.agent()
    id_ = fresh()
    await peer.say(
        {
            "type": "STATUS",
            "id": id_,
            "payload": {"text": "building", "details": {"percent": 40}},
        }
    )
    await peer.hear("an answer", lambda it: it.get("reply_to") == id_ and it["type"] == "RESULT")
    told = (await _record(other, peer.name))["status"]
    need(told == {"text": "building", "details": {"percent": 40}}, f"the status became {told}")
    await _refused(peer, "status", "too_large", details="x" * 5000)


@CHAPTER.rule
async def join_and_leave(lab: Lab) -> None:
    """join and leave answer with the caller's groups."""
    peer, group = await lab.agent(groups=[]), lab.name()
    told = await peer.ask("join", group=group)
    need(told["groups"] == [group], f"groups after join are {told['groups']}")
    told = await peer.ask("leave", group=group)
    need(told["groups"] == [], f"groups after leave are {told['groups']}")


@CHAPTER.rule
async def watch_tells_changes(lab: Lab) -> None:
    """watch tells who comes and goes, as STATUS from hub without id or seq."""
    watcher = await lab.agent()
    told = await watcher.ask("watch")
    need(isinstance(told.get("agents"), list), "the answer to watch has no agents")
    other = await lab.agent()
    for online in (True, False):
        found = await watcher.hear(
            f"presence of {other.name}",
            lambda it: (
                it["type"] == "STATUS"
                and it["payload"].get("event") == "presence"
                and it["payload"].get("agent") == other.name
            ),
        )
        need(found["payload"]["online"] is online, f"online is {found['payload']['online']!r}")
        need("id" not in found and "seq" not in found, "what watch tells is no mail")
        await other.close()


@CHAPTER.rule
async def peek_settles_nothing(lab: Lab) -> None:
    """peek tells count, bytes, oldest, by_priority and heads without payload, and delivers, reads
    and settles nothing."""
    sender, name = await lab.agent(), await lab.gone()
    id_ = await sender.send(name, "secret", priority=2)
    side = await lab.connect(name)
    await side.register(name, receive=False, ephemeral=True)
    told = await side.ask("peek")
    need(told["count"] == 1, f"count is {told['count']}")
    need(told["by_priority"]["2"] == 1, f"by_priority is {told['by_priority']}")
    need(type(told["oldest"]) is int and told["bytes"] > 0, "oldest or bytes is missing")
    (head,) = told["heads"]
    need(head["id"] == id_ and "payload" not in head, f"the head is {head}")
    got = await (await lab.agent(name)).mail(id_)
    need(got["attempt"] == 1, "to look cost an attempt")


@CHAPTER.rule
async def history_is_paged(lab: Lab) -> None:
    """history tells a thread by seq to those who took part in it, in pages."""
    sender, recipient, third = [await lab.agent() for _ in range(3)]
    thread = lab.name()
    ids = [await sender.send(recipient.name, n, thread=thread) for n in range(3)]
    page = await recipient.ask("history", thread=thread, limit=2)
    got = [each["id"] for each in page["messages"]]
    need(got == ids[:2], f"the first page has {got}, instead of {ids[:2]}")
    need(page["next"] is not None, "next is null before the end")
    page = await recipient.ask("history", thread=thread, limit=2, after=page["next"])
    got = [each["id"] for each in page["messages"]]
    need(got == ids[2:], f"the second page has {got}, instead of {ids[2:]}")
    need(page["next"] is None, f"next is {page['next']!r} at the end")
    found = await third.operation("history", thread=thread)
    seen = found["type"] == "RESULT" and found["payload"]["messages"]
    need(not seen, "a thread was shown to who took no part in it")


@CHAPTER.rule
async def trace_tells_the_fate(lab: Lab) -> None:
    """trace tells where a message is: delivered, read, done."""
    sender, recipient = await lab.agent(), await lab.agent()
    id_ = await sender.send(recipient.name)
    seq = (await recipient.mail(id_))["seq"]
    for act, stage in ((None, "delivered"), ("read", "read"), ("done", "done")):
        if act == "read":
            await recipient.ack(act, seq)
            await recipient.ask("peek")
        elif act == "done":
            await recipient.settle(seq)
        (told,) = (await sender.ask("trace", id=id_))["messages"]
        (copy,) = told["copies"]
        need(copy["agent"] == recipient.name, f"the copy is of {copy['agent']}")
        need(copy["stage"] == stage, f"stage is {copy['stage']}, instead of {stage}")


@CHAPTER.rule
async def recall_takes_back(lab: Lab) -> None:
    """recall takes a message back from whoever had not read it, and keeps it otherwise."""
    sender, name = await lab.agent(), await lab.gone()
    id_ = await sender.send(name)
    told = await sender.ask("recall", id=id_)
    need(told["recalled"] == [name], f"recalled is {told['recalled']}")
    recipient = await lab.agent(name)
    behind = await sender.send(name)
    got = await recipient.mail()
    need(got["id"] == behind, "what was recalled was delivered")
    await recipient.ack("read", got["seq"])
    await recipient.ask("peek")
    told = await sender.ask("recall", id=behind)
    kept = [each["agent"] for each in told["kept"]]
    need(kept == [name] and not told["recalled"], f"what was read is told as {told}")


@CHAPTER.rule
async def deregister_forgets(lab: Lab) -> None:
    """deregister is forbidden while the mailbox holds anything; then it is answered, the connection
    closed with 1001, and the name no address, unless a token makes it one."""
    sender, peer = await lab.agent(), await lab.agent()
    id_ = await sender.send(peer.name)
    seq = (await peer.mail(id_))["seq"]
    await _refused(peer, "deregister", "forbidden")
    await peer.settle(seq)
    await peer.ask("deregister")
    code = await peer.closed()
    peer.receives = False  # there is nothing of it any more
    need(code == 1001, f"closed with {code}, instead of 1001")
    if lab.site.token_for is None:
        await sender.refuses(command(peer.name), "unknown_recipient")


@CHAPTER.rule
async def nodes_tells_the_hubs(lab: Lab) -> None:
    """nodes tells the hubs of the namespace, and which one answers; that one is alive."""
    told = await (await lab.agent()).ask("nodes")
    alive = {each["node"]: each["alive"] for each in told["nodes"]}
    need(alive.get(told["node"]) is True, f"{told['node']} answers, and is not alive in {alive}")
