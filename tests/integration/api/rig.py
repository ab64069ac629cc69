"""A hub with keys in a process of its own, and HTTP clients with tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from trishula import Agent

TIMEOUT_S = 60.0
"""Generous: a test fails by it instead of hanging."""
T = TypeVar("T")


class Rig:
    """A hub whose API is asked.

    Args:
        data: its data directory.
        options: more of its command line.
        keyed: whether it has keys.
        environ: variables for it.
    """

    def __init__(
        self,
        data: Path,
        *options: str,
        keyed: bool = True,
        environ: dict[str, str] | None = None,
    ) -> None:
        self.keys = Keys(data) if keyed else None
        self.hub = HubProcess(data, *options, environ=environ)

    def token(self, agent: str, **options: Any) -> str:
        """A token for an agent; ``role`` and rights as in :class:`tests.support.keys.Keys`."""
        assert self.keys is not None
        return self.keys.token(agent, **options)

    def http(self, token: str | None = None, **headers: str) -> httpx.AsyncClient:
        """A client below ``/api/v1``."""
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return httpx.AsyncClient(
            base_url=f"{self.hub.http_url}/api/v1",
            headers=headers,
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    def client(self, agent: str, **options: Any) -> httpx.AsyncClient:
        """A client with a new token for ``agent``."""
        return self.http(self.token(agent, **options))

    def agent(self, name: str, **options: Any) -> Agent:
        """An agent over WebSocket."""
        return Agent(name, self.hub.url, token=self.token(name), **options)


def good(answer: httpx.Response, kind: type[T], status: int = 200) -> T:
    """The answer's body, which must be wholly of its type."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    return msgspec.json.decode(answer.content, type=kind)


def plain(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    """The answer's body as it is."""
    return good(answer, dict[str, Any], status)


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that the answer must be."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert (found["status"], found["code"]) == (status, code), found
    assert found["type"] == f"urn:trishula:problem:{code}"
    return found
