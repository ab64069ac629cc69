"""Keys and tokens for tests, those too that this project never makes."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from trishula_broker.auth.authenticator import Authenticator
from trishula_broker.auth.identity import Identity, Rights, Role
from trishula_broker.auth.keys import Key, KeyRing, make_key
from trishula_broker.auth.revocations import Revocations

NOW = 1_800_000_000_000
"""Wall-clock milliseconds."""
CLAIMS: dict[str, Any] = {
    "iss": "trishula",
    "aud": "trishula",
    "sub": "dc",
    "jti": "t1",
    "iat": NOW // 1000 - 60,
    "exp": NOW // 1000 + 60,
    "ns": "default",
    "role": "agent",
}
"""Of a good token."""


def key(alg: str = "HS256") -> Key:
    return make_key(alg, NOW, "2027-01-15")


def ring(*members: dict[str, Any], foreign: bool = False) -> KeyRing:
    return KeyRing.parse(json.dumps({"keys": members}).encode(), "keys.json", foreign=foreign)


@cache
def private(alg: str, bits: int = 2048) -> Any:
    """A private key; making one of RSA takes a while, so tests share it."""
    if alg == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=bits)
    if alg == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def jwk(alg: str, kid: str = "k1", bits: int = 2048, **members: Any) -> dict[str, Any]:
    """The public half of :func:`private`."""
    public = (private(alg) if bits == 2048 else private(alg, bits)).public_key()
    found: dict[str, Any]
    match alg:
        case "RS256":
            found = jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True)
        case "ES256":
            found = jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True)
        case _:
            found = jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True)
    found.pop("key_ops", None)
    return {**found, "kid": kid, "alg": alg, **members}


def authenticator(keys: KeyRing, now: int = NOW, **options: Any) -> Authenticator:
    return Authenticator(keys, Revocations(), lambda: now, **options)


def identity(
    subject: str = "dc",
    namespace: str = "default",
    role: Role = "agent",
    token_id: str = "t1",
    issued_at: int = NOW,
    expires_at: int | None = NOW + 60_000,
    **rights: tuple[str, ...] | None,
) -> Identity:
    return Identity(subject, namespace, role, token_id, issued_at, expires_at, Rights(**rights))
