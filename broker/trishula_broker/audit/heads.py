"""A node's own key, and the heads it signs: what its archive was at a moment."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from trishula_broker.audit.chain import Link
from trishula_broker.audit.segment import put
from trishula_broker.store.trail import Head

FILE: Final = "node.key"
"""In the data directory: the private key, PEM, for its owner only."""
_PURPOSE: Final = "trishula audit head 1"


class KeyProblem(Exception):
    """The node's key cannot be used; the text says what to do."""


class NodeKey:
    """Signs for one node; ``kid`` is the public key itself, base64url."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        raw = key.public_key().public_bytes_raw()
        self.kid: Final = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def __repr__(self) -> str:
        return f"<NodeKey {self.kid}>"

    @classmethod
    def load(cls, path: Path) -> NodeKey:
        """The key in ``path``.

        Raises:
            FileNotFoundError: there is none.
            KeyProblem: it cannot be used.
        """
        try:
            if path.stat().st_mode & 0o077:
                raise KeyProblem(f"others can read {path}; type: chmod 600 {path}")
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise KeyProblem(f"cannot read {path}: {error.strerror}") from None
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyProblem(
                f"{path} is no Ed25519 key; restore it, or move it away: the heads signed with it "
                "are then of an unknown key"
            )
        return cls(key)

    @classmethod
    def load_or_make(cls, path: Path) -> NodeKey:
        """The key in ``path``, made when there is none.

        Raises:
            KeyProblem: it cannot be used, or made.
        """
        try:
            return cls.load(path)
        except FileNotFoundError:
            pass
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            put(path, pem)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise KeyProblem(f"cannot write {path}: {why}") from None
        return cls(key)

    def head(self, node: str, namespace: str, chain: str, link: Link, at: int) -> Head:
        """What ``chain`` is now, signed."""
        signed = _signed(node, namespace, chain, link.number, link.hash, at, self.kid)
        signature = base64.urlsafe_b64encode(self._key.sign(signed)).rstrip(b"=").decode()
        return Head(chain, link.number, link.hash, at, self.kid, signature)


def is_signed(head: Head, node: str, namespace: str) -> bool:
    """Whether the holder of the key that ``head`` names has signed it, for that node and place."""
    try:
        key = Ed25519PublicKey.from_public_bytes(_unpadded(head.kid))
        signed = _signed(node, namespace, head.chain, head.number, head.hash, head.at, head.kid)
        key.verify(_unpadded(head.signature), signed)
    except (ValueError, InvalidSignature):
        return False
    return True


def _signed(
    node: str, namespace: str, chain: str, number: int, digest: str, at: int, kid: str
) -> bytes:
    return msgspec.json.encode((_PURPOSE, node, namespace, chain, number, digest, at, kid))


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
