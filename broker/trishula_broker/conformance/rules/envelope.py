"""§2: the fields of an envelope."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trishula_broker.conformance.lab import Lab
from trishula_broker.conformance.peer import Peer, command, fresh
from trishula_broker.conformance.rule import Chapter, need

CHAPTER: Final = Chapter("§2")


async def _refused(peer: Peer, **fields: Any) -> None:
    """That a good command is bad with ``fields``."""
    await peer.refuses(command(peer.name, **fields), "bad_message")


async def _delivered(peer: Peer, **fields: Any) -> dict[str, Any]:
    """A command to oneself, as it comes."""
    return await peer.mail(await peer.send(peer.name, **fields))


@CHAPTER.rule
async def type_is_one_of_six(lab: Lab) -> None:
    """type is needed, and is one of six words, in capitals."""
    peer = await lab.agent()
    for type_ in ("command", "EVENT", "", None, 1):
        await _refused(peer, type=type_)
    without = command(peer.name)
    del without["type"]
    await peer.refuses(without, "bad_message")


@CHAPTER.rule
async def id_is_needed(lab: Lab) -> None:
    """COMMAND, STATUS, RESULT and ERROR need an id; reply_to of the refusal is null then."""
    peer = await lab.agent()
    for type_ in ("COMMAND", "STATUS", "RESULT", "ERROR"):
        envelope = command(peer.name, type=type_, reply_to="x")
        del envelope["id"]
        await peer.refuses(envelope, "bad_message")


@CHAPTER.rule
async def id_has_a_form(lab: Lab) -> None:
    """An id has 1 to 128 of A-Z a-z 0-9 . _ : -"""
    peer = await lab.agent()
    for good in ("Aa0._:-", "x" * 128):
        await peer.send(peer.name, id=good)
    for bad in ("", "x" * 129, "a b", "a/b", "ä", "a\n"):
        text = msgspec.json.encode(command(peer.name, id=bad)).decode()
        await peer.raw(text)
        found = await peer.hear(
            f"an ERROR about the id {bad!r}", lambda it: it["type"] in ("ERROR", "ACK")
        )
        code = found.get("payload", {}).get("code")
        need(code == "bad_message", f"the id {bad!r} was answered by {found['type']} {code}")


@CHAPTER.rule
async def to_is_needed(lab: Lab) -> None:
    """COMMAND, RESULT and ERROR need to."""
    peer = await lab.agent()
    for type_ in ("COMMAND", "RESULT", "ERROR"):
        envelope = command("", type=type_, reply_to="x")
        del envelope["to"]
        await peer.refuses(envelope, "bad_message")


@CHAPTER.rule
async def answers_need_reply_to(lab: Lab) -> None:
    """RESULT and ERROR need reply_to."""
    peer = await lab.agent()
    await _refused(peer, type="RESULT")
    await _refused(peer, type="ERROR")


@CHAPTER.rule
async def from_is_the_hubs_to_write(lab: Lab) -> None:
    """A client leaves from out, or says its own name; the hub writes it."""
    peer = await lab.agent()
    for fields in ({}, {"from": peer.name}):
        got = await _delivered(peer, **fields)
        need(got.get("from") == peer.name, f"from is {got.get('from')!r}")


@CHAPTER.rule
async def from_of_another_is_forbidden(lab: Lab) -> None:
    """Another's name in from is forbidden."""
    peer, other = await lab.agent(), await lab.agent()
    await peer.refuses(command(peer.name, **{"from": other.name}), "forbidden")
    await peer.refuses(command(peer.name, **{"from": "hub"}), "forbidden")


@CHAPTER.rule
async def timestamp_is_filled_in(lab: Lab) -> None:
    """The sender's timestamp is kept; one that is left out the hub fills in."""
    peer = await lab.agent()
    got = (await _delivered(peer, timestamp=1234)).get("timestamp")
    need(got == 1234, f"timestamp 1234 became {got!r}")
    got = (await _delivered(peer)).get("timestamp")
    need(type(got) is int, f"a timestamp that was left out is {got!r}")
    await _refused(peer, timestamp=2**53 + 1)


@CHAPTER.rule
async def priority_has_a_range(lab: Lab) -> None:
    """priority is 1 to 5."""
    peer = await lab.agent()
    for good in (1, 5):
        got = (await _delivered(peer, priority=good)).get("priority")
        need(got == good, f"priority {good} became {got!r}")
    for bad in (0, 6, -1):
        await _refused(peer, priority=bad)


@CHAPTER.rule
async def ttl_has_a_range(lab: Lab) -> None:
    """ttl is 1 ms to 366 days."""
    peer = await lab.agent()
    longest = 366 * 24 * 3600 * 1000
    await peer.send(peer.name, ttl=longest)
    for bad in (0, -1, longest + 1):
        await _refused(peer, ttl=bad)


@CHAPTER.rule
async def integers_are_integers(lab: Lab) -> None:
    """3.0, "3" and true are refused where 3 is wanted."""
    peer = await lab.agent()
    for field in ("priority", "ttl", "timestamp"):
        for bad in (3.0, "3", True):
            await _refused(peer, **{field: bad})
    await _refused(peer, receipt=1)


