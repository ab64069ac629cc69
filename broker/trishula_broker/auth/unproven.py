"""What a token says of itself, for whoever was given it: not proven by anything.

Needs no key and no cryptography, so that commands which only use a token start quickly.
"""

from __future__ import annotations

import base64
import re
from typing import Final

import msgspec

from trishula_broker.auth.errors import TokenRefused

TOKEN_BYTES: Final = 8192
"""A longer token is not looked at: it has to fit into a request's head, beside the rest of it."""

_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\Z")


class Said(msgspec.Struct):
    """``exp`` is in seconds since 1970."""

    sub: str
    ns: str = "default"
    exp: float | None = None


def parts_of(token: str) -> list[str]:
    """Header, claims and signature, as they are written.

    Raises:
        TokenRefused: ``malformed``, it is too long or has not this form.
    """
    if len(token) > TOKEN_BYTES:
        raise malformed(f"it has {len(token)} characters and may have {TOKEN_BYTES}")
    if not _SHAPE.match(token):
        raise malformed("it is not three parts of base64url with dots between them")
    return token.split(".")


def decoded(part: str) -> bytes:
    """The bytes of a part.

    Raises:
        ValueError: it is not base64url.
    """
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def peek(token: str) -> Said:
    """What a token says.

    Raises:
        TokenRefused: ``malformed``, it is no token.
    """
    try:
        return msgspec.json.decode(decoded(parts_of(token)[1]), type=Said)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise malformed("its claims cannot be read") from None


def malformed(what: str) -> TokenRefused:
    """The refusal of what is no token."""
    return TokenRefused("malformed", f"{what}; a token is what `broker token create` prints")
