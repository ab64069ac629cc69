"""What an agent writes to the shared folder, and what has become of that.

It blocks; one thread at a time. A letter to an agent that has a place in the folder goes into its
inbox. What only a hub can deliver (a group, a capability, an agent that has no place here) goes
into the sender's own ``outbox/`` until one answers; a broadcast goes both ways.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from trishula.folder.directory import Directory
from trishula.folder.layout import Box, Layout
from trishula.folder.spool import REASON, put_aside
from trishula_protocol import version1
from trishula_protocol.address import Kind, parse_address
from trishula_protocol.envelope import Envelope
from trishula_protocol.folder_file import (
    FILE_BYTES,
    SUFFIX,
    NotValid,
    NotWhole,
    file_name,
    open_envelope,
    pack,
    parse,
    parse_name,
    who,
)
from trishula_protocol.folder_key import Keyring

REMEMBERED: Final = 100_000
"""Letters whose end is looked for, at most; of others the hub tells."""


class Sent(NamedTuple):
    """A letter of ours that lies in ``to``'s inbox, or in our outbox when ``to`` is None."""

    to: str | None
    name: str
    stamp: int
    id: str


class Ended(NamedTuple):
    """What a recipient has made of a letter: done when there is no ``reason``."""

    id: str
    by: str
    reason: str | None


class Round(NamedTuple):
    """What was found: letters that wait, and news of others."""

    waiting: list[Sent]
    ended: list[Ended]


