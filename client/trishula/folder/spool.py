"""What an agent finds in the shared folder, and where it puts that when it is done with it.

It blocks; one thread at a time. What is read is judged here: a partial or foreign file is left
alone until it changes, a forged or broken one goes to ``rejected/`` with the reason beside it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from trishula.folder.directory import Directory, NotAFile, Signature
from trishula.folder.layout import Layout
from trishula.inbox import Key
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
    parse,
    parse_name,
    who,
)
from trishula_protocol.folder_key import Keyring
from trishula_protocol.refusals import DECODE_ERRORS

V1_SUFFIX: Final = ".json"
REASON: Final = ".reason"
"""What the name of the file beside a rejected one ends with."""

NAME_BYTES: Final = 210
"""Of a name in ``rejected/`` at most: ours have 205."""

Place = Literal["inbox", "v1"]
_log = logging.getLogger("trishula")


class Letter(NamedTuple):
    """A message in a file. ``stamp`` is when it was written, microseconds since the epoch."""

    key: Key
    stamp: int
    envelope: Envelope


class _Found(NamedTuple):
    place: Place
    name: str
    stamp: int


class Spool:
    """One agent's side of a shared folder.

    Args:
        keyring: with it, what is not signed by one of its keys is rejected.
    """

    def __init__(self, layout: Layout, agent: str, keyring: Keyring | None) -> None:
        self.layout = layout
        self._agent = agent
        self._keyring = keyring
        self._files: dict[Key, list[_Found]] = {}
        self._known: dict[tuple[Place, str], Key] = {}
        self._left: dict[tuple[Place, str], Signature | None] = {}
        self._done: dict[str, str] = {}
        self.more = False
        """Whether the last :meth:`scan` left something for the next."""

    def __repr__(self) -> str:
        return f"<Spool of {self._agent} in {self.layout.root}: {len(self._files)} unsettled>"

    def open(self) -> list[Key]:
        """Make what is missing, and tell what was settled in earlier lives, oldest first."""
        self.layout.make(self._agent)
        self.layout.unmark_version1(self._agent)
        finished: list[Key] = []
        with self._box("done") as done:
            for name in sorted(done.names()):
                found = parse_name(name)
                if found is not None:
                    self._done[found.who] = name
                    if found.id is not None:
                        finished.append((found.sender, found.id))
        return finished

    def watched(self) -> list[Path]:
        """What a change in may be news."""
        return [self.layout.path(self._agent, "inbox"), self.layout.root / "inbox"]

    # --- finding ---

    def scan(self, room: int) -> list[Letter]:
        """New letters, the most urgent and oldest first, about ``room`` at most.

        Raises:
            OSError: the folder is away.
        """
        self.more = False
        letters: list[Letter] = []
        try:
            inbox = self._box("inbox")
        except FileNotFoundError:
            self.layout.make(self._agent)  # the folder is back and empty, or it is away
            inbox = self._box("inbox")
        with inbox:
            letters += self._scan(inbox, "inbox", SUFFIX, room)
        try:
            with self.layout.top() as top, top.enter("inbox") as old:
                letters += self._scan(old, "v1", V1_SUFFIX, room - len(letters))
        except (FileNotFoundError, NotADirectoryError):
            pass  # nobody here has ever used version 1
        letters.sort(key=lambda letter: (letter.envelope.priority, letter.stamp))
        return letters

    def _scan(self, inbox: Directory, place: Place, suffix: str, room: int) -> list[Letter]:
        names = sorted(name for name in inbox.names() if name.endswith(suffix))
        self._forget(place, set(names))
        letters: list[Letter] = []
        for name in names:
            at = (place, name)
            if at in self._known:
                continue
            if at in self._left and self._left[at] == inbox.signature(name):
                continue
            if len(letters) >= room:
                self.more = True
                break
            if self._settled_before(inbox, name):
                continue
            letter = self._look(inbox, place, name)
            if letter is None:
                continue
            self._known[at] = letter.key
            files = self._files.setdefault(letter.key, [])
            files.append(_Found(place, name, letter.stamp))
            if len(files) == 1:
                letters.append(letter)
        return letters

    def _forget(self, place: Place, names: set[str]) -> None:
        for at in [at for at in self._known if at[0] == place and at[1] not in names]:
            key = self._known.pop(at)
            files = [found for found in self._files.get(key, []) if found[:2] != at]
            if files:
                self._files[key] = files
            else:
                self._files.pop(key, None)
        for at in [at for at in self._left if at[0] == place and at[1] not in names]:
            del self._left[at]

    def _settled_before(self, inbox: Directory, name: str) -> bool:
        """A copying tool brought back what is in ``done/``: there it stays, for longer."""
        found = parse_name(name)
        if found is None or found.who not in self._done:
            return False
        with self._box("done") as done:
            if not done.has(self._done[found.who]):  # its time there was over
                del self._done[found.who]
                return False
            done.touch(self._done[found.who])
        inbox.remove(name)
        return True

    def _look(self, inbox: Directory, place: Place, name: str) -> Letter | None:
        signature = inbox.signature(name)
        try:
            data = inbox.read(name, FILE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._left[place, name] = signature
            why = error.strerror or str(error)
            level = logging.WARNING if isinstance(error, (NotAFile, PermissionError)) else 20
            _log.log(level, "%s: left alone: %s/%s: %s", self._agent, inbox.path, name, why)
            return None
        try:
            if place == "v1":
                return self._version1(inbox, name, data)
            return self._version2(name, data)
        except NotWhole as error:
            self._left[place, name] = signature
            _log.debug("%s: left alone: %s/%s: %s", self._agent, inbox.path, name, error)
        except NotValid as error:
            try:
                self._reject(inbox, name, name, str(error))
            except OSError as problem:  # others behind it must not wait for this one
                self._left[place, name] = signature
                _log.warning("%s: left alone: %s/%s: %s", self._agent, inbox.path, name, problem)
        return None

    def _version2(self, name: str, data: bytes) -> Letter:
        parsed = parse(data)
        if self._keyring is not None:
            fault = self._keyring.fault(*parsed)
            if fault is not None:
                raise NotValid(fault)
        envelope = open_envelope(parsed.body)
        address = parse_address(envelope.to or "")
        if address.kind is Kind.AGENT and address.name != self._agent:
            raise NotValid(f"to: it is for {envelope.to}, and lies in the inbox of {self._agent}")
        found = parse_name(name)
        return self._letter(envelope, None if found is None else found.stamp)

    def _version1(self, inbox: Directory, name: str, data: bytes) -> Letter:
        try:
            message = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
        except DECODE_ERRORS as error:
            raise NotWhole("not JSON, or not all of it yet") from error
        to = message.get("to") if isinstance(message, dict) else None
        if not isinstance(to, str) or to.strip().lower() != self._agent:
            raise NotWhole("it is somebody else's")
        if self._keyring is not None:
            raise NotValid("not signed, and its sender must sign; version 1 cannot")
        envelope = version1.to_envelope(message, name.removesuffix(V1_SUFFIX))
        # It may say any time, or none; its place in the line is when it came.
        return self._letter(envelope, round(inbox.modified(name) * 1_000_000))

    def _letter(self, envelope: Envelope, stamp: int | None) -> Letter:
        assert envelope.sender is not None
        assert envelope.id is not None
        if stamp is None:
            stamp = (envelope.timestamp or 0) * 1000
        if envelope.ttl is not None and stamp // 1000 + envelope.ttl < time.time_ns() // 1_000_000:
            raise NotValid(f"expired: its ttl was {envelope.ttl} ms")
        return Letter((envelope.sender, envelope.id), stamp, envelope)

    # --- putting away ---

    def put_away(self, settled: Iterable[tuple[Key, str | None]]) -> None:
        """Move settled messages to ``done/``, or to ``rejected/`` with the reason."""
        for key, reason in settled:
            files = self._files.pop(key, [])
            for number, found in enumerate(files):
                self._known.pop((found.place, found.name), None)
                with self._open(found.place) as inbox:
                    if number:
                        inbox.remove(found.name)
                    else:
                        self._move(inbox, found, key, reason)

    def discard(self, key: Key) -> None:
        """Remove the files of a message that a hub has dealt with, or will."""
        for found in self._files.pop(key, []):
            self._known.pop((found.place, found.name), None)
            with self._open(found.place) as inbox:
                inbox.remove(found.name)

    def _move(self, inbox: Directory, found: _Found, key: Key, reason: str | None) -> None:
        name = file_name(found.stamp, *key)
        if reason is not None:
            self._reject(inbox, found.name, name, reason)
            return
        known = self._done.get(who(*key))
        with self._box("done", make=True) as done:
            if known is not None and done.has(known):
                done.touch(known)
                inbox.remove(found.name)
                return
            inbox.move(found.name, done, name)
        self._done[who(*key)] = name

    def _reject(self, inbox: Directory, name: str, new_name: str, reason: str) -> None:
        _log.warning("%s: rejected: %s/%s: %s", self._agent, inbox.path, name, reason)
        with self._box("rejected", make=True) as rejected:
            put_aside(inbox, name, rejected, new_name, reason)

    def _open(self, place: Place) -> Directory:
        if place == "inbox":
            return self._box("inbox")
        with self.layout.top() as top:
            return top.enter("inbox")

    def _box(self, box: Literal["inbox", "done", "rejected"], *, make: bool = False) -> Directory:
        return self.layout.box(self._agent, box, make=make)


def put_aside(place: Directory, name: str, rejected: Directory, new_name: str, reason: str) -> None:
    """Move a file to ``rejected``, the reason beside it; what is there is not overwritten."""
    new_name = _short(new_name)
    free, number = new_name, 1
    while rejected.has(free):
        if _same(place, name, rejected, free):
            break
        number += 1
        free = f"{new_name}.{number}"
    rejected.write(free + REASON, reason.encode(errors="replace") + b"\n")
    place.move(name, rejected, free)
    rejected.flush()


def _short(name: str) -> str:
    """A name that has room for what is added to it here, in 255 bytes."""
    data = os.fsencode(name)
    if len(data) <= NAME_BYTES:
        return name
    return f"long-{hashlib.sha256(data).hexdigest()}{Path(name).suffix[:8]}"


def _same(place: Directory, name: str, rejected: Directory, other: str) -> bool:
    try:
        return place.read(name, FILE_BYTES) == rejected.read(other, FILE_BYTES)
    except OSError:
        return False
