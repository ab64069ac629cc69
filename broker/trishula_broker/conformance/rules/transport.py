"""§1: subprotocols, frames, sizes."""

from __future__ import annotations

from typing import Final

import msgspec
from websockets.exceptions import InvalidStatus

from trishula_broker.conformance.lab import MSGPACK, Lab
from trishula_broker.conformance.peer import command, fresh
from trishula_broker.conformance.rule import Chapter, need

CHAPTER: Final = Chapter("§1")
BEAT: Final = {"type": "HEARTBEAT"}


@CHAPTER.rule
async def json_by_default(lab: Lab) -> None:
    """A client that names no subprotocol gets trishula.v2.json, in text frames."""
    name = lab.name()
    peer = await lab.connect(name, ())
    need(peer.connection.subprotocol is None, "a subprotocol was chosen that nobody named")
    await peer.register(name, ephemeral=True)


@CHAPTER.rule
async def subprotocol_is_chosen(lab: Lab) -> None:
    """Of the subprotocols a client names the hub chooses one that it knows."""
    name = lab.name()
    peer = await lab.connect(name, ("soap.v1", MSGPACK))
    chosen = peer.connection.subprotocol
    need(chosen == MSGPACK, f"{chosen} was chosen of soap.v1 and {MSGPACK}")
    await peer.register(name, ephemeral=True)


@CHAPTER.rule
async def unknown_subprotocol(lab: Lab) -> None:
    """A client that names only subprotocols the hub does not know is refused with HTTP 400."""
    try:
        await lab.connect(subprotocols=("trishula.v1",))
    except InvalidStatus as refused:
        status = refused.response.status_code
        need(status == 400, f"refused with HTTP {status}, instead of 400")
    else:
        need(False, "the upgrade was granted")


@CHAPTER.rule
async def messagepack_carries_the_same(lab: Lab) -> None:
    """What is sent in MessagePack arrives the same in JSON, and the other way round."""
    json = await lab.agent()
    name = lab.name()
    packed = await lab.connect(name, (MSGPACK,))
    await packed.register(name, ephemeral=True)
    value = {"text": "ä\u0000", "number": 2**64 - 1, "list": [None, True, 1.5, -(2**63)]}
    for sender, recipient in ((json, packed), (packed, json)):
        id_ = await sender.send(recipient.name, value)
        got = (await recipient.mail(id_))["payload"]
        need(got == value, f"{value} became {got}")


@CHAPTER.rule
async def one_or_an_array(lab: Lab) -> None:
    """A frame holds one envelope, or an array of them."""
    peer = await lab.agent()
    one, two, three = command(peer.name), command(peer.name), command(peer.name)
    await peer.say(one)
    await peer.raw(msgspec.json.encode([two, three]).decode())
    await peer.accepted(one["id"], two["id"], three["id"])


@CHAPTER.rule
async def each_is_judged_by_itself(lab: Lab) -> None:
    """A bad envelope of an array gets its own ERROR, and its neighbours are taken."""
    peer = await lab.agent()
    one, bad, two = command(peer.name), command(peer.name, priority=9), command(peer.name)
    await peer.say(one, bad, two)
    found = await peer.fate(bad["id"])
    need(found is not None, "priority 9 was accepted in an array")
    await peer.accepted(one["id"], two["id"])


@CHAPTER.rule
async def a_thousand_in_a_frame(lab: Lab) -> None:
    """An array of 1000 envelopes is taken; one of 1001 is refused whole."""
    peer = await lab.agent()
    await peer.say(*([BEAT] * 1000))
    await peer.ask("peek")
    refused = peer.heard(lambda it: it["type"] == "ERROR")
    need(not refused, f"1000 envelopes were refused: {refused}")
    frame = msgspec.json.encode([BEAT] * 1000 + [command(peer.name)]).decode()
    await peer.refuses(frame, "bad_message")


@CHAPTER.rule
async def an_unreadable_frame_is_refused_whole(lab: Lab) -> None:
    """A frame that does not parse gets one ERROR bad_message whose reply_to is null, and the
    connection lives on."""
    peer = await lab.agent()
    inside = msgspec.json.encode(command(peer.name)).decode()
    await peer.refuses(f"[{inside},{{]", "bad_message")
    await peer.send(peer.name)


@CHAPTER.rule
async def what_does_not_parse(lab: Lab) -> None:
    """What is not JSON, an empty array, bytes behind the end, a byte order mark and nesting that no
    decoder follows do not parse."""
    peer = await lab.agent()
    inside = msgspec.json.encode(command(peer.name)).decode()
    for frame in ("hello", "[]", f"{inside}{inside}", f"\ufeff{inside}", "[" * 100_000):
        await peer.refuses(frame, "bad_message")


@CHAPTER.rule
async def white_space_is_allowed(lab: Lab) -> None:
    """White space around JSON is allowed."""
    peer = await lab.agent()
    envelope = command(peer.name)
    await peer.raw(f"\r\n\t {msgspec.json.encode(envelope).decode()} \n")
    await peer.accepted(envelope["id"])


@CHAPTER.rule
async def a_frame_of_the_other_kind(lab: Lab) -> None:
    """A text frame in a binary session, or the other way round, does not parse."""
    peer = await lab.agent()
    await peer.refuses(msgspec.json.encode(command(peer.name)), "bad_message")
    name = lab.name()
    packed = await lab.connect(name, (MSGPACK,))
    await packed.register(name, ephemeral=True)
    await packed.refuses(msgspec.json.encode(command(name)).decode(), "bad_message")


@CHAPTER.rule
async def ten_unreadable_frames(lab: Lab) -> None:
    """Ten frames in a row that do not parse close the connection with 4400; nine do not."""
    peer = await lab.agent()
    for _ in range(9):
        await peer.refuses("{", "bad_message")
    await peer.send(peer.name)
    for _ in range(10):
        await peer.raw("{")
    code = await peer.closed()
    need(code == 4400, f"closed with {code}, instead of 4400")


@CHAPTER.rule
async def a_frame_too_big(lab: Lab) -> None:
    """A frame of limits.frame_bytes is taken; a larger one closes with 1009."""
    peer = await lab.connect(name := lab.name())
    told = await peer.register(name, ephemeral=True)
    size = told["limits"]["frame_bytes"]
    empty = command(name, "", id=fresh())
    fits = size - len(msgspec.json.encode(empty))
    await peer.say({**empty, "payload": "x" * fits})
    await peer.accepted(empty["id"])
    await peer.raw(msgspec.json.encode({**empty, "payload": "x" * (fits + 1)}).decode())
    code = await peer.closed()
    need(code == 1009, f"closed with {code}, instead of 1009")
