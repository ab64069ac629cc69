"""Tokens: those that are taken, and why the others are refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.auth.making import (
    CLAIMS,
    NOW,
    authenticator,
    identity,
    jwk,
    key,
    private,
    ring,
)
from trishula_broker.auth.errors import TokenRefused
from trishula_broker.auth.identity import Identity, Role
from trishula_broker.auth.keys import Key, KeyRing
from trishula_broker.auth.tokens import OWN_TYP, create
from trishula_broker.auth.unproven import peek
from trishula_protocol.address import AGENT_PATTERN, agent_fault

KEY = key("HS256")
KEYS = ring(KEY.document())
FOREIGN: dict[str, Any] = {
    "trusted_issuer": "https://id.example",
    "trusted": ring(jwk("RS256"), foreign=True),
}


def token(claims: dict[str, Any] | bytes = CLAIMS, by: Key = KEY, typ: str = OWN_TYP) -> str:
    return by.sign(claims if isinstance(claims, bytes) else json.dumps(claims).encode(), typ)


def foreign(typ: str = "at+jwt", alg: str = "RS256", without: str = "", **claims: Any) -> str:
    body = {**CLAIMS, "iss": "https://id.example", **claims}
    body.pop(without, None)
    headers = {"typ": typ, "kid": "k1"}
    return jwt.encode(body, private(alg), algorithm=alg, headers=headers)


def forged(header: dict[str, Any], claims: dict[str, Any] = CLAIMS, secret: bytes = b"") -> str:
    """Signed, or not, by somebody who chooses the header."""
    parts = [_text(json.dumps(each).encode()) for each in (header, claims)]
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        ".".join(parts).encode(), secret
    )
    return ".".join([*parts, _text(signature) if secret else ""])


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def swapped(one: str, other: str) -> str:
    """The first with the second's claims."""
    header, _, signature = one.split(".")
    return ".".join([header, other.split(".")[1], signature])


def without_claim(name: str) -> str:
    return token({key: value for key, value in CLAIMS.items() if key != name})


def with_claim(name: str, value: object) -> str:
    return token({**CLAIMS, name: value})


def refusal(
    given: str, keys: KeyRing = KEYS, now: int = NOW, **options: Any
) -> tuple[str, TokenRefused]:
    with pytest.raises(TokenRefused) as error:
        authenticator(keys, now, **options).identify(given)
    assert given[:400] not in str(error.value) or len(given) < 10
    return error.value.reason, error.value


SECONDS = st.integers(0, 10**9)
PATTERNS = st.lists(st.sampled_from(["agni", "#ops", "@re*", "broadcast", "*"])).map(tuple)
JOINED = st.lists(st.sampled_from(["#ops", "@re*", "*"])).map(tuple)


@given(
    subject=st.from_regex(AGENT_PATTERN).filter(lambda name: agent_fault(name) is None),
    role=st.sampled_from(["agent", "operator", "observer"]),
    life=st.none() | st.integers(1, 10**12),
    send=st.none() | PATTERNS,
    receive=st.none() | JOINED,
    types=st.none() | st.lists(st.sampled_from(["COMMAND", "STATUS"])).map(tuple),
    alg=st.sampled_from([KEY, key("EdDSA")]),
)
def test_what_was_put_into_a_token_is_proven_by_it(
    subject: str,
    role: Role,
    life: int | None,
    send: tuple[str, ...] | None,
    receive: tuple[str, ...] | None,
    types: tuple[str, ...] | None,
    alg: Key,
) -> None:
    who = identity(
        subject,
        role=role,
        expires_at=None if life is None else NOW + life,
        send=send,
        receive=receive,
        types=types,
    )
    made = create(who, alg, "trishula", "trishula")
    assert authenticator(ring(alg.document())).identify(made) == who
    assert peek(made).sub == subject


