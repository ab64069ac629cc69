"""Files that old scripts have written, on their way to the hub.

It blocks; one thread at a time. A script writes into ``outbox/`` for agents elsewhere, or straight
into ``inbox/`` for one on its host. What the hub has taken is moved to ``done/`` at the top of the
folder; what it does not know the recipient of stays, for whoever copies the folder to the peers.
"""

from __future__ import annotations

import logging
from collections.abc import Container
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from trishula.folder.directory import Directory, Signature
from trishula.folder.layout import Layout
from trishula.folder.spool import put_aside
from trishula_protocol import version1
from trishula_protocol.envelope import Envelope
from trishula_protocol.folder_file import FILE_BYTES, NotValid
from trishula_protocol.refusals import DECODE_ERRORS

Source = Literal["outbox", "inbox"]
SOURCES: Final[tuple[Source, ...]] = ("outbox", "inbox")
_log = logging.getLogger("trishula.bridge")


class OldLetter(NamedTuple):
    """A message in a file of version 1."""

    source: Source
    name: str
    written: float
    """When the file was, seconds since the epoch."""
    envelope: Envelope


class OldLetters:
    """What the agents of version 1 have written.

    Args:
        senders: whose files are taken.
        refused: senders that must sign, which version 1 cannot.
    """

    def __init__(self, layout: Layout, senders: Container[str], refused: Container[str]) -> None:
        self._layout = layout
        self._senders = senders
        self._refused = refused
        self._seen: dict[tuple[Source, str], Signature | None] = {}

    def watched(self) -> list[Path]:
        """What a change in may be news."""
        return [self._layout.root / source for source in SOURCES]

    def scan(self) -> list[OldLetter]:
        """Letters that were not there before, the oldest first.

        Raises:
            OSError: the folder is away.
        """
        letters: list[OldLetter] = []
        with self._layout.top() as top:
            for source in SOURCES:
                try:
                    place = top.enter(source)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                with place:
                    letters += self._scan(source, place)
        letters.sort(key=lambda letter: letter.written)
        return letters

    def _scan(self, source: Source, place: Directory) -> list[OldLetter]:
        names = {name for name in place.names() if name.endswith(version1.SUFFIX)}
        self._seen = {
            at: seen for at, seen in self._seen.items() if at[0] != source or at[1] in names
        }
        letters: list[OldLetter] = []
        for name in names:
            signature = place.signature(name)
            if signature is None or self._seen.get((source, name)) == signature:
                continue
            self._seen[source, name] = signature
            try:
                data = place.read(name, FILE_BYTES).removeprefix(b"\xef\xbb\xbf")
                message = msgspec.json.decode(data)
                written = place.modified(name)
            except (OSError, *DECODE_ERRORS) as error:
                _log.debug("left alone: %s/%s: %s", place.path, name, error)
                continue
            envelope = self._envelope(place, name, message, source)
            if envelope is not None:
                letters.append(OldLetter(source, name, written, envelope))
        return letters

    def _envelope(
        self, place: Directory, name: str, message: object, source: Source
    ) -> Envelope | None:
        sender = _agent(message, "from")
        if sender not in self._senders:
            return None  # somebody else's
        if source == "inbox" and _agent(message, "to") in self._senders:
            return None  # it lies where its recipient looks
        try:
            if sender in self._refused:
                raise NotValid(
                    f"not signed, and {sender} must sign; version 1 cannot: name it in "
                    "folder.unsigned to take its files all the same"
                )
            assert isinstance(message, dict)
            return version1.to_envelope(message, name.removesuffix(version1.SUFFIX))
        except NotValid as error:
            self._put_aside(place, name, str(error))
            return None

    def forget(self, letter: OldLetter) -> None:
        """Look at it again the next time."""
        self._seen.pop((letter.source, letter.name), None)

    def done(self, letter: OldLetter) -> None:
        """The hub has it."""
        with (
            self._layout.top() as top,
            top.enter(letter.source) as place,
            top.enter("done", make=True) as done,
        ):
            place.move(letter.name, done, letter.name)

    def reject(self, letter: OldLetter, reason: str) -> None:
        """The hub refuses it."""
        with self._layout.top() as top, top.enter(letter.source) as place:
            self._put_aside(place, letter.name, reason)

    def _put_aside(self, place: Directory, name: str, reason: str) -> None:
        _log.warning("rejected: %s/%s: %s", place.path, name, reason)
        with self._layout.top() as top, top.enter("rejected", make=True) as rejected:
            put_aside(place, name, rejected, name, reason)


def _agent(message: object, field: str) -> str:
    name = message.get(field) if isinstance(message, dict) else None
    return name.strip().lower() if isinstance(name, str) else ""
