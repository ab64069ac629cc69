"""Reads a chain line by line and says what does not fit. Pure: bytes in, findings out.

The quick way is a comparison and a hash a line. Where a line does not fit, what follows it decides
what is said: that it was changed, is missing, or stands in another's place.
"""

from __future__ import annotations

import hashlib
from binascii import hexlify
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from trishula_broker.audit.blocks import SIZE
from trishula_broker.audit.chain import TAIL, ZERO, Line, digest_of, take_apart

FINDINGS: Final = 100
"""Kept of a chain; all are counted."""
_BLOCK: Final = b',"block":"'
_BLOCK_AT: Final = TAIL + len(_BLOCK) + 65
_EVENT: Final = b'"event":"'
_TOLD: Final = frozenset(
    (b'segment"', b'sealed",', b'removed"', b'rewound"', b'gap","mi', b'altered"')
)
"""Beginnings of the events that tell of the archive itself; all are as long."""


class Finding(msgspec.Struct):
    """Something that does not fit, and where."""

    chain: str
    segment: str
    """The file's name."""
    line: int | None
    record: int | None
    what: str

    def __str__(self) -> str:
        place = [f"{self.chain}: {self.segment}" if self.segment else self.chain]
        if self.line is not None:
            place.append(f"line {self.line}")
        if self.record is not None:
            place.append(f"record {self.record}")
        return f"{', '.join(place)}: {self.what}"


class Told(msgspec.Struct):
    """The fields of the archive's own records that matter here."""

    event: str
    n: int
    node: str = ""
    segment: int = 0
    prev: str = ""
    sha256: str = ""
    last: int = 0
    last_hash: str = ""
    had: int = 0
    to: int = 0
    missing: tuple[int, int] = (0, 0)
    at: str = ""
    what: str = ""


_told: Final = msgspec.json.Decoder(Told).decode


