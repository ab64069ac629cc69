"""Tokens that nobody should take: each has one thing wrong."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any, Final

import jwt

from trishula_broker.auth import key_file
from trishula_broker.auth.keys import Key, KeyRing, make_key
from trishula_broker.auth.tokens import FOREIGN_TYP, OWN_TYP

HOUR_S: Final = 3600


class Forger:
    """Somebody who has the public half of the key at ``path``; the tests have the private one."""

    def __init__(self, path: Path) -> None:
        key = key_file.load(path).signing
        assert key is not None
        assert key.alg == "EdDSA", "an HMAC key has no public half"
        self._key = key

    def _signed(self, typ: str = OWN_TYP, key: Key | None = None, **claims: Any) -> str:
        payload = json.dumps(self._claims(**claims)).encode()
        return (key or self._key).sign(payload, typ)

    def _claims(self, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        good = {"iss": "trishula", "aud": "trishula", "sub": "eve", "jti": "forged"}
        return {**good, "iat": now, "exp": now + HOUR_S, "role": "operator", **changed}

    def good(self) -> str:
        """Nothing is wrong with it: so what is refused of the others is what is wrong."""
        return self._signed()

    def without_signature(self) -> str:
        """``alg`` is ``none``."""
        return self._unsigned({"alg": "none", "typ": OWN_TYP, "kid": self._key.kid}) + "."

    def hmac_with_the_public_key(self) -> str:
        """``alg`` is HS256, and the secret is the public key, which everybody may know."""
        public = self._key.public()
        assert public is not None
        secret = base64.urlsafe_b64decode(public["x"] + "=")
        headers = {"typ": OWN_TYP, "kid": self._key.kid}
        return jwt.encode(self._claims(), secret, "HS256", headers)

    def with_other_claims(self) -> str:
        """A good signature under other claims."""
        head, _, signature = self._signed().split(".")
        return f"{head}.{_part(self._claims(sub='agni'))}.{signature}"

    def unknown_kid(self) -> str:
        """Another hub's key."""
        return self._signed(key=make_key("EdDSA", 1, "elsewhere"))

    def same_kid(self) -> str:
        """Another key under this one's name."""
        document = {**make_key("EdDSA", 1, "elsewhere").document(), "kid": self._key.kid}
        ring = KeyRing.parse(json.dumps({"keys": [document]}).encode(), "forged")
        return self._signed(key=ring.signing)

    def wrong_typ(self) -> str:
        """Made for something else."""
        return self._signed("JWT")

    def foreign_typ(self) -> str:
        """Another issuer's kind, where no other issuer is trusted."""
        return self._signed(FOREIGN_TYP)

    def wrong_issuer(self) -> str:
        """Somebody else's."""
        return self._signed(iss="elsewhere")

    def wrong_audience(self) -> str:
        """For somebody else."""
        return self._signed(aud=["elsewhere"])

    def expired(self) -> str:
        """Longer ago than clocks may be apart."""
        now = int(time.time())
        return self._signed(iat=now - 2 * HOUR_S, exp=now - HOUR_S)

    def not_yet(self) -> str:
        """Further ahead than clocks may be apart."""
        return self._signed(nbf=int(time.time()) + HOUR_S)

    def no_subject(self) -> str:
        """A claim is missing."""
        claims = self._claims()
        del claims["sub"]
        return self._key.sign(json.dumps(claims).encode(), OWN_TYP)

    def _unsigned(self, header: dict[str, Any]) -> str:
        return f"{_part(header)}.{_part(self._claims())}"


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
