"""§3: from the upgrade to the end of a connection."""

from __future__ import annotations

import asyncio
from typing import Final

from websockets.exceptions import InvalidStatus

from trishula_broker.conformance.lab import Lab
from trishula_broker.conformance.peer import command, fresh
from trishula_broker.conformance.rule import Broken, Chapter, Skipped, need

CHAPTER: Final = Chapter("§3")
SILENCE_S: Final = 6.0
"""Over two heartbeats of 2 s, after which a silent client is given up."""
REGISTER_S: Final = 10.0


@CHAPTER.rule
async def a_bad_token_is_401(lab: Lab) -> None:
    """A bad token is refused with HTTP 401 before the upgrade, with WWW-Authenticate."""
    if lab.site.token_for is None:
        raise Skipped("the hub asks for no token")
    try:
        await lab.connect(token="no.good.token")
    except InvalidStatus as refused:
        status = refused.response.status_code
        need(status == 401, f"refused with HTTP {status}, instead of 401")
        need("WWW-Authenticate" in refused.response.headers, "401 without WWW-Authenticate")
    else:
        need(False, "the upgrade was granted")


@CHAPTER.rule
async def a_token_is_for_its_subject(lab: Lab) -> None:
    """With authentication on, agent must be the token's sub; the connection may then register
    right."""
    if lab.site.token_for is None:
        raise Skipped("the hub asks for no token")
    name = lab.name()
    peer = await lab.connect(name)
    found = await peer.operation("register", agent=lab.name(), ephemeral=True)
    code = found["payload"].get("code")
    need(code == "forbidden", f"another's name was answered by {found['type']} {code}")
    await peer.register(name, ephemeral=True)


@CHAPTER.rule
async def register_comes_first(lab: Lab) -> None:
    """Anything before register is not_registered, and the connection lives on."""
    name = lab.name()
    peer = await lab.connect(name)
    await peer.refuses(command(name), "not_registered")
    found = await peer.operation("agents")
    need(
        found["type"] == "ERROR" and found["payload"]["code"] == "not_registered",
        f"agents before register was answered by {found['type']}",
    )
    await peer.register(name, ephemeral=True)


@CHAPTER.rule
async def registering_is_answered(lab: Lab) -> None:
    """The answer to register has agent, namespace, node, role, session, heartbeat_ms, server_time
    and limits."""
    name = lab.name()
    peer = await lab.connect(name)
    told = await peer.register(name, ephemeral=True, heartbeat_ms=5000, prefetch=7)
    need(told["agent"] == name, f"agent is {told['agent']!r}")
    for field in ("namespace", "node", "role", "session"):
        need(isinstance(told.get(field), str), f"{field} is {told.get(field)!r}")
    need(told["heartbeat_ms"] == 5000, f"heartbeat_ms 5000 became {told['heartbeat_ms']}")
    need(type(told["server_time"]) is int, f"server_time is {told['server_time']!r}")
    limits = told["limits"]
    need(type(limits["frame_bytes"]) is int, f"limits.frame_bytes is {limits['frame_bytes']!r}")
    need(type(limits["batch"]) is int, f"limits.batch is {limits['batch']!r}")
    need(1 <= limits["prefetch"] <= 7, f"prefetch 7 became {limits['prefetch']}")


@CHAPTER.rule
async def register_has_ranges(lab: Lab) -> None:
    """prefetch is 1-10 000, lease_ms 1 000-86 400 000, heartbeat_ms 2 000-60 000; up to 64 groups
    and capabilities. A refused registration leaves the connection as it was."""
    name = lab.name()
    peer = await lab.connect(name)
    many = [lab.name() for _ in range(65)]
    wrong = (
        *(("prefetch", 0), ("prefetch", 10_001), ("lease_ms", 999), ("lease_ms", 86_400_001)),
        *(("heartbeat_ms", 1_999), ("heartbeat_ms", 60_001), ("groups", many)),
        ("capabilities", many),
    )
    answers = await peer.operations(
        *({"op": "register", "agent": name, "ephemeral": True, field: it} for field, it in wrong)
    )
    for (field, value), found in zip(wrong, answers, strict=True):
        code = found["payload"].get("code")
        need(code == "bad_message", f"{field} {value} was answered by {found['type']} {code}")
    await peer.register(name, ephemeral=True)


@CHAPTER.rule
async def a_second_register(lab: Lab) -> None:
    """A second register on a session is bad_message."""
    peer = await lab.agent()
    found = await peer.operation("register", agent=peer.name, ephemeral=True)
    code = found["payload"].get("code")
    need(code == "bad_message", f"a second register was answered by {found['type']} {code}")