class Post:
    """One agent's letters to others.

    Args:
        keyring: signs what is written.
    """

    def __init__(self, layout: Layout, agent: str, keyring: Keyring | None) -> None:
        self.layout = layout
        self._agent = agent
        self._keyring = keyring
        self._key = None if keyring is None else keyring.signing
        self._stamp = 0
        self._known: dict[str, str] = {}
        """Of letters written in this life: the name, and the id."""

    def __repr__(self) -> str:
        return f"<Post of {self._agent} in {self.layout.root}>"

    # --- writing ---

    def write(self, envelopes: Sequence[Envelope]) -> list[OSError | None]:
        """Write letters; when this returns those without an error would survive a crash."""
        known = self.layout.agents()
        open_boxes: dict[str | None, Directory] = {}
        try:
            outcomes = [self._write(envelope, known, open_boxes) for envelope in envelopes]
            for box in open_boxes.values():
                box.flush()
        finally:
            for box in open_boxes.values():
                box.__exit__()
        return outcomes

    def _write(
        self, envelope: Envelope, known: list[str], boxes: dict[str | None, Directory]
    ) -> OSError | None:
        assert envelope.sender is not None
        assert envelope.id is not None
        self._stamp = max((envelope.timestamp or 0) * 1000, self._stamp + 1)
        name = file_name(self._stamp, envelope.sender, envelope.id)
        written: list[Directory] = []
        try:
            for agent in self._places(envelope.to or "", known):
                if agent is not None and self.layout.is_version1(agent):
                    write_version1(self.layout, agent, envelope)
                    continue
                if agent not in boxes:
                    box = self.layout.box(agent or self._agent, "inbox" if agent else "outbox")
                    boxes[agent] = box
                boxes[agent].write(name, pack(envelope, self._key))
                written.append(boxes[agent])
        except OSError as error:
            for box in written:
                box.remove(name)
            return error
        if len(self._known) < REMEMBERED:
            self._known[name] = envelope.id
        return None

    def _places(self, to: str, known: list[str]) -> list[str | None]:
        address = parse_address(to)
        if address.kind is Kind.AGENT and address.name in known:
            return [address.name]
        if address.kind is Kind.BROADCAST:
            return [*(agent for agent in known if agent != self._agent), None]
        return [None]

    # --- what becomes of it ---

    def look(self) -> Round:
        """Letters of ours that wait, and what became of those that do not.

        A copy that a copying tool left behind, or brought back, goes when the recipient is done.

        Raises:
            OSError: the folder is away.
        """
        found = Round([], [])
        for agent in self.layout.agents():
            if agent != self._agent:
                try:
                    self._look_at(agent, found)
                except FileNotFoundError:
                    continue  # a place without boxes: an agent that only understands version 1
        try:
            with self.layout.box(self._agent, "outbox") as outbox:
                found.waiting.extend(self._mine(None, outbox))
        except FileNotFoundError:
            pass
        found.waiting.sort(key=lambda sent: sent.stamp)
        return found

    def _look_at(self, agent: str, found: Round) -> None:
        with self.layout.box(agent, "inbox") as inbox:
            mine = self._mine(agent, inbox)
            if not mine and not self._known:
                return
            finished, refused = self._names(agent, "done"), self._names(agent, "rejected")
            settled = {parsed.who for name in finished if (parsed := parse_name(name)) is not None}
            for sent in mine:
                if who(self._agent, sent.id) in settled or sent.name in refused:
                    inbox.remove(sent.name)
                else:
                    found.waiting.append(sent)
            for name in self._known.keys() & (finished | refused):
                reason = None
                if name in refused:
                    reason = self._reason(agent, name)
                found.ended.append(Ended(self._known.pop(name), agent, reason))

    def _names(self, agent: str, box: Box) -> set[str]:
        try:
            with self.layout.box(agent, box) as place:
                return set(place.names())
        except FileNotFoundError:
            return set()  # made by hand, with an inbox alone

    def _reason(self, agent: str, name: str) -> str:
        try:
            with self.layout.box(agent, "rejected") as rejected:
                return rejected.read(name + REASON, 4096).decode(errors="replace").strip()
        except OSError:
            return "no reason is given"

    def _mine(self, to: str | None, box: Directory) -> list[Sent]:
        mine: list[Sent] = []
        for name in box.names():
            parsed = parse_name(name)
            if parsed is None or parsed.sender != self._agent:
                continue
            id = parsed.id or self._known.get(name)
            if id is None:
                try:
                    envelope = self._open(box, name)
                except NotValid:
                    continue
                id = None if envelope is None else envelope.id
            if id is not None:
                mine.append(Sent(to, name, parsed.stamp, id))
        return mine

    def read(self, sent: Sent) -> Envelope | None:
        """A letter that waits; None when it does not any more, or is not all there yet.

        Raises:
            NotValid: it is not ours, whatever its name says, or breaks a rule.
        """
        try:
            with self._box(sent) as box:
                return self._open(box, sent.name)
        except FileNotFoundError:
            return None

    def _open(self, box: Directory, name: str) -> Envelope | None:
        try:
            parsed = parse(box.read(name, FILE_BYTES))
        except (OSError, NotWhole):
            return None
        # A name can be given to any file: what it says is not proof.
        fault = None if self._keyring is None else self._keyring.fault(*parsed)
        if fault is not None:
            raise NotValid(fault)
        envelope = open_envelope(parsed.body)
        if envelope.sender != self._agent:
            raise NotValid(f"from: {envelope.sender}, and the file's name says {self._agent}")
        return envelope

    def remove(self, letters: Iterable[Sent]) -> None:
        """A hub has them: they need not lie here."""
        for sent in letters:
            self._known.pop(sent.name, None)
            try:
                with self._box(sent) as box:
                    box.remove(sent.name)
            except FileNotFoundError:
                pass

    def put_aside(self, letters: Iterable[Sent], reason: str) -> None:
        """A hub refuses them: to our own ``rejected/``, with the reason."""
        with self.layout.box(self._agent, "rejected", make=True) as rejected:
            for sent in letters:
                self._known.pop(sent.name, None)
                with self._box(sent) as box:
                    put_aside(box, sent.name, rejected, sent.name, reason)

    def _box(self, sent: Sent) -> Directory:
        if sent.to is None:
            return self.layout.box(self._agent, "outbox")
        return self.layout.box(sent.to, "inbox")


def write_version1(layout: Layout, agent: str, envelope: Envelope) -> bool:
    """Write a letter for an old script; False when it was written before, by whichever way.

    Old scripts remove what they have read, so ``done/`` of the agent remembers what was written.
    """
    assert envelope.sender is not None
    assert envelope.id is not None
    marker = file_name((envelope.timestamp or 0) * 1000, envelope.sender, envelope.id)
    with layout.box(agent, "done", make=True) as done:
        if done.has(marker):
            return False
        data = version1.encode(envelope)
        with layout.top() as top, top.enter("inbox", make=True) as inbox:
            name = version1.file_name(envelope)
            if inbox.has(name):  # somebody else's id, or one that differs in case alone
                name = marker.removesuffix(SUFFIX) + version1.SUFFIX
            inbox.write(name, data)
            inbox.flush()
        done.write(marker, pack(envelope))
        done.flush()
    return True