@CHAPTER.rule
async def null_is_left_out(lab: Lab) -> None:
    """Null stands for a field left out, except for type, priority, receipt and headers."""
    peer = await lab.agent()
    optional = ("timestamp", "ttl", "reply_to", "thread", "settles", "seq", "attempt", "from")
    await peer.send(peer.name, **dict.fromkeys(optional))
    for field in ("priority", "receipt", "headers"):
        await _refused(peer, **{field: None})


@CHAPTER.rule
async def unknown_fields_are_ignored(lab: Lab) -> None:
    """Fields that are not in the table are ignored, whatever they hold; names are
    case-sensitive."""
    peer = await lab.agent()
    await peer.send(peer.name, colour={"deep": [[[]]]}, Priority=9, TTL="soon")


@CHAPTER.rule
async def the_last_of_a_name_counts(lab: Lab) -> None:
    """Of a name given twice the last counts."""
    peer = await lab.agent()
    id_ = fresh()
    await peer.raw(
        f'{{"type":"COMMAND","id":"{id_}","to":"{peer.name}","payload":1,"payload":{{"a":1,"a":2}}}}'
    )
    await peer.accepted(id_)
    got = (await peer.mail(id_))["payload"]
    need(got == {"a": 2}, f"the payload became {got}")


@CHAPTER.rule
async def the_hubs_fields_are_ignored(lab: Lab) -> None:
    """seq, attempt and expires_in from a client are ignored."""
    peer = await lab.agent()
    got = await _delivered(peer, seq=2**53, attempt=7, expires_in=1)
    need(got["seq"] != 2**53, "the hub took a client's seq")
    need(got["attempt"] == 1, f"attempt is {got['attempt']}, a client's")
    need("expires_in" not in got, "a client's expires_in was delivered")


@CHAPTER.rule
async def expires_in_with_a_ttl(lab: Lab) -> None:
    """A message with a ttl is delivered with expires_in, the milliseconds left."""
    peer = await lab.agent()
    left = (await _delivered(peer, ttl=3_600_000)).get("expires_in")
    need(type(left) is int and 0 < left <= 3_600_000, f"expires_in is {left!r} of 3600000")


@CHAPTER.rule
async def a_thread_begins(lab: Lab) -> None:
    """A message without thread travels without it; one with it keeps it."""
    peer = await lab.agent()
    got = await _delivered(peer)
    need("thread" not in got, f"a thread was added: {got.get('thread')!r}")
    got = await _delivered(peer, thread="t1")
    need(got.get("thread") == "t1", f"thread t1 became {got.get('thread')!r}")


@CHAPTER.rule
async def a_reply_goes_on_with_the_thread(lab: Lab) -> None:
    """A reply without thread gets that of the message it settles; settles it nothing, its
    reply_to."""
    one, two = await lab.agent(), await lab.agent()
    id_ = await one.send(two.name, thread="t1")
    seq = (await two.mail(id_))["seq"]
    answer = await two.send(one.name, type="RESULT", reply_to=id_, settles=seq)
    got = (await one.mail(answer)).get("thread")
    need(got == "t1", f"the thread of an answer that settles is {got!r}, instead of t1")
    answer = await two.send(one.name, type="RESULT", reply_to=id_)
    got = (await one.mail(answer)).get("thread")
    need(got == id_, f"the thread of an answer that settles nothing is {got!r}, instead of {id_}")


@CHAPTER.rule
async def headers_travel(lab: Lab) -> None:
    """headers arrive as they were sent: up to 32, names of 1-128 characters, values up to 1024."""
    peer = await lab.agent()
    headers = {"traceparent": "00-4bf9-00f0-01", "n" * 128: "v" * 1024}
    got = (await _delivered(peer, headers=headers)).get("headers", {})
    kept = {name: value for name, value in got.items() if name != "auth"}
    need(kept == headers, f"headers became {kept}")
    await peer.send(peer.name, headers={f"h{n}": "" for n in range(32)})
    for bad in (
        {f"h{n}": "" for n in range(33)},
        {"n" * 129: ""},
        {"": ""},
        {"n": "v" * 1025},
        {"n": 1},
    ):
        await _refused(peer, headers=bad)


@CHAPTER.rule
async def headers_auth_is_the_hubs(lab: Lab) -> None:
    """headers.auth from a client is bad_message; the hub adds it to messages of sessions that came
    with a token, and to no others."""
    peer = await lab.agent()
    await _refused(peer, headers={"auth": f"{peer.name} default x"})
    auth = (await _delivered(peer)).get("headers", {}).get("auth")
    if lab.site.token_for is None:
        need(auth is None, "headers.auth was added although nothing was proven")
    else:
        words = str(auth).split(" ")
        need(len(words) == 3 and words[0] == peer.name, f"headers.auth is {auth!r}")


@CHAPTER.rule
async def settles_is_for_answers(lab: Lab) -> None:
    """settles is for RESULT and ERROR only."""
    peer = await lab.agent()
    await _refused(peer, settles=1)
