"""Keys that sign and check tokens: a JWKS document (RFC 7517), read strictly.

A key has one algorithm and is used with no other (RFC 8725 §3.1). Text in, keys out: where the text
is kept is :mod:`~trishula_broker.auth.key_file`'s. No secret is in a repr or an error.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, Literal, NamedTuple

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from trishula_broker.auth.errors import KeysError

AlgorithmName = Literal["HS256", "EdDSA", "RS256", "ES256"]
SIGNING: Final = ("HS256", "EdDSA")
"""Algorithms this project makes keys of; the others are checked."""
HMAC_BYTES: Final = 32
"""Bytes of a secret at least: as many as the hash has (RFC 7518 §3.2)."""
RSA_BITS: Final = 2048
"""Bits of an RSA key at least (RFC 7518 §3.3)."""

_KINDS: Final[dict[tuple[str, str | None], AlgorithmName]] = {
    ("oct", None): "HS256",
    ("OKP", "Ed25519"): "EdDSA",
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
}
"""The one algorithm of each kind of key, by ``kty`` and ``crv``."""
ALGORITHMS: Final = tuple(_KINDS.values())
_PUBLIC: Final = ("kty", "crv", "x", "y", "n", "e", "kid", "alg", "use", "made")
_KID: Final = re.compile(r"[!-~](?:[ -~]{0,254}[!-~])?\Z")

Base64 = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]+\Z")]


class _Jwk(msgspec.Struct):
    """The members that are looked at."""

    kty: str
    kid: str
    alg: str | None = None
    use: str | None = None
    crv: str | None = None
    k: Base64 | None = None
    x: Base64 | None = None
    y: Base64 | None = None
    n: Base64 | None = None
    e: Base64 | None = None
    d: Base64 | None = None
    made: Any = None


class Key:
    """One key.

    Attributes:
        kid: what tokens call it by.
        alg: the algorithm it is used with.
        signs: whether it can sign: it is a secret, or has its private half.
        made: when, in wall-clock milliseconds, if it says so.
    """

    def __init__(self, members: dict[str, Any], jwk: _Jwk, alg: AlgorithmName, key: Any) -> None:
        self.kid = jwk.kid
        self.alg = alg
        self.made: int | None = jwk.made if isinstance(jwk.made, int) else None
        self.signs = alg == "HS256" or jwk.d is not None
        self._members = members
        self._key = key
        self._checks = key.public_key() if jwk.d is not None else key

    def __repr__(self) -> str:
        return f"<Key {self.kid} {self.alg}{' signs' if self.signs else ''}>"

    def sign(self, payload: bytes, typ: str) -> str:
        """The token of these claims."""
        return _JWS.encode(payload, self._key, self.alg, {"typ": typ, "kid": self.kid})

    def open(self, token: str) -> bytes:
        """The claims of a token that this key has signed.

        Raises:
            jwt.PyJWTError: it has not, or with another algorithm.
        """
        found: bytes = _JWS.decode_complete(token, self._checks, algorithms=[self.alg])["payload"]
        return found

    def public(self) -> dict[str, Any] | None:
        """The public half as a JWK; a secret has none."""
        if self.alg == "HS256":
            return None
        return {name: self._members[name] for name in _PUBLIC if name in self._members}

    def document(self) -> dict[str, Any]:
        """All of it as a JWK, secrets too: for its file and nothing else."""
        return self._members


class KeyRing:
    """The keys of one document; the first that can sign signs, all check."""

    def __init__(self, keys: Iterable[Key], path: str) -> None:
        self.path = path
        self._keys = {key.kid: key for key in keys}
        self.signing = next((key for key in self if key.signs), None)

    def __repr__(self) -> str:
        return f"<KeyRing {self.path} {' '.join(self._keys)}>"

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys.values())

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, kid: str) -> Key | None:
        """The key of that name."""
        return self._keys.get(kid)

    @classmethod
    def parse(cls, text: bytes, path: str, *, foreign: bool = False) -> KeyRing:
        """Read a JWKS document.

        Args:
            text: the document.
            path: its file's name, for errors.
            foreign: it is another issuer's, which must keep its private keys to itself. Keys for
                encryption, which such a document may have too, are left out.

        Raises:
            KeysError: names the file, the key and the rule.
        """
        try:
            listed = msgspec.json.decode(text, type=_Document).keys
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            what = str(error) if isinstance(error, msgspec.ValidationError) else "it is not JSON"
            raise KeysError(
                path, f'must be a JWKS document, {{"keys": […]}}: {what.rstrip(".")}'
            ) from None
        keys: dict[str, Key] = {}
        for number, members in enumerate(listed, 1):
            key = _read(members, f"number {number}", path, foreign)
            if key is None:
                continue
            if key.kid in keys:
                raise KeysError(path, "there is another key of that kid; each has its own", key.kid)
            keys[key.kid] = key
        if not keys:
            raise KeysError(path, "it has no key; `broker keys init` makes a file with one")
        return cls(keys.values(), path)


class _Document(msgspec.Struct):
    keys: list[dict[str, Any]]


def make_key(alg: str, made: int, day: str) -> Key:
    """A new key of ``HS256`` or ``EdDSA``. ``day`` is where its kid begins, for people."""
    kid = f"{day}-{secrets.token_hex(4)}"
    members: dict[str, Any]
    if alg == "EdDSA":
        private = Ed25519PrivateKey.generate()
        members = {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": _text(private.public_key().public_bytes_raw()),
            "d": _text(private.private_bytes_raw()),
        }
    else:
        members = {"kty": "oct", "k": _text(secrets.token_bytes(HMAC_BYTES))}
    members |= {"kid": kid, "alg": alg, "use": "sig", "made": made}
    key = _read(members, kid, "a new key", foreign=False)
    assert key is not None
    return key


class _Kind(NamedTuple):
    alg: AlgorithmName
    needs: tuple[str, ...]


def _read(members: dict[str, Any], where: str, path: str, foreign: bool) -> Key | None:
    if isinstance(members.get("kid"), str) and _KID.match(members["kid"]):
        where = members["kid"]
    if members.get("use", "sig") != "sig":
        if foreign:
            return None
        raise KeysError(path, 'use must be "sig": it is a key for something else', where)
    try:
        jwk = msgspec.convert(members, _Jwk)
    except msgspec.ValidationError as error:
        raise KeysError(path, str(error), where) from None
    if not _KID.match(jwk.kid):
        raise KeysError(path, "kid must be 1-256 printable ASCII characters", where)
    kind = _kind(jwk)
    rule = kind if isinstance(kind, str) else _fault(jwk, kind, foreign)
    if rule is not None:
        raise KeysError(path, rule, where)
    assert isinstance(kind, _Kind)
    try:
        key = jwt.PyJWK(members, kind.alg).key
    except (jwt.PyJWTError, ValueError, TypeError):  # whose text may have the key in it
        raise KeysError(path, f"its members are not a key of {kind.alg}", where) from None
    if kind.alg == "HS256" and len(key) < HMAC_BYTES:
        raise KeysError(
            path, f"k has {len(key)} bytes; a secret of HS256 has {HMAC_BYTES} at least", where
        )
    if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS:
        raise KeysError(
            path, f"n has {key.key_size} bits; a key of RS256 has {RSA_BITS} at least", where
        )
    return Key(members, jwk, kind.alg, key)


def _kind(jwk: _Jwk) -> _Kind | str:
    """What it is, or why it is nothing that is used here."""
    alg = _KINDS.get((jwk.kty, jwk.crv if jwk.kty in ("OKP", "EC") else None))
    known = ", ".join(ALGORITHMS)
    if jwk.alg is not None and jwk.alg not in ALGORITHMS:
        return f"alg {jwk.alg!r} is not used here; {known} are"
    if alg is None:
        return f"kty {jwk.kty!r} with crv {jwk.crv!r} is not used here; {known} are"
    if jwk.alg is not None and jwk.alg != alg:
        return f"kty {jwk.kty!r} is not for alg {jwk.alg!r}; it is for {alg}"
    needs = {"HS256": ("k",), "EdDSA": ("x",), "RS256": ("n", "e"), "ES256": ("x", "y")}
    return _Kind(alg, needs[alg])


def _fault(jwk: _Jwk, kind: _Kind, foreign: bool) -> str | None:
    for name in kind.needs:
        if getattr(jwk, name) is None:
            return f"{name} is missing; a key of {kind.alg} has it"
    secret = kind.alg == "HS256" or jwk.d is not None
    if foreign and secret:
        return (
            "another issuer's file has public keys only: whoever has this key can make its tokens. "
            "Take the public half"
        )
    if jwk.d is not None and kind.alg not in SIGNING:
        return (
            f"a private key of {kind.alg} signs nothing here: keep its public half, and sign with "
            f"{' or '.join(SIGNING)}"
        )
    return None


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_JWS: Final = jwt.PyJWS(algorithms=ALGORITHMS, options={"enforce_minimum_key_length": True})
