"""§2: what a payload may be, and that it arrives as it was sent."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trishula_broker.conformance.lab import MSGPACK, Lab
from trishula_broker.conformance.peer import Peer, command, fresh
from trishula_broker.conformance.rule import Chapter, need

CHAPTER: Final = Chapter("§2")
DEPTH: Final = 64


async def _packed(lab: Lab) -> Peer:
    name = lab.name()
    peer = await lab.connect(name, (MSGPACK,))
    await peer.register(name, ephemeral=True)
    return peer


def _with(peer: Peer, payload: str) -> tuple[str, str]:
    """A frame with that text for a payload, and its id."""
    id_ = fresh()
    return f'{{"type":"COMMAND","id":"{id_}","to":"{peer.name}","payload":{payload}}}', id_


def _nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@CHAPTER.rule
async def payloads_arrive_as_sent(lab: Lab) -> None:
    """Any JSON value arrives as it was sent: control characters, integers from -2^63 to 2^64-1,
    doubles, every character; null when it was left out."""
    peer = await lab.agent()
    values: tuple[Any, ...] = (
        *(None, True, 0, -(2**63), 2**64 - 1, 1.5, 5e-324, 1.7976931348623157e308, "", []),
        *({}, "\u0000\u001f\u007f\u2028", "ä😀\uffff", {"": {"a b": [1, "2", None]}}),
    )
    for value in values:
        got = (await peer.mail(await peer.send(peer.name, value))).get("payload")
        need(got == value and type(got) is type(value), f"{value!r} became {got!r}")
    without = command(peer.name)
    del without["payload"]
    await peer.say(without)
    got = (await peer.mail(without["id"])).get("payload")
    need(got is None, f"a payload that was left out became {got!r}")


@CHAPTER.rule
async def nesting_has_a_limit(lab: Lab) -> None:
    """A payload nested 64 deep is taken, one of 65 is not."""
    peer = await lab.agent()
    frame, id_ = _with(peer, _nested(DEPTH))
    await peer.raw(frame)
    await peer.accepted(id_)
    frame, id_ = _with(peer, _nested(DEPTH + 1))
    await peer.refuses(frame, "bad_message", id_)


@CHAPTER.rule
async def numbers_have_limits(lab: Lab) -> None:
    """Integers beyond -2^63 and 2^64-1 are refused, and doubles that are not finite; the message
    has the path."""
    peer = await lab.agent()
    for bad in (str(2**64), str(-(2**63) - 1), "1e999"):
        frame, id_ = _with(peer, f'{{"items":[0,{bad}]}}')
        told = (await peer.refuses(frame, "bad_message", id_)).get("message")
        if bad != "1e999":
            need("payload.items[1]" in str(told), f"the path is not in the message: {told!r}")


@CHAPTER.rule
async def text_is_unicode(lab: Lab) -> None:
    """Lone surrogates are refused."""
    peer = await lab.agent()
    for bad in (r'"\ud800"', r'{"\udfff":1}'):
        frame, _ = _with(peer, bad)
        await peer.raw(frame)
        found = await peer.hear("an ERROR", lambda it: it["type"] in ("ERROR", "ACK"))
        code = found.get("payload", {}).get("code")
        need(code == "bad_message", f"{bad} was answered by {found['type']} {code}")


@CHAPTER.rule
async def bin_is_base64_in_json(lab: Lab) -> None:
    """MessagePack's bin is {"$base64": …} in JSON, in both directions."""
    json, packed = await lab.agent(), await _packed(lab)
    id_ = await packed.send(json.name, {"file": b"\x00\xff"})
    got = (await json.mail(id_))["payload"]
    need(got == {"file": {"$base64": "AP8="}}, f"bin became {got}")
    id_ = await json.send(packed.name, {"$base64": "AP8="})
    got = (await packed.mail(id_))["payload"]
    need(got == b"\x00\xff", f'{{"$base64": "AP8="}} became {got!r}')


@CHAPTER.rule
async def messagepack_has_more_than_json(lab: Lab) -> None:
    """Ext types, timestamps and map keys that are no strings are refused."""
    peer = await _packed(lab)
    for bad in (msgspec.msgpack.Ext(5, b"x"), {1: "one"}):
        await peer.refuses(command(peer.name, bad), "bad_message")