class Scan:
    """One chain from its first line to its last.

    Args:
        chain: its name, for people.
        wanted: numbers of records whose hashes are to be remembered.
    """

    def __init__(self, chain: str, wanted: frozenset[int] = frozenset()) -> None:
        self.chain = chain
        self.findings: list[Finding] = []
        self.count = 0
        """Of findings, also those that are not kept."""
        self.records = 0
        self.first: int | None = None
        self.number: int | None = None
        """Of the last record; None where that is not known."""
        self.floor = 0
        """The highest number so far."""
        self.hashes: dict[int, str] = {}
        self.blocks: dict[int, str] = {}
        """Of blocks that end in this archive."""
        self.told: list[Told] = []
        self._wanted = wanted
        self._digest: bytes | None = None
        self._computed: bytes | None = None
        """What the last line's hash would have to be, where it is not."""
        self._changed: Finding | None = None
        self.file = ""
        self._broken = 0
        """Lines since the last record that were none."""

    @property
    def hash(self) -> str:
        """Of the last record, as it is written there."""
        return "" if self._digest is None else self._digest.hex()

    def find(self, what: str, line: int | None = None, record: int | None = None) -> Finding:
        """Add a finding."""
        finding = Finding(self.chain, self.file, line, record, what)
        self.count += 1
        if len(self.findings) < FINDINGS:
            self.findings.append(finding)
        return finding

    def lost(self) -> None:
        """What stood here could not be read: where the chain goes on is not known."""
        self.number = self._digest = self._computed = None
        self._broken = 1 << 62

    def segment(self, file: str, number: int, text: bytes) -> None:
        """The lines of the next segment; its file was read before this is called."""
        self.file = file
        lines = text.split(b"\n")
        if lines[-1]:
            # What a crash leaves, or a write under way; a cut further up shows by the heads.
            self.torn = len(lines)
        lines.pop()
        self._header(number, lines)
        sha256, at = hashlib.sha256, 0
        wanted = self._wanted
        for at, line in enumerate(lines):
            if self.number is not None and self._digest is not None:
                expected = self.number + 1
                if line.startswith(b'{"n":%d,' % expected) and line[-TAIL:-66] == b',"hash":"':
                    digest = sha256(self._digest + line[:-TAIL]).digest()
                    if hexlify(digest) == line[-66:-2] and line[-2:] == b'"}':
                        self._digest = digest
                        self.number = expected
                        self._look(line, expected, wanted)
                        continue
            self._odd(at, line, lines)
        self.records += len(lines)
        if self.number is not None:
            self.floor = max(self.floor, self.number)

    torn = 0
    """The line that ends without its end, 0 for none."""

    def _look(self, line: bytes, number: int, wanted: frozenset[int]) -> None:
        if number in wanted:
            self.hashes[number] = line[-66:-2].decode()
        if line[-_BLOCK_AT : -_BLOCK_AT + 10] == _BLOCK:
            self._block(line)
        at = line.find(_EVENT, 0, 600) + 9
        if line[at : at + 8] in _TOLD:
            try:
                self.told.append(_told(line))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self.find(f"no hub has written it: {error}", None, number)

    def _block(self, line: bytes) -> None:
        at = line.find(b'"pos":', 0, 40)
        if at > 0:
            text = line[at + 6 : line.find(b",", at)]
            pos = int(text) if text.isdigit() else 0
            if pos and pos % SIZE == 0:
                self.blocks[pos // SIZE - 1] = line[-TAIL - 65 : -TAIL - 1].decode()

    def _header(self, number: int, lines: Sequence[bytes]) -> None:
        """Take up the chain at a segment's first line."""
        try:
            header = _told(lines[0]) if lines else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            header = None
        if header is None or header.event != "segment":
            if lines:
                self.find("its first record does not say which segment it is", 1)
            header = None
        elif header.segment != number:
            self.find(f"it says that it is segment {header.segment}", 1, header.n)
        if self.first is None:
            self.first = 1 if header is None else header.n
            self.number = self.first - 1
            self.floor = self.number
            self._digest = ZERO
            if self.number:
                try:
                    self._digest = bytes.fromhex(header.prev) if header else None
                except ValueError:
                    self._digest = None

    # --- what does not fit ---

    def _odd(self, at: int, line: bytes, lines: Sequence[bytes]) -> None:
        number = at + 1
        taken = take_apart(line)
        if taken is None:
            expected = None if self.number is None else self.number + 1
            self.find("it is no record: the line was changed, or broken in two", number, expected)
            self.floor = max(self.floor, self.number or 0)
            self.number = self._digest = self._computed = None
            self._broken += 1
            return
        following = _number_of(lines, at + 1)
        if self.number is None:
            self._resume(taken, number)
        elif taken.number == self.number + 1:
            self._hash(taken, number)
        else:
            self._order(taken, number, following)
        self._look(line, taken.number, self._wanted)

    def _resume(self, taken: Line, number: int) -> None:
        missing = taken.number - self.floor - 1
        if taken.number <= self.floor:
            self.find(f"it stands behind record {self.floor}", number, taken.number)
        elif missing > self._broken:
            self.find(
                f"records {self.floor + 1} to {taken.number - 1} are not here", number, taken.number
            )
        self.number, self._digest, self._broken = taken.number, taken.digest, 0
        self._computed = None

    def _hash(self, taken: Line, number: int) -> None:
        if self._digest is not None:
            right = digest_of(self._digest, taken.hashed)
            if right != taken.digest:
                if (
                    self._computed is not None
                    and digest_of(self._computed, taken.hashed) == taken.digest
                    and self._changed is not None
                ):
                    self._changed.what = "its hash was changed; what it says fits what follows"
                    self._computed = None
                else:
                    self._changed = self.find(
                        "it was changed: what it says does not fit its hash", number, taken.number
                    )
                    self._computed = right
        self.number, self._digest = taken.number, taken.digest

    def _order(self, taken: Line, number: int, following: int | None) -> None:
        assert self.number is not None
        expected = self.number + 1
        before = self._digest
        self._computed = None
        if taken.number > expected and (following is None or following > expected + 1):
            some = (
                f"record {expected} is"
                if taken.number == expected + 1
                else (f"records {expected} to {taken.number - 1} are")
            )
            self.find(f"{some} missing before it: removed", number, taken.number)
            self.number, self._digest = taken.number, taken.digest
        elif following == expected and taken.number < expected:
            self.find(f"it does not belong behind record {self.number}", number, taken.number)
            self._digest = before
        else:
            self.find(
                f"it stands in the place of record {expected}: they were swapped, or it was moved",
                number,
                taken.number,
            )
            self.number, self._digest = expected, None


def _number_of(lines: Sequence[bytes], at: int) -> int | None:
    taken = take_apart(lines[at]) if at < len(lines) else None
    return None if taken is None else taken.number


Progress = Callable[[int], None]
"""Told how many bytes of files were read."""
