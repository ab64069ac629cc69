"""Keys that sign files of the shared folder: HMAC-SHA256 with a secret all signers have (§8).

A key file has a line ``<kid> <secret>`` a key. The first one signs, every one verifies, so a new
key is put in front and the old one removed once nothing signed with it is under way any more.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

SECRET_CHARACTERS: Final = 32
"""Of a secret at least: 128 bits when they are hexadecimal digits."""

_KID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


class Key(NamedTuple):
    """A secret and the name files call it by."""

    kid: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.kid!r})"

    def sign(self, body: bytes) -> str:
        """The signature of an envelope's bytes: 64 hexadecimal digits."""
        return hmac.new(self.secret, body, hashlib.sha256).hexdigest()


class Keyring:
    """The keys of one key file, the one that signs first."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = {key.kid: key for key in keys}
        self.signing = next(iter(self._keys.values()))

    def __repr__(self) -> str:
        return f"<Keyring {', '.join(self._keys)}>"

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """The keys of a key file; empty lines and those that begin with ``#`` count for nothing.

        Raises:
            ValueError: names the line and the rule, and never the secret.
        """
        keys: dict[str, Key] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 2:
                raise ValueError(f"line {number}: a key is '<kid> <secret>', two words")
            kid, secret = words
            if not _KID.match(kid):
                raise ValueError(f"line {number}: a kid is 1-64 of A-Z a-z 0-9 . _ -")
            if kid in keys:
                raise ValueError(f"line {number}: there is a key {kid!r} already")
            if len(secret) < SECRET_CHARACTERS:
                raise ValueError(
                    f"line {number}: a secret has {SECRET_CHARACTERS} characters at least, "
                    "from `openssl rand -hex 32` for instance"
                )
            keys[kid] = Key(kid, secret.encode())
        if not keys:
            raise ValueError("it has no key; a line '<kid> <secret>' is one")
        return cls(keys.values())

    def fault(self, body: bytes, kid: str | None, signature: str | None) -> str | None:
        """Why ``signature`` does not prove that a key's holder wrote ``body``; None if it does."""
        if kid is None or signature is None:
            return "not signed, and its sender must sign"
        key = self._keys.get(kid)
        if key is None:
            return f"signed with key {kid!r}, which is not in the key file"
        if not hmac.compare_digest(key.sign(body), signature):
            return f"the signature is not that of key {kid!r}"
        return None
