"""Tokens: an identity becomes one, and one is checked into an identity again (RFC 7519, RFC 8725).

Pure but for the keys: the time is an argument. What is wrong is told by :class:`TokenRefused`,
whose text has nothing of the token before its signature was found good.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple

import jwt
import msgspec

from trishula_broker.auth.errors import TokenRefused
from trishula_broker.auth.identity import Identity, Rights, Role
from trishula_broker.auth.keys import ALGORITHMS, Key, KeyRing
from trishula_broker.auth.permits import pattern_fault, receive_fault
from trishula_broker.auth.unproven import TOKEN_BYTES, decoded, malformed, parts_of
from trishula_protocol.address import ID_PATTERN, agent_fault, tag_fault
from trishula_protocol.envelope import STORED_TYPES

OWN_TYP: Final = "trishula+jwt"
"""What this project's tokens are, so that none of another kind is taken for one."""
FOREIGN_TYP: Final = "at+jwt"
"""Access tokens of other issuers (RFC 9068)."""
LEEWAY_MS: Final = 30_000
"""How far clocks may be apart ..."""
LEEWAY_MAX_MS: Final = 60_000
"""... and may be said to be."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799)]
"""A NumericDate until the year 9999."""


class Issuer(NamedTuple):
    """Whose tokens of a ``typ`` are taken, and which keys they are checked with."""

    name: str
    keys: KeyRing


class _Header(msgspec.Struct):
    alg: str
    kid: str | msgspec.UnsetType = msgspec.UNSET
    typ: str | msgspec.UnsetType = msgspec.UNSET
    crit: Any = msgspec.UNSET


class _Claims(msgspec.Struct, omit_defaults=True):
    """In the order they are written. Times are seconds, with a fraction."""

    iss: str
    aud: str | list[str]
    sub: str
    jti: Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]
    iat: Seconds
    exp: Seconds | msgspec.UnsetType = msgspec.UNSET
    nbf: Seconds | msgspec.UnsetType = msgspec.UNSET
    ns: str = "default"
    role: Role = "agent"
    # Unset and not null: a right that is there by mistake must not mean everything.
    send: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    receive: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    types: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


def create(identity: Identity, key: Key, issuer: str, audience: str) -> str:
    """The token that proves ``identity``, signed with ``key``.

    Raises:
        ValueError: it could not be used; names what and the rule.
    """
    rights = identity.rights
    claims = _Claims(
        iss=issuer,
        aud=audience,
        sub=identity.subject,
        jti=identity.token_id,
        iat=identity.issued_at / 1000,
        exp=msgspec.UNSET if identity.expires_at is None else identity.expires_at / 1000,
        ns=identity.namespace,
        role=identity.role,
        send=_or_unset(rights.send),
        receive=_or_unset(rights.receive),
        types=_or_unset(rights.types),
    )
    fault = _fault(claims)
    if fault:
        raise ValueError(fault)
    token = key.sign(msgspec.json.encode(claims), OWN_TYP)
    if len(token) > TOKEN_BYTES:
        raise ValueError(
            f"send, receive: the token would have {len(token)} bytes and may have {TOKEN_BYTES}; "
            "name fewer addresses, or their common beginning with *"
        )
    return token


def verify(
    token: str, issuers: Mapping[str, Issuer], audience: str, now: int, leeway: int = LEEWAY_MS
) -> Identity:
    """Who a token proves somebody to be.

    Args:
        token: as it came.
        issuers: by the ``typ`` of their tokens, :data:`OWN_TYP` or :data:`FOREIGN_TYP`.
        audience: one of its ``aud`` must be this.
        now: wall-clock milliseconds.
        leeway: milliseconds that clocks may be apart.

    Raises:
        TokenRefused: it proves nothing.
    """
    header = _header(token)
    typ = "" if header.typ is msgspec.UNSET else header.typ.lower().removeprefix("application/")
    issuer = issuers.get(typ)
    if issuer is None:
        raise TokenRefused("typ", f"typ must be {' or '.join(issuers)}: it is another kind")
    payload = _opened(token, header, issuer)
    try:
        claims = msgspec.json.decode(payload, type=_Claims)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = str(error) if isinstance(error, msgspec.ValidationError) else "they are not JSON"
        raise TokenRefused("claims", what) from None
    if claims.iss != issuer.name:
        raise TokenRefused("iss", f"iss must be {issuer.name!r} (auth.issuer, for own tokens)")
    if claims.aud != audience and not (isinstance(claims.aud, list) and audience in claims.aud):
        raise TokenRefused("aud", f"aud must be {audience!r} (auth.audience): it is for others")
    fault = _fault(claims)
    if fault is None and typ == FOREIGN_TYP and claims.exp is msgspec.UNSET:
        fault = "exp: another issuer's token must expire"
    if fault:
        raise TokenRefused("claims", fault)
    _check_times(claims, now, leeway)
    return _identity(claims)


def _header(token: str) -> _Header:
    try:
        header = msgspec.json.decode(decoded(parts_of(token)[0]), type=_Header)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise malformed("its header cannot be read") from None
    if header.crit is not msgspec.UNSET:
        raise malformed("its header has crit, and nothing critical is known here")
    return header


def _opened(token: str, header: _Header, issuer: Issuer) -> bytes:
    if header.alg not in ALGORITHMS:
        raise TokenRefused("alg", "alg must be that of its key, and is none that is used here")
    if header.kid is msgspec.UNSET:
        raise TokenRefused("kid", "kid is missing: it does not say which key has signed it")
    key = issuer.keys.get(header.kid)
    if key is None:
        raise TokenRefused(
            "kid", "its key is not known here; it was dropped, or is another hub's: get a new token"
        )
    if header.alg != key.alg:
        raise TokenRefused("alg", f"alg must be that of its key, {key.alg}")
    try:
        return key.open(token)
    except jwt.InvalidSignatureError:
        raise TokenRefused("signature", "the key it names has not signed it") from None
    except jwt.PyJWTError:
        raise malformed("it cannot be read") from None


def _fault(claims: _Claims) -> str | None:
    """What of the claims' content cannot be."""
    fault = agent_fault(claims.sub)
    if fault:
        return f"sub: {fault}"
    fault = tag_fault(claims.ns)
    if fault:
        return f"ns: {fault}"
    for name, patterns, check in (
        ("send", claims.send, pattern_fault),
        ("receive", claims.receive, receive_fault),
        ("types", claims.types, _type_fault),
    ):
        for each in () if patterns is msgspec.UNSET else patterns:
            fault = check(each)
            if fault:
                return f"{name}: {fault}"
    return None


