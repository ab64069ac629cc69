"""What becomes of a chain's segments that are written no more: sealed, said to be, and removed.

Blocks, like the writer it belongs to, which has the open segment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from trishula_broker.audit import chain, segment
from trishula_broker.audit.sealing import Sealer
from trishula_broker.audit.segment import ChainName, Segment
from trishula_broker.audit.settings import AuditSettings
from trishula_broker.audit.tail import own

DENSE: Final = 16 << 10
"""Bytes of lines in a piece, of a file that need not be compressed again as a whole."""


class Written(NamedTuple):
    """What is known of a file that was just written to its end."""

    size: int
    """Its bytes,"""
    chunks: int
    """pieces,"""
    text: int
    """and bytes of lines in those."""
    digest: hashlib._Hash | None


class Tidying:
    """Whether something waits for it is its truth, retention aside.

    Args:
        folder: the chain's.
        name: which chain.
        settings: how long segments are kept.
        sealer: encrypts, when given.
        clock: wall-clock milliseconds.
        say: writes a record of the archive's own; raises OSError when it does not.
    """

    def __init__(
        self,
        folder: Path,
        name: ChainName,
        settings: AuditSettings,
        sealer: Sealer | None,
        clock: Callable[[], int],
        say: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._folder = folder
        self._name = name
        self._settings = settings
        self._sealer = sealer
        self._clock = clock
        self._say = say
        self._unsealed: list[Segment] = []
        self._unsaid: list[Segment] = []
        """Sealed, and not yet said to be."""
        self._digests: dict[int, tuple[int, str]] = {}
        """What those have of bytes, and their SHA-256, where it is known."""
        self._written: dict[int, Written] = {}
        """Of those to be sealed, where this process wrote them."""

    def __repr__(self) -> str:
        return f"<Tidying {self._name} unsealed={len(self._unsealed)} unsaid={len(self._unsaid)}>"

    def __bool__(self) -> bool:
        return bool(self._unsealed or self._unsaid)

    def begin(self, unsealed: Sequence[Segment], unsaid: Sequence[Segment]) -> None:
        """What an earlier process left."""
        self._unsealed, self._unsaid = list(unsealed), list(unsaid)
        self._written.clear()

    def add(self, segment: Segment, written: Written) -> None:
        """A segment is written no more, and on the disk."""
        self._unsealed.append(segment)
        self._written[segment.number] = written

    def run(self) -> None:
        """Seal what is to be sealed, and remove what retention allows.

        Raises:
            OSError: it could not be done now; nothing is lost.
        """
        while self._unsealed:
            sealed = self.seal(self._unsealed[0])
            self._written.pop(self._unsealed.pop(0).number, None)
            if sealed is not None:
                self._unsaid.append(sealed)
        while self._unsaid:
            self._say_sealed(self._unsaid[0])
            self._unsaid.pop(0)
        self._retire()

    def seal(self, old: Segment) -> Segment | None:
        """The sealed form of a segment, in its place; None where it is damaged, and left."""
        encrypted = self._sealer is not None
        path = self._folder / segment.file_name(old.number, True, encrypted)
        sealed = Segment(path, old.number, True, encrypted)
        if path.exists() and not old.path.exists():  # all but the folder was on the disk before
            segment.sync_folder(self._folder)
            return sealed
        written = self._written.get(old.number)
        if written is not None and written.text >= DENSE * written.chunks:
            self._finish(old, sealed, written)
            return sealed
        pieces: Iterator[bytes]
        if self._sealer is None and not old.encrypted and not old.packed:
            pieces = segment.compressed(segment.whole_lines(old.path))
        else:
            held = segment.read(old, self._name, self._sealer)
            if held.problem is not None and not held.torn:
                return None  # what is damaged stays as it was found
            data = segment.compress(held.text[: held.text.rfind(b"\n") + 1])
            if self._sealer is not None:
                data = self._sealer.file(data, sealed.bound_name(self._name))
            pieces = iter([data])
        self._digests[old.number] = segment.put_pieces(path, pieces)
        old.path.unlink(missing_ok=True)
        segment.sync_folder(self._folder)
        return sealed

    def _finish(self, old: Segment, sealed: Segment, written: Written) -> None:
        """Seal what needs only another name, and where it is encrypted to say that it is whole."""
        size, digest = written.size, written.digest and written.digest.copy()
        if self._sealer is not None:
            end = self._sealer.seal(b"", sealed.bound_name(self._name), written.chunks, True)
            segment.extend(old.path, size, end)
            size += len(end)
            if digest is not None:
                digest.update(end)
        old.path.replace(sealed.path)
        segment.sync_folder(self._folder)
        if digest is not None:
            self._digests[old.number] = size, digest.hexdigest()

    def _say_sealed(self, sealed: Segment) -> None:
        size, digest = self._digests.get(sealed.number) or segment.digest_of(sealed.path)
        self._say("sealed", {"segment": sealed.number, "bytes": size, "sha256": digest})
        self._digests.pop(sealed.number, None)

    def _retire(self) -> None:
        settings = self._settings
        if not (settings.max_age_s or settings.max_bytes):
            return
        found = segment.segments(self._folder)
        files = [(each, each.path.stat()) for each in found]
        total = sum(stat.st_size for _, stat in files)
        oldest = self._clock() / 1000 - settings.max_age_s
        for (each, stat), (following, _) in pairwise(files):
            old = settings.max_age_s and stat.st_mtime < oldest
            large = settings.max_bytes and total > settings.max_bytes
            if not each.sealed or not (old or large):
                return
            text = segment.read(following, self._name, self._sealer).text
            first = next(segment.lines(text), b"")
            taken, prev = chain.take_apart(first), own(first).prev
            if taken is None or not prev:
                return  # what cannot be told rightly stays
            self._say(
                "removed",
                {
                    "segment": each.number,
                    "last": taken.number - 1,
                    "last_hash": prev,
                    "reason": "age" if old else "size",
                },
            )
            each.path.unlink()
            segment.sync_folder(self._folder)
            total -= stat.st_size
