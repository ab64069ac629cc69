"""Key files: what is taken, and what is refused with the file, the key and the rule."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.auth.making import jwk, key, private, ring
from trishula_broker.auth.errors import KeysError
from trishula_broker.auth.keys import KeyRing
from trishula_broker.auth.tokens import OWN_TYP

SECRET = {**key("HS256").document(), "kid": "mine"}
SIGNER = {**key("EdDSA").document(), "kid": "mine"}


def without(members: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in members.items() if name not in names}


@pytest.mark.parametrize("alg", ["HS256", "EdDSA"])
def test_a_new_key_signs_and_checks(alg: str) -> None:
    made = key(alg)
    assert made.kid.startswith("2027-01-15-")
    assert (made.alg, made.signs) == (alg, True)
    found = ring(made.document())
    assert found.signing is not None
    token = found.signing.sign(b"{}", OWN_TYP)
    assert found.signing.open(token) == b"{}"


def test_the_first_key_that_can_sign_signs() -> None:
    found = ring(jwk("ES256", "public"), SECRET, {**SIGNER, "kid": "k2"})
    assert found.signing is found.get(SECRET["kid"])
    assert [each.signs for each in found] == [False, True, True]
    assert ring(jwk("EdDSA")).signing is None


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("leave_out", ["alg", "use"])
def test_public_keys_check_and_have_one_algorithm_each(alg: str, leave_out: str) -> None:
    """RFC 7517 lets ``alg`` and ``use`` be left out."""
    (found,) = ring(without(jwk(alg, use="sig"), leave_out), foreign=True)
    assert (found.alg, found.signs) == (alg, False)


def test_the_public_half_has_no_secret() -> None:
    public = key("EdDSA").public()
    assert public is not None
    assert "d" not in public
    assert not ring(public).get(public["kid"]).signs  # type: ignore[union-attr]
    assert key("HS256").public() is None


def test_no_secret_is_in_a_repr() -> None:
    for members in (SECRET, SIGNER):
        found = ring(members)
        for text in (repr(found), repr(found.signing)):
            assert members.get("k", "-none-") not in text
            assert members.get("d", "-none-") not in text


@pytest.mark.parametrize(
    ("members", "where", "rule"),
    [
        ({**SECRET, "k": "c2hvcnQ"}, "mine", "k has 5 bytes; a secret of HS256 has 32"),
        (without(SECRET, "k"), "mine", "k is missing; a key of HS256 has it"),
        (without(SECRET, "kid"), "number 1", "missing required field `kid`"),
        ({**SECRET, "kid": ""}, "number 1", "kid must be 1-256 printable"),
        ({**SECRET, "kid": "a\nb"}, "number 1", "kid must be 1-256 printable"),
        ({**SECRET, "k": "a b"}, "mine", "matching regex"),
        ({**SECRET, "k": 1}, "mine", "Expected `str | null`, got `int`"),
        ({**SECRET, "alg": "HS512"}, "mine", "alg 'HS512' is not used here"),
        ({**SECRET, "alg": "none"}, "mine", "alg 'none' is not used here"),
        ({**SECRET, "alg": "RS256"}, "mine", "kty 'oct' is not for alg 'RS256'"),
        ({**jwk("RS256"), "alg": "HS256"}, "k1", "kty 'RSA' is not for alg 'HS256'"),
        ({**jwk("EdDSA"), "alg": "HS256"}, "k1", "kty 'OKP' is not for alg 'HS256'"),
        ({**SECRET, "use": "enc"}, "mine", 'use must be "sig"'),
        ({**SECRET, "kty": "PQC", "alg": None}, "mine", "kty 'PQC' with crv None is not"),
        ({**jwk("ES256"), "crv": "P-384"}, "k1", "with crv 'P-384' is not used here"),
        ({**jwk("EdDSA"), "crv": "Ed448"}, "k1", "with crv 'Ed448' is not used here"),
        ({**jwk("EdDSA"), "x": "AAAA"}, "k1", "its members are not a key of EdDSA"),
        ({**SIGNER, "d": jwk("EdDSA")["x"]}, "mine", "are not a key of EdDSA"),
        (without(jwk("RS256"), "e"), "k1", "e is missing; a key of RS256 has it"),
        (jwk("RS256", bits=1024), "k1", "n has 1024 bits; a key of RS256 has 2048 at least"),
        ({**jwk("RS256"), "d": "AAAA"}, "k1", "a private key of RS256 signs nothing here"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused(
    members: dict[str, Any], where: str, rule: str
) -> None:
    with pytest.raises(KeysError) as error:
        ring(members)
    assert str(error.value).startswith(f"keys.json: key {where}: ")
    assert rule in str(error.value)
    for name in ("k", "d"):
        secret = str(members.get(name, ""))
        assert len(secret) < 20 or secret not in str(error.value)


@pytest.mark.parametrize("members", [SECRET, SIGNER, {**jwk("RS256"), "d": "AAAA"}])
def test_of_another_issuer_no_private_key_is_taken(members: dict[str, Any]) -> None:
    with pytest.raises(KeysError, match="another issuer's file has public keys only"):
        ring(members, foreign=True)


def test_keys_for_encryption_of_another_issuer_are_left_out() -> None:
    found = ring({"kty": "RSA", "alg": "RSA-OAEP", "use": "enc"}, jwk("RS256"), foreign=True)
    assert [each.kid for each in found] == ["k1"]


def test_two_keys_of_one_kid_are_refused() -> None:
    with pytest.raises(KeysError, match="key k1: there is another key of that kid"):
        ring(jwk("ES256"), jwk("EdDSA"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b"\xff", "it is not JSON"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `keys`"),
        (b'{"keys":{}}', "Expected `array`, got `object`"),
        (b'{"keys":[1]}', "Expected `object`, got `int`"),
        (b'{"keys":[]}', "it has no key; `broker keys init` makes"),
        (b'{"keys":[{"x":' + b"[" * 100_000, "it is not JSON"),
    ],
)
def test_a_file_that_is_no_jwks_document_is_refused(text: bytes, says: str) -> None:
    with pytest.raises(KeysError) as error:
        KeyRing.parse(text, "keys.json")
    assert str(error.value).startswith("keys.json: ")
    assert says in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
MEMBERS = st.fixed_dictionaries(
    {"kty": st.sampled_from(["oct", "RSA", "EC", "OKP"]), "kid": st.text(min_size=1)},
    optional={
        **{name: st.from_regex(r"[A-Za-z0-9_-]{1,90}", fullmatch=True) | JSON for name in "kxyned"},
        "alg": st.sampled_from(["HS256", "EdDSA", "RS256", "ES256", "none"]) | JSON,
        "crv": st.sampled_from(["P-256", "Ed25519"]) | JSON,
        "use": st.just("sig") | JSON,
        "made": JSON,
    },
)


@given(st.lists(MEMBERS | st.dictionaries(st.text(), JSON), max_size=3), st.booleans())
def test_whatever_a_file_holds_it_is_keys_or_one_typed_error(
    listed: list[dict[str, Any]], foreign: bool
) -> None:
    try:
        found = KeyRing.parse(json.dumps({"keys": listed}).encode(), "f", foreign=foreign)
    except KeysError:
        return
    assert not foreign or not any(each.signs for each in found)


def test_a_private_key_never_checks_with_another_algorithm() -> None:
    """Whoever knows a public key knows no secret by it."""
    assert private("EdDSA") is private("EdDSA")
    with pytest.raises(KeysError):
        ring({"kty": "oct", "k": jwk("EdDSA")["x"], "kid": "k", "alg": "EdDSA"})
