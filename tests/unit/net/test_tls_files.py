"""A certificate and a key that cannot be used: which file, why, and what to do."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from tests.support.certificates import Authority, Signed
from trishula_broker.net.ports import Log
from trishula_broker.net.tls import Tls, TlsError


class Silent:
    def info(self, event: str, **fields: Any) -> None: ...

    warning = error = info


LOG: Log = Silent()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def signed(authority: Authority) -> Signed:
    return authority.sign()


def fault(signed: Signed) -> str:
    with pytest.raises(TlsError) as found:
        Tls(signed.cert, signed.key, LOG)
    return str(found.value)


def test_a_pair_is_taken_also_through_links(signed: Signed, tmp_path: Path) -> None:
    link = tmp_path / "privkey.pem"
    link.symlink_to(signed.key)
    assert Tls(signed.cert, link, LOG).context.minimum_version.name == "TLSv1_2"


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o660, 0o666])
def test_a_key_that_others_can_read_is_refused_with_what_to_type(signed: Signed, mode: int) -> None:
    signed.key.chmod(mode)
    assert fault(signed) == (
        f"tls.key: {signed.key}: others can read it; type: chmod 600 {signed.key}"
    )


def test_missing_files_are_named(signed: Signed, tmp_path: Path) -> None:
    gone = tmp_path / "gone.pem"
    assert fault(Signed(gone, signed.key)) == f"tls.cert: {gone}: there is no such file"
    assert fault(Signed(signed.cert, gone)) == f"tls.key: {gone}: No such file or directory"
    assert "is not a file" in fault(Signed(signed.cert, tmp_path))


def test_a_key_of_another_certificate_is_refused(authority: Authority, signed: Signed) -> None:
    other = authority.sign("other")
    assert "is not the key of" in fault(Signed(signed.cert, other.key))


def test_what_is_not_pem_is_refused(signed: Signed) -> None:
    signed.cert.write_text("nothing")
    assert "in PEM" in fault(signed)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(signed: Signed) -> None:
    key = serialization.load_pem_private_key(signed.key.read_bytes(), None)
    signed.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert "without one" in fault(signed)
