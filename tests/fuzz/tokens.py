"""Whatever may be shown as a token: text from a request, and claims under a good signature.

The first byte of an input says which: the token itself, or what a key of the hub's has signed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import cache
from typing import Final

from tests.fuzz.target import Target, fitting
from trishula_broker.auth.authenticator import Authenticator
from trishula_broker.auth.errors import TokenRefused
from trishula_broker.auth.identity import Identity
from trishula_broker.auth.keys import KeyRing, make_key
from trishula_broker.auth.revocations import Revocations
from trishula_broker.auth.tokens import FOREIGN_TYP, OWN_TYP
from trishula_broker.hub.standing import Standing
from trishula_protocol.address import agent_fault, is_id
from trishula_protocol.limits import HEADER_LENGTH

MAX_BYTES = 2048
NOW: Final = 1_800_000_000_000
TEXT_LENGTH: Final = 2 * MAX_BYTES
"""What a refusal says quotes little of what was signed, and nothing else."""

CLAIMS: dict[str, object] = {
    "iss": "trishula",
    "aud": ["trishula", "other"],
    "sub": "dc",
    "jti": "t1",
    "iat": NOW // 1000,
    "exp": NOW // 1000 + 3600.5,
    "nbf": 0,
    "ns": "default",
    "role": "operator",
    "send": ["agni", "#ops", "@review", "broadcast", "build-*"],
    "receive": ["#*"],
    "types": ["COMMAND"],
}


@cache
def _ring() -> KeyRing:
    return KeyRing([make_key("HS256", 1, "a"), make_key("EdDSA", 1, "b")], "keys.json")


@cache
def _authenticator() -> Authenticator:
    return Authenticator(
        _ring(),
        Revocations(),
        lambda: NOW,
        trusted_issuer="elsewhere",
        trusted=KeyRing([make_key("EdDSA", 1, "c")], "trusted.json"),
    )


def seeds() -> Sequence[bytes]:
    """Good tokens, and some that are not."""
    claims = json.dumps(CLAIMS).encode()
    first, second = _ring()
    good = [key.sign(claims, OWN_TYP) for key in (first, second)]
    head, _, signature = good[0].split(".")
    others = ["", ".", "..", "....", f"{head}..{signature}", good[0] + "=", f"{head}.e30.", head]
    headers: list[dict[str, object]] = [
        {"alg": "none", "typ": OWN_TYP, "kid": first.kid},
        {"alg": "HS256", "typ": FOREIGN_TYP, "kid": first.kid},
        {"alg": "HS256", "typ": OWN_TYP, "kid": second.kid},
        {"alg": "EdDSA", "typ": "application/trishula+jwt", "kid": second.kid, "crit": ["x"]},
        {"alg": "EdDSA", "typ": OWN_TYP, "kid": second.kid, "b64": False, "jwk": {}, "zip": "DEF"},
    ]
    others += [f"{_part(json.dumps(each).encode())}.e30.AAAA" for each in headers]
    values: list[object] = [None, "", -1, 1e308, [], {}]
    odd = [{**CLAIMS, name: value} for name in CLAIMS for value in values]
    odd += [{name: CLAIMS[name] for name in CLAIMS if name != left_out} for left_out in CLAIMS]
    payloads = [claims, b"", b"null", b"[]", b'{"sub":"a","sub":"b"}', b"\xff", b"[" * 500]
    payloads += [json.dumps(each).encode() for each in odd]
    return fitting(
        [b"\0" + each.encode() for each in [*good, *others]] + [b"\1" + each for each in payloads],
        MAX_BYTES,
    )


def words() -> list[bytes]:
    """Names of claims and headers, values with a meaning."""
    names = [*CLAIMS, "alg", "typ", "kid", "crit", "b64", "none", "HS256", "EdDSA", "RS256"]
    names += [OWN_TYP, FOREIGN_TYP, "agent", "operator", "observer", "trishula", "elsewhere"]
    numbers = [b"253402300799", b"253402300800", b"-1", b"1e308", b"1e999", b"0.1"]
    return [*(json.dumps(name).encode() for name in names), *numbers, b".", b"..", b"=", b"e30"]


def run(data: bytes) -> None:
    """One token."""
    if not data:
        return
    signed = data[0] % 2 == 1
    # As the front reads a request: bytes that are no ASCII come as halves of characters.
    text = data[1:].decode("ascii", "surrogateescape")
    token = list(_ring())[1].sign(data[1:], OWN_TYP) if signed else text
    identity: Identity | None = None
    why = ""
    try:
        identity = _authenticator().identify(token)
    except TokenRefused as refused:
        why = f"{refused} {refused!r}"
    if identity is None:
        last = token.rpartition(".")[2]
        assert why
        assert len(why) <= TEXT_LENGTH
        assert len(last) < 16 or last not in why, "it echoes the token"
        return
    assert signed or data[1:] in {seed[1:] for seed in seeds()}, "a forged token was taken"
    _check(identity)


def _check(identity: Identity) -> None:
    """Whatever was signed, an identity is one that the rest of the hub can work with."""
    assert agent_fault(identity.subject) is None
    assert is_id(identity.token_id)
    assert identity.expires_at is None or identity.expires_at > 0
    assert identity.role in ("agent", "operator", "observer")
    standing = Standing(identity)
    assert len(standing.auth) <= HEADER_LENGTH
    for to in ("agni", "#ops", "@review", "broadcast"):
        standing.may_send(to)


def _part(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


TARGET = Target(run, seeds, words(), MAX_BYTES)