def test_a_token_without_limits_has_none() -> None:
    found = authenticator(KEYS).identify(token())
    assert found == identity(issued_at=NOW - 60_000)


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
def test_another_issuers_tokens_are_taken_where_it_is_trusted(alg: str, typ: str) -> None:
    trusted = {**FOREIGN, "trusted": ring(jwk(alg), foreign=True)}
    made = foreign(typ, alg, aud=["other", "trishula"], client_id="x", scope="a b")
    assert authenticator(KEYS, **trusted).identify(made).subject == "dc"
    assert refusal(made)[0] == "typ"


_PUBLIC_PEM = (
    private("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
)
_ED_RAW = private("EdDSA").public_key().public_bytes_raw()
HEADER = {"alg": "HS256", "typ": OWN_TYP, "kid": KEY.kid}

REFUSED: dict[str, tuple[str, Callable[[], str]]] = {
    "nothing": ("malformed", lambda: ""),
    "no token": ("malformed", lambda: "letmein"),
    "two parts": ("malformed", lambda: "a.b"),
    "padding": ("malformed", lambda: token() + "="),
    "a line behind it": ("malformed", lambda: token() + "\n"),
    "not ASCII": ("malformed", lambda: token() + "é"),
    "too large": ("malformed", lambda: token({**CLAIMS, "more": "x" * 8192})),
    "too large, and no token": ("malformed", lambda: "a" * 10_000_000),
    "a header that is no object": ("malformed", lambda: forged([])),  # type: ignore[arg-type]
    "a header of other types": ("malformed", lambda: forged({**HEADER, "kid": 1})),
    "crit": ("malformed", lambda: forged({**HEADER, "crit": ["b64"], "b64": False})),
    "crit, empty": ("malformed", lambda: forged({**HEADER, "crit": []})),
    "alg none": ("alg", lambda: forged({**HEADER, "alg": "none"})),
    "alg None": ("alg", lambda: forged({**HEADER, "alg": "None"})),
    "alg none without kid": ("alg", lambda: forged({"alg": "none", "typ": OWN_TYP})),
    "an alg not used here": ("alg", lambda: forged({**HEADER, "alg": "HS512"}, secret=b"x")),
    "another key's alg": ("alg", lambda: forged({**HEADER, "alg": "EdDSA"})),
    "HS256 with the public key of RS256": (
        "alg",
        lambda: forged({**HEADER, "kid": "rsa"}, secret=_PUBLIC_PEM),
    ),
    "HS256 with the public key of EdDSA": (
        "alg",
        lambda: forged({**HEADER, "kid": "ed"}, secret=_ED_RAW),
    ),
    "no kid": ("kid", lambda: forged({"alg": "HS256", "typ": OWN_TYP}, secret=b"x")),
    "an unknown kid": ("kid", lambda: token(by=key())),
    "another key's signature": (
        "signature",
        lambda: forged(HEADER, secret=b"not the secret, of 32 bytes....."),
    ),
    "no signature": ("signature", lambda: token().rpartition(".")[0] + "."),
    "other claims": (
        "signature",
        lambda: swapped(token(), token({**CLAIMS, "sub": "agni"})),
    ),
    "no typ": ("typ", lambda: forged({"alg": "HS256", "kid": KEY.kid}, secret=b"x")),
    "typ JWT": ("typ", lambda: token(typ="JWT")),
    "typ of access tokens, own key": ("kid", lambda: token(typ="at+jwt")),
    "own typ, another issuer's key": ("alg", lambda: foreign(OWN_TYP)),
    "iss": ("iss", lambda: token({**CLAIMS, "iss": "https://id.example"})),
    "own iss from another issuer": ("iss", lambda: foreign(iss="trishula")),
    "aud": ("aud", lambda: token({**CLAIMS, "aud": "another"})),
    "several aud": ("aud", lambda: token({**CLAIMS, "aud": ["a", "b"]})),
    "no aud among them": ("aud", lambda: token({**CLAIMS, "aud": []})),
    "expired": ("expired", lambda: token({**CLAIMS, "exp": NOW / 1000 - 30})),
    "not yet": ("not_yet", lambda: token({**CLAIMS, "nbf": NOW / 1000 + 31})),
    "made in the future": ("not_yet", lambda: token({**CLAIMS, "iat": NOW / 1000 + 31})),
    "claims that are no JSON": ("claims", lambda: token(b"{")),
    "claims that are no UTF-8": ("claims", lambda: token(b'{"iss":"\xff"}')),
    "claims too deep": ("claims", lambda: token(b'{"x":' + b"[" * 5000)),
    "claims that are no object": ("claims", lambda: token(b"[]")),
    "another issuer's without exp": ("claims", lambda: foreign(without="exp")),
    **{
        f"no {name}": ("claims", partial(without_claim, name))
        for name in ("iss", "aud", "sub", "jti", "iat")
    },
    **{
        f"{name}: {value!r}": ("claims", partial(with_claim, name, value))
        for name, value in [
            ("iss", None),
            ("aud", 1),
            ("sub", None),
            ("sub", "Agni"),
            ("sub", "hub"),
            ("sub", "broadcast"),
            ("sub", "#ops"),
            ("sub", ""),
            ("sub", "../etc"),
            ("jti", ""),
            ("jti", "a b"),
            ("jti", "x" * 129),
            ("iat", "1"),
            ("iat", True),
            ("iat", -1),
            ("iat", 1e300),
            ("exp", None),
            ("exp", "never"),
            ("exp", 1e300),
            ("nbf", "soon"),
            ("ns", ""),
            ("ns", "A"),
            ("ns", None),
            ("role", "root"),
            ("role", None),
            ("send", None),
            ("send", "agni"),
            ("send", ["Agni"]),
            ("send", [""]),
            ("send", [1]),
            ("receive", None),
            ("receive", ["agni"]),
            ("types", None),
            ("types", ["ACK"]),
            ("types", ["command"]),
        ]
    },
}
"""What is wrong: the reason it is refused for, and the token."""


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_a_reason_and_without_the_token(case: str) -> None:
    reason, make = REFUSED[case]
    keys = ring(KEY.document(), jwk("RS256", "rsa"), jwk("EdDSA", "ed"), jwk("ES256", "k1"))
    given = make()
    found, error = refusal(given, keys, **FOREIGN)
    assert found == reason
    assert len(error.text) < 400
    for part in given.split("."):
        assert len(part) < 12 or part not in str(error)


def test_every_reason_is_in_the_table() -> None:
    reasons = {reason for reason, _ in REFUSED.values()}
    assert reasons | {"revoked"} == {
        *("malformed", "typ", "alg", "kid", "signature", "claims"),
        *("iss", "aud", "expired", "not_yet", "revoked"),
    }


@pytest.mark.parametrize(
    ("claims", "now", "leeway_ms", "reason"),
    [
        ({"exp": 100}, 100_000 + 29_999, 30_000, None),
        ({"exp": 100}, 100_000 + 30_000, 30_000, "expired"),
        ({"exp": 100}, 100_000, 0, "expired"),
        ({"exp": 100}, 99_999, 0, None),
        ({"nbf": 80}, 49_999, 30_000, "not_yet"),
        ({"nbf": 80}, 50_000, 30_000, None),
        ({"nbf": 80}, 79_999, 0, "not_yet"),
    ],
)
def test_clocks_may_be_apart_by_the_leeway_and_no_more(
    claims: dict[str, Any], now: int, leeway_ms: int, reason: str | None
) -> None:
    made = token({**CLAIMS, "iat": 0, "exp": 100, **claims})
    if reason is None:
        authenticator(KEYS, now, leeway_ms=leeway_ms).identify(made)
    else:
        assert refusal(made, KEYS, now, leeway_ms=leeway_ms)[0] == reason


def test_a_token_that_never_expires_is_one_without_exp() -> None:
    made = create(identity(expires_at=None), KEY, "trishula", "trishula")
    assert authenticator(KEYS, NOW * 2).identify(made).expires_at is None


def test_two_keys_are_valid_while_keys_rotate() -> None:
    old, new = key(), key("EdDSA")
    checker = authenticator(ring(old.document()))
    by_old, by_new = token(by=old), token(by=new)
    assert refusal(by_new, ring(old.document()))[0] == "kid"
    checker.use(ring(new.document(), old.document()))
    assert checker.identify(by_old) == checker.identify(by_new)
    checker.use(ring(new.document()))
    checker.identify(by_new)
    with pytest.raises(TokenRefused) as error:
        checker.identify(by_old)
    assert error.value.reason == "kid"


def test_a_revoked_token_is_refused() -> None:
    checker = authenticator(KEYS)
    made = token()
    checker.identify(made)
    checker.revocations.revoke_token("default", "t1", None)
    with pytest.raises(TokenRefused) as error:
        checker.identify(made)
    assert error.value.reason == "revoked"


@pytest.mark.parametrize(
    ("who", "says"),
    [
        (identity("No One"), "sub: must be"),
        (identity(namespace="A"), "ns: must be"),
        (identity(send=("agni", "a b")), "send: agent 'a b' must be"),
        (identity(receive=("agni",)), "receive: must be of #groups"),
        (identity(types=("PING",)), "types: must be of COMMAND, ERROR"),
        (identity(send=tuple(f"agent-{n}" for n in range(2000))), "the token would have"),
    ],
)
def test_what_no_hub_would_take_is_not_made(who: Identity, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        create(who, KEY, "trishula", "trishula")


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_garbage_is_refused(garbage: str) -> None:
    assert refusal(garbage)[0] == "malformed"
    with pytest.raises(TokenRefused):
        peek(garbage)


BASE = st.binary(max_size=60).map(_text)


@given(st.tuples(BASE, BASE, BASE).map(".".join))
def test_garbage_of_the_right_shape_is_refused(garbage: str) -> None:
    with pytest.raises(TokenRefused):
        authenticator(KEYS).identify(garbage)


@given(st.integers(0, 10_000), st.characters(codec="ascii"))
def test_a_token_with_one_other_character_is_refused(at: int, character: str) -> None:
    made = token()
    at %= len(made)
    if made[at] == character:
        return
    with pytest.raises(TokenRefused):
        authenticator(KEYS).identify(made[:at] + character + made[at + 1 :])


@given(
    st.dictionaries(
        st.sampled_from([*CLAIMS, "send", "nbf"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3),
        ),
    )
)
def test_whatever_is_claimed_is_an_identity_or_a_typed_refusal(claims: dict[str, Any]) -> None:
    try:
        found = authenticator(KEYS).identify(token({**CLAIMS, **claims}))
    except TokenRefused:
        return
    assert agent_fault(found.subject) is None


EVERY = ring(KEY.document(), jwk("RS256", "rsa"), jwk("EdDSA", "ed"), jwk("ES256", "es"))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    header=st.fixed_dictionaries(
        {},
        optional={
            "alg": st.sampled_from(["HS256", "EdDSA", "RS256", "ES256", "none"]) | ANYTHING,
            "kid": st.sampled_from([KEY.kid, "rsa", "ed", "es"]) | ANYTHING,
            "typ": st.sampled_from([OWN_TYP, "at+jwt"]) | ANYTHING,
            "crit": ANYTHING,
            "b64": st.booleans(),
            "jwk": st.just(jwk("EdDSA")) | ANYTHING,
            "jku": st.text(),
        },
    ),
    signature=st.binary(max_size=300) | st.sampled_from([bytes(64), bytes(32), bytes(256)]),
)
def test_no_header_makes_a_signature_good(header: dict[str, Any], signature: bytes) -> None:
    """Whatever it names, brings along or leaves out; and the refusal is typed."""
    made = ".".join([_text(json.dumps(header).encode()), _text(json.dumps(CLAIMS).encode())])
    with pytest.raises(TokenRefused):
        authenticator(EVERY, **FOREIGN).identify(f"{made}.{_text(signature)}")


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_header_that_is_no_json_is_malformed(before: bytes, behind: bytes) -> None:
    """Also one that a lenient reader would take, such as with bytes that are no UTF-8."""
    header = before + json.dumps(HEADER).encode() + behind
    if not (before.strip() or behind.strip()):
        return
    _, claims, signature = token().split(".")
    with pytest.raises(TokenRefused) as error:
        authenticator(EVERY).identify(f"{_text(header)}.{claims}.{signature}")
    assert error.value.reason == "malformed"