def _type_fault(name: str) -> str | None:
    return None if name in STORED_TYPES else f"must be of {', '.join(sorted(STORED_TYPES))}"


def _check_times(claims: _Claims, now: int, leeway: int) -> None:
    if claims.exp is not msgspec.UNSET and now >= _ms(claims.exp) + leeway:
        raise TokenRefused("expired", f"it expired at {_when(claims.exp)}; get a new one")
    begins = max(claims.iat, 0 if claims.nbf is msgspec.UNSET else claims.nbf)
    if _ms(begins) > now + leeway:
        raise TokenRefused(
            "not_yet",
            f"it is valid from {_when(begins)}, and it is {_when(now / 1000)} here: "
            "set the clocks, or wait",
        )


def _identity(claims: _Claims) -> Identity:
    return Identity(
        subject=claims.sub,
        namespace=claims.ns,
        role=claims.role,
        token_id=claims.jti,
        issued_at=_ms(claims.iat),
        expires_at=None if claims.exp is msgspec.UNSET else _ms(claims.exp),
        rights=Rights(_or_none(claims.send), _or_none(claims.receive), _or_none(claims.types)),
    )


def _or_unset(value: tuple[str, ...] | None) -> tuple[str, ...] | msgspec.UnsetType:
    return msgspec.UNSET if value is None else value


def _or_none(value: tuple[str, ...] | msgspec.UnsetType) -> tuple[str, ...] | None:
    return None if value is msgspec.UNSET else value


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "seconds").replace("+00:00", " UTC")