@CHAPTER.rule
async def what_is_sent_behind_register(lab: Lab) -> None:
    """What is sent behind the registration, in the same frame, is taken once it is durable."""
    name = lab.name()
    peer = await lab.connect(name)
    register = {"op": "register", "agent": name, "ephemeral": True}
    behind = command(name)
    peer.name, peer.receives = name, True
    await peer.say({"type": "COMMAND", "to": "hub", "id": fresh(), "payload": register}, behind)
    await peer.accepted(behind["id"])


@CHAPTER.rule
async def registration_has_ten_seconds(lab: Lab) -> None:
    """After 10 s without a registration the connection is closed with 4400."""
    patient = Lab(lab.site._replace(patience=REGISTER_S + lab.site.patience))
    try:
        peer = await patient.connect()
        code = await peer.closed()
        need(code == 4400, f"closed with {code}, instead of 4400")
    finally:
        await patient.tidy()


@CHAPTER.rule
async def heartbeats_are_answered(lab: Lab) -> None:
    """The hub answers HEARTBEAT with its clock."""
    peer = await lab.agent()
    await peer.say({"type": "HEARTBEAT"})
    found = await peer.hear("a HEARTBEAT", lambda it: it["type"] == "HEARTBEAT")
    time = found.get("payload", {}).get("time")
    need(found.get("from") == "hub" and type(time) is int, f"the answer is {found}")


@CHAPTER.rule
async def silence_ends_a_session(lab: Lab) -> None:
    """Two heartbeats of silence end the session with 4408."""
    peer = await lab.agent(heartbeat_ms=2000)
    transport = peer.connection.transport
    assert isinstance(transport, asyncio.ReadTransport)
    transport.pause_reading()  # or a ping would be answered, which is life
    await asyncio.sleep(SILENCE_S)
    transport.resume_reading()
    code = await peer.closed()
    need(code == 4408, f"closed with {code}, instead of 4408")


@CHAPTER.rule
async def the_newer_session_takes_over(lab: Lab) -> None:
    """A newer registration closes the older one with 4409, and gets what that had not settled."""
    sender, old = await lab.agent(), await lab.agent()
    id_ = await sender.send(old.name)
    await old.mail(id_)
    new = await lab.agent(old.name)
    code = await old.closed()
    need(code == 4409, f"closed with {code}, instead of 4409")
    await new.mail(id_)


@CHAPTER.rule
async def a_side_session_gets_no_mail(lab: Lab) -> None:
    """A side session takes over nothing, sends, gets no mail, and cannot settle: stale_ack."""
    main = await lab.agent()
    side = await lab.connect(main.name)
    await side.register(main.name, receive=False, ephemeral=True)
    id_ = await side.send(main.name)
    seq = (await main.mail(id_))["seq"]
    await side.ack("done", seq)
    found = await side.hear("stale_ack", lambda it: it["type"] in ("ERROR", "ACK"))
    code = found["payload"].get("code")
    need(code == "stale_ack", f"settling was answered by {found['type']} {code}")
    need(not side.heard(lambda it: "seq" in it), "a side session was handed mail")
    await main.settle(seq)


@CHAPTER.rule
async def mail_is_by_priority_then_acceptance(lab: Lab) -> None:
    """A mailbox is one queue: by priority, then by acceptance."""
    sender = await lab.agent()
    name = await lab.gone()
    ids = {(p, n): await sender.send(name, priority=p) for n in range(2) for p in (3, 1, 5, 2, 4)}
    recipient = await lab.agent(name)
    got = [(await recipient.mail())["id"] for _ in ids]
    wanted = [ids[key] for key in sorted(ids)]
    need(got == wanted, f"{got} came, instead of {wanted}")


@CHAPTER.rule
async def prefetch_is_kept(lab: Lab) -> None:
    """At most prefetch messages are outstanding that are neither read nor settled."""
    sender, recipient = await lab.agent(), await lab.agent(prefetch=2)
    ids = [await sender.send(recipient.name) for _ in range(4)]
    first = [await recipient.mail(), await recipient.mail()]
    await recipient.ask("peek")
    more = recipient.heard(lambda it: "seq" in it)
    need(not more, f"{2 + len(more)} were delivered, with a prefetch of 2")
    await recipient.settle(first[0]["seq"])
    third = await recipient.mail()
    await recipient.ack("read", first[1]["seq"])
    fourth = await recipient.mail()
    got = [each["id"] for each in (*first, third, fourth)]
    need(got == ids, f"{got} came, instead of {ids}")


@CHAPTER.rule
async def an_operators_operation_is_not_an_agents(lab: Lab) -> None:
    """With authentication on, an agent that asks an operator's operation is forbidden to."""
    if lab.site.token_for is None:
        raise Skipped("the hub asks for no token, and everybody is an operator")
    peer = await lab.agent()
    for op in ("pause", "deadletters", "tap"):
        found = await peer.operation(op, agent=peer.name)
        code = found["payload"].get("code")
        if code != "forbidden":
            raise Broken(f"{op} was answered by {found['type']} {code}")
