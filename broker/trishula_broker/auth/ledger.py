"""The list of tokens made and revoked, beside the keys: one JSON line each, only added to.

It has no token, only what each one says. A hub that runs follows it by reading on from where it
was. A last line that a crash left half written counts for nothing: whoever wrote it has not said
that it was done.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from trishula_broker.auth.errors import LedgerError
from trishula_broker.auth.identity import Identity, Rights, Role
from trishula_broker.auth.private_files import (
    check_folder,
    give_to_owner,
    open_private,
    sync_folder,
    write_all,
)

NAME: Final = "tokens.jsonl"
"""Of the list, in the folder of the key file."""


class Issued(msgspec.Struct, frozen=True, tag="issued", tag_field="what", omit_defaults=True):
    """A token was made. Times are wall-clock milliseconds; ``exp`` None is never."""

    jti: str
    sub: str
    ns: str
    role: Role
    iat: int
    exp: int | None
    kid: str
    rights: Rights = Rights()

    def identity(self) -> Identity:
        """What the token proves."""
        return Identity(self.sub, self.ns, self.role, self.jti, self.iat, self.exp, self.rights)

    @classmethod
    def of(cls, identity: Identity, kid: str) -> Issued:
        """The line for a token that proves ``identity``, signed with that key."""
        return cls(
            jti=identity.token_id,
            sub=identity.subject,
            ns=identity.namespace,
            role=identity.role,
            iat=identity.issued_at,
            exp=identity.expires_at,
            kid=kid,
            rights=identity.rights,
        )


class Revoked(msgspec.Struct, frozen=True, tag="revoked", tag_field="what", omit_defaults=True):
    """A token, or those of an agent, were revoked in a namespace.

    ``jti`` or ``agent`` and ``before`` are given; times are wall-clock milliseconds.
    """

    at: int
    ns: str
    jti: str | None = None
    agent: str | None = None
    before: int = 0
    """Of the agent, tokens issued earlier than this."""
    until: int | None = None
    """When they will all have expired anyway; None is never."""


Entry = Issued | Revoked
_DECODER: Final = msgspec.json.Decoder(Entry)


class Read(NamedTuple):
    """What was read of the list."""

    entries: list[Entry]
    offset: int
    """Where to read on."""
    unreadable: int
    """Lines that are none, such as one that a crash cut short."""


class Ledger:
    """The list at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"<Ledger {self.path}>"

    def read(self, offset: int = 0) -> Read:
        """What was added behind ``offset`` bytes; all of it when the list has become shorter.

        A list that is not there is an empty one.

        Raises:
            LedgerError: it cannot be read.
            Unsafe: others may read or write it.
        """
        try:
            file = open_private(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return Read([], 0, 0)
        except OSError as error:
            raise LedgerError(str(self.path), error.strerror or str(error)) from None
        try:
            size = os.fstat(file).st_size
            if size < offset:
                offset = 0
            data = _read(file, offset, size - offset)
        except OSError as error:
            raise LedgerError(str(self.path), error.strerror or str(error)) from None
        finally:
            os.close(file)
        whole = data[: data.rfind(b"\n") + 1]
        entries: list[Entry] = []
        unreadable = 0
        for line in whole.split(b"\n"):
            try:
                entries.append(_DECODER.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                unreadable += bool(line.strip())
        return Read(entries, offset + len(whole), unreadable)

    def add(self, entry: Entry) -> None:
        """Add a line; it is on the disk when this returns.

        Raises:
            LedgerError: it is not, or cannot be known to be.
            Unsafe: others may read or write the list, or write its folder.
        """
        try:
            check_folder(self.path.parent)
            file = open_private(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                size = os.fstat(file).st_size
                if size == 0:
                    give_to_owner(file, self.path.parent)
                # What a crash left of a line must not become the beginning of this one.
                torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
                write_all(file, b"\n" * torn + msgspec.json.encode(entry) + b"\n")
                os.fsync(file)
            finally:
                os.close(file)
            if size == 0:
                sync_folder(self.path.parent)
        except OSError as error:
            raise LedgerError(str(self.path), error.strerror or str(error)) from None


def _read(file: int, offset: int, count: int) -> bytes:
    parts = []
    while count > 0 and (part := os.pread(file, min(count, 1 << 20), offset)):
        parts.append(part)
        offset += len(part)
        count -= len(part)
    return b"".join(parts)
