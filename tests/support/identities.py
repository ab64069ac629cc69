"""Identities, as a hub's handshake would hand them to its core."""

from __future__ import annotations

from trishula_broker.auth.identity import Identity, Rights, Role


def identity(
    subject: str,
    *,
    role: Role = "agent",
    token: str = "",
    namespace: str = "default",
    issued_at: int = 1,
    expires_at: int | None = None,
    send: tuple[str, ...] | None = None,
    receive: tuple[str, ...] | None = None,
    types: tuple[str, ...] | None = None,
) -> Identity:
    """Who a token proved somebody to be; its id is made of the subject when it has none."""
    rights = Rights(send, receive, types)
    return Identity(
        subject, namespace, role, token or f"t-{subject}", issued_at, expires_at, rights
    )
