"""What an agent is made with: defaults from the environment, and checks that name the argument."""

from __future__ import annotations

import os
import ssl as tls
from collections.abc import Sequence
from typing import Final

from trishula.verdict import Token
from trishula_protocol import limits
from trishula_protocol.address import agent_fault, tag_fault

DEFAULT_URL: Final = f"ws://127.0.0.1:{limits.DEFAULT_PORT}{limits.WEBSOCKET_PATH}"


def agent_name(name: str | None) -> str:
    """The agent's id: ``name``, or ``TRISHULA_AGENT``."""
    name = name or os.environ.get("TRISHULA_AGENT")
    if not name:
        raise ValueError("name: give one, or set TRISHULA_AGENT")
    fault = agent_fault(name)
    if fault:
        raise ValueError(f"name: {name!r} {fault}")
    return name


def hub_urls(urls: str | Sequence[str] | None) -> list[str]:
    """The hubs: ``urls``, or ``TRISHULA_URL``, or the one on this host.

    One without a path, or with ``/`` alone, means the hub's own: ``/ws``.
    """
    if urls is None:
        urls = os.environ.get("TRISHULA_URL") or DEFAULT_URL
    if isinstance(urls, str):
        urls = urls.split(",")
    found = [url.strip() for url in urls if url.strip()]
    if not found:
        raise ValueError("urls: give one at least")
    return [_with_path(url) for url in found]


def _with_path(url: str) -> str:
    address, question, query = url.partition("?")
    scheme, _, rest = address.partition("://")
    host, _, path = rest.partition("/")
    if not host or path or scheme.lower() not in ("ws", "wss"):
        return url
    return f"{scheme}://{host}{limits.WEBSOCKET_PATH}{question}{query}"


def failback_seconds(seconds: float | None) -> float | None:
    """How long an earlier hub has to be ready to be used again; None is for ever."""
    if seconds is not None and not 0 <= seconds < float("inf"):
        raise ValueError(f"failback_after: seconds, 0 or more, or None for never; not {seconds!r}")
    return seconds


def bearer(token: Token) -> Token:
    """The token: ``token``, or ``TRISHULA_TOKEN``, or none. Never echoed."""
    if token is None:
        token = os.environ.get("TRISHULA_TOKEN") or None
    if isinstance(token, str) and not (token.isascii() and token.isprintable()):
        raise ValueError("token: must be printable ASCII")
    return token


def trust(
    ssl: tls.SSLContext | None, ca_file: str | os.PathLike[str] | None
) -> tls.SSLContext | None:
    """What ``wss://`` trusts: ``ssl``, or ``ca_file``, or ``TRISHULA_CA_FILE``; None: the system's
    certificates."""
    if ssl is not None:
        return ssl
    field = "ca_file"
    if ca_file is None and (named := os.environ.get("TRISHULA_CA_FILE")):
        ca_file, field = named, "TRISHULA_CA_FILE"
    if ca_file is None:
        return None
    path = os.fspath(ca_file)
    try:
        return tls.create_default_context(cafile=path)
    except tls.SSLError:
        raise ValueError(f"{field}: {path!r} has no certificate in PEM") from None
    except OSError as error:
        raise ValueError(f"{field}: {path!r}: {error.strerror}") from None


def tag_list(field: str, tags: Sequence[str] | None) -> list[str] | None:
    """Names of groups or capabilities; None stays None."""
    if tags is None:
        return None
    if isinstance(tags, str):
        raise ValueError(f"{field}: a list of names, not a string")
    for tag in tags:
        fault = tag_fault(tag)
        if fault:
            raise ValueError(f"{field}: {tag!r} {fault}")
    return list(tags)
