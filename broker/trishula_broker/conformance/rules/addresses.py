"""§4: who gets what."""

from __future__ import annotations

from typing import Final

from trishula_broker.conformance.lab import Lab
from trishula_broker.conformance.peer import command
from trishula_broker.conformance.rule import Chapter, Skipped, need

CHAPTER: Final = Chapter("§4")
BAD_NAMES: Final = (
    *("", "Agni", "a..b", "a.", "-a", "_a", "a b", "agni\n", "ä", "a" * 65),
    *("hub", "broadcast", "con", "nul.txt", "com0", "lpt9"),
)


@CHAPTER.rule
async def names_have_a_form(lab: Lab) -> None:
    """An agent's id has 1 to 64 of a-z 0-9 _ - . and begins with a letter or digit; nothing is
    folded or trimmed; hub, broadcast and names that file systems reserve are refused."""
    peer = await lab.connect(lab.name())
    answers = await peer.operations(
        *({"op": "register", "agent": bad, "ephemeral": True} for bad in BAD_NAMES)
    )
    for bad, found in zip(BAD_NAMES, answers, strict=True):
        need(found["type"] == "ERROR", f"{bad!r} was registered")


@CHAPTER.rule
async def groups_have_the_same_form(lab: Lab) -> None:
    """Groups and capabilities follow the same rule of characters."""
    peer = await lab.agent()
    for bad in ("Ops", "", "a..b", "a" * 65):
        found = await peer.operation("join", group=bad)
        code = found["payload"].get("code")
        need(code == "bad_message", f"group {bad!r} was answered by {found['type']} {code}")
    for to in ("#Ops", "@", "Agni", "a b"):
        await peer.refuses(command(to), "bad_message")


@CHAPTER.rule
async def an_address_nobody_had(lab: Lab) -> None:
    """An address nobody ever had is unknown_recipient, with the nearest names."""
    peer = await lab.agent()
    told = await peer.refuses(command(f"{peer.name[:-1]}x"), "unknown_recipient")
    nearest = (told.get("details") or {}).get("nearest")
    need(isinstance(nearest, list), f"details.nearest is {nearest!r}")
    for kind in "#@":
        await peer.refuses(command(kind + lab.name()), "unknown_recipient")


@CHAPTER.rule
async def mail_waits_for_who_is_away(lab: Lab) -> None:
    """Mail for an agent that is known is accepted while it is away, and waits."""
    sender, name = await lab.agent(), await lab.gone()
    id_ = await sender.send(name, "later")
    got = await (await lab.agent(name)).mail(id_)
    need(got["payload"] == "later", f"the payload became {got['payload']!r}")


@CHAPTER.rule
async def a_group_but_not_its_sender(lab: Lab) -> None:
    """#group reaches every member but the sender."""
    group = lab.name()
    sender, one, two = [await lab.agent(groups=[group]) for _ in range(3)]
    id_ = await sender.send(f"#{group}")
    for member in (one, two):
        await member.mail(id_)
    # What is behind it in the mailbox comes behind it.
    await sender.mail(await sender.send(sender.name))
    need(not sender.heard(lambda it: it.get("id") == id_), "the sender got its own message")
    await two.ask("leave", group=group)
    id_ = await sender.send(f"#{group}")
    await one.mail(id_)
    await two.mail(await sender.send(two.name))
    need(not two.heard(lambda it: it.get("id") == id_), "who had left the group got its mail")


@CHAPTER.rule
async def a_group_without_another_member(lab: Lab) -> None:
    """A group without another member is unknown_recipient."""
    group = lab.name()
    peer = await lab.agent(groups=[group])
    await peer.refuses(command(f"#{group}"), "unknown_recipient")


@CHAPTER.rule
async def a_capability_reaches_one(lab: Lab) -> None:
    """@capability reaches exactly one online agent that has it, never the sender: the one with the
    fewest unsettled messages."""
    skill = lab.name()
    sender = await lab.agent(capabilities=[skill])
    busy = await lab.agent(capabilities=[skill])
    idle = await lab.agent(capabilities=[skill])
    await busy.mail(await sender.send(busy.name))
    id_ = await sender.send(f"@{skill}")
    await idle.mail(id_)
    for other in (sender, busy):
        await other.mail(await sender.send(other.name))
        need(
            not other.heard(lambda it: it.get("id") == id_),
            f"{'the sender' if other is sender else 'the busier one'} got it as well",
        )


@CHAPTER.rule
async def a_capability_waits(lab: Lab) -> None:
    """With nobody online who has the capability, mail for it waits until somebody is."""
    skill = lab.name()
    sender = await lab.agent()
    await lab.gone(capabilities=[skill])
    id_ = await sender.send(f"@{skill}")
    await (await lab.agent(capabilities=[skill])).mail(id_)


@CHAPTER.rule
async def broadcast_reaches_everybody(lab: Lab) -> None:
    """broadcast reaches every agent that is known, but the sender and ephemeral ones."""
    if not lab.site.broadcast:
        raise Skipped("it would reach every agent of the hub; --broadcast tries it")
    sender = await lab.agent(ephemeral=False)
    one, brief = await lab.agent(ephemeral=False), await lab.agent()
    id_ = await sender.send("broadcast")
    await one.mail(id_)
    for other in (sender, brief):
        await other.mail(await sender.send(other.name))
        need(
            not other.heard(lambda it: it.get("id") == id_),
            f"{'its sender' if other is sender else 'an ephemeral agent'} got a broadcast",
        )
