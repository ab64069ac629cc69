"""Encryption at rest: a file as chunks that can be neither read, changed, moved nor cut unseen.

AES-256-GCM, a random nonce a chunk: at a few chunks a second a key lasts for decades before two
could be the same. Each chunk is bound to its file and its place in it, and the last one of a
finished file says that it is: only a file that is still written may end anywhere.

    TRISHULA-AUDIT-1\\n | length, 4 bytes | nonce, 12 bytes | ciphertext and tag | length …
"""

from __future__ import annotations

import base64
import binascii
import os
import struct
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trishula_broker.credentials import seen_by_others

MAGIC: Final = b"TRISHULA-AUDIT-1\n"
CHUNK: Final = 1 << 20
"""Bytes of clear text in a chunk at most."""
_LENGTH: Final = struct.Struct(">I")
_NONCE: Final = 12
_TAG: Final = 16


class UnusableKey(Exception):
    """A key that cannot be used; the text says where it is from and what it must be."""


class Unreadable(Exception):
    """What is left of a file behind ``good`` bytes of it cannot be read: the text says why."""

    def __init__(
        self, why: str, clear: bytes = b"", good: int = 0, chunks: int = 0, torn: bool = False
    ) -> None:
        super().__init__(why)
        self.clear = clear
        """The clear text before that place."""
        self.good = good
        self.chunks = chunks
        self.torn = torn
        """Nothing follows that place but what a crash leaves behind."""


def parse_key(text: str, origin: str) -> bytes:
    """The 32 bytes that ``text`` is, base64 or hexadecimal.

    Raises:
        UnusableKey: it is something else; ``origin`` is named, the key is not.
    """
    text = "".join(text.split())
    try:
        if len(text) == 64:
            return bytes.fromhex(text)
        key = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != 32:
        raise UnusableKey(
            f"{origin}: not a key of 32 bytes in base64 or hexadecimal; "
            "`openssl rand -base64 32` makes one"
        )
    return key


def read_key(path: Path, origin: str) -> bytes:
    """The key in a file that nobody else may read.

    Raises:
        UnusableKey: it cannot be used.
    """
    try:
        if seen_by_others(path, path.stat()):
            raise UnusableKey(f"{origin}: others can read {path}; type: chmod 600 {path}")
        return parse_key(path.read_text("utf-8"), origin)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not text"
        raise UnusableKey(f"{origin}: cannot read {path}: {why}") from None


class Sealer:
    """Seals and opens chunks with one key."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def __repr__(self) -> str:
        return "<Sealer>"

    def seal(self, clear: bytes, name: str, number: int, last: bool = False) -> bytes:
        """``clear`` as chunk ``number`` of the file ``name``."""
        nonce = os.urandom(_NONCE)
        text = nonce + self._aead.encrypt(nonce, clear, _bound(name, number, last))
        return _LENGTH.pack(len(text)) + text

    def file(self, clear: bytes, name: str) -> bytes:
        """``clear`` as a whole, finished file."""
        pieces = [clear[at : at + CHUNK] for at in range(0, len(clear), CHUNK)] or [b""]
        end = len(pieces) - 1
        chunks = (self.seal(piece, name, n, n == end) for n, piece in enumerate(pieces))
        return MAGIC + b"".join(chunks)

    def open(self, data: bytes, name: str, finished: bool) -> tuple[bytes, int, int]:
        """The clear text of the file ``name``, in how many of its bytes, and of its chunks.

        Args:
            finished: whether it must say that it is whole. Another may, by an empty chunk, which
                is not counted: it is about to be.

        Raises:
            Unreadable: with what could be read before.
        """
        if not data.startswith(MAGIC):
            torn = MAGIC.startswith(data) and not finished
            raise Unreadable("it does not begin as an encrypted segment does", torn=torn)
        at, number, clear = len(MAGIC), 0, []
        ended = False
        while at < len(data):
            why = ""
            end = at + 4
            if end <= len(data):
                end += _LENGTH.unpack_from(data, at)[0]
            text = data[at + 4 : end]
            if ended:
                why = f"something follows its last chunk, {number - 1}"
            elif end > len(data) or len(text) < _NONCE + _TAG:
                why = f"chunk {number} is cut off"
            else:
                is_end = not finished and end == len(data) and len(text) == _NONCE + _TAG
                for last in (True, False) if finished or is_end else (False,):
                    try:
                        bound = _bound(name, number, last)
                        clear.append(self._aead.decrypt(text[:_NONCE], text[_NONCE:], bound))
                        if last and is_end:
                            return b"".join(clear), at, number
                        ended = last
                        break
                    except InvalidTag:
                        continue
                else:
                    why = f"chunk {number} was changed, is not in its place, or has another key"
            if why:
                torn = not finished and (end >= len(data) or not any(data[at:]))
                raise Unreadable(why, b"".join(clear), at, number, torn)
            at, number = end, number + 1
        if finished and not ended:
            raise Unreadable(f"it is cut off behind chunk {number - 1}", b"".join(clear), at)
        return b"".join(clear), at, number


def _bound(name: str, number: int, last: bool) -> bytes:
    return f"{name}\n{number}\n{'last' if last else 'more'}".encode()
