"""What can be wrong with tokens, keys and rights. No text has a token or a secret in it."""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "malformed",
    "typ",
    "alg",
    "kid",
    "signature",
    "claims",
    "iss",
    "aud",
    "expired",
    "not_yet",
    "revoked",
]
"""Why a token does not do; the header's or claim's name where it is one."""


class TokenRefused(Exception):
    """A token that proves nothing here.

    Attributes:
        reason: for programs and records.
        text: for people; it says what to do, and never echoes the token.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(reason, text)
        self.reason: Reason = reason
        self.text = text

    def __str__(self) -> str:
        return f"{self.reason}: {self.text}"


class AuthError(Exception):
    """Base of what an operator has to put right."""


class KeysError(AuthError):
    """A key file that cannot be used. ``key`` is the kid, or the place in the file."""

    def __init__(self, path: str, rule: str, key: str = "") -> None:
        super().__init__(path, rule, key)
        self.path = path
        self.rule = rule
        self.key = key

    def __str__(self) -> str:
        return f"{self.path}: " + (f"key {self.key}: " if self.key else "") + self.rule


class LedgerError(AuthError):
    """The list of tokens cannot be read or added to."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


class Unsafe(AuthError):
    """A file or folder with secrets that others can get at. ``todo`` is the command to type."""

    def __init__(self, path: str, why: str, todo: str) -> None:
        super().__init__(path, why, todo)
        self.path = path
        self.why = why
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.path}: {self.why}; {self.todo}"
