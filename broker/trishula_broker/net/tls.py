"""The hub's own TLS: a certificate and its key, read again when the operator says so.

Knows files and OpenSSL, not connections.
"""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificate

from trishula_broker.net.ports import Log


class TlsError(Exception):
    """A certificate or key that cannot be used. ``key`` is the configuration's."""

    def __init__(self, key: str, path: Path, why: str) -> None:
        super().__init__(key, path, why)
        self.key = key
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"{self.key}: {self.path}: {self.why}"


class Tls:
    """What new connections speak.

    Args:
        cert: the certificate, with its chain behind it, in PEM.
        key: its private key, in PEM, without a password.

    Raises:
        TlsError: one of them cannot be used.
    """

    def __init__(self, cert: Path, key: Path, log: Log) -> None:
        self._cert = cert
        self._key = key
        self._log = log
        self.context = _context(cert, key)
        self.ends = _ends(cert)
        """When the certificate ends, in seconds since the epoch; None where that cannot be read."""

    def __repr__(self) -> str:
        return f"<Tls {self._cert}>"

    def reload(self) -> bool:
        """Read both again; whether that was done. What cannot be used changes nothing."""
        try:
            self.context = _context(self._cert, self._key)
            self.ends = _ends(self._cert)
        except TlsError as error:
            self._log.error("tls_not_reloaded", why=str(error))
            return False
        self._log.info("tls_reloaded", cert=str(self._cert))
        return True


def _ends(cert: Path) -> float | None:
    try:
        return load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    _check_key(key)
    if not cert.is_file():
        raise TlsError("tls.cert", cert, "there is no such file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _Encrypted:
        raise TlsError("tls.key", key, "it has a password; write it without one") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError("tls.key", key, f"it is not the key of {cert}") from None
        why = "no certificate and private key in PEM can be read from this and tls.key"
        raise TlsError("tls.cert", cert, why) from None
    except OSError as error:
        raise TlsError("tls.cert", cert, error.strerror or "cannot be read") from None
    return context


class _Encrypted(Exception):
    pass


def _no_password() -> str:
    raise _Encrypted  # or OpenSSL would ask at the terminal


def _check_key(key: Path) -> None:
    """That nobody else can read the key.

    A link is followed, unlike for other secrets: certbot's ``privkey.pem`` is one. What counts is
    the file behind it.
    """
    try:
        found = key.stat()
    except OSError as error:
        raise TlsError("tls.key", key, error.strerror or "cannot be read") from None
    if not stat.S_ISREG(found.st_mode):
        raise TlsError("tls.key", key, "it is not a file")
    # A key that root owns may be read by a group, as distributions do for their services.
    allowed = 0o640 if found.st_uid == 0 and os.geteuid() != 0 else 0o600
    if stat.S_IMODE(found.st_mode) & ~(allowed | 0o100):
        raise TlsError("tls.key", key, f"others can read it; type: chmod 600 {key}")
