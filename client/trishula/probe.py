"""Whether a hub takes mail, asked over HTTP beside its WebSocket endpoint.

Cheaper for a hub than an upgrade, and it says more: one that drains, or has lost its store, still
upgrades. A proxy has to pass ``/health/ready`` on (docs/deploy-nginx.md).
"""

from __future__ import annotations

import asyncio
import ssl as tls
from typing import Final

from websockets.uri import parse_uri

READY_PATH: Final = "/health/ready"
"""200 when the hub takes mail; it stands where ``/ws`` does."""
PROBE_SECONDS: Final = 2.0
"""Longest wait for the answer: as long as a heartbeat."""


async def why_not_ready(url: str, ssl: tls.SSLContext | None) -> str | None:
    """None when the hub of the WebSocket ``url`` is ready for agents, else what it lacks.

    Names are resolved now. No token is sent.
    """
    uri = parse_uri(url)
    path = uri.path.rpartition("/")[0] + READY_PATH
    host = f"[{uri.host}]" if ":" in uri.host else uri.host
    secure = (ssl or tls.create_default_context()) if uri.secure else None
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(
                uri.host, uri.port, ssl=secure, server_hostname=uri.host if secure else None
            )
            request = f"GET {path} HTTP/1.1\r\nHost: {host}:{uri.port}\r\nConnection: close\r\n\r\n"
            writer.write(request.encode())
            answer = await reader.readline()
    except TimeoutError:
        return f"no answer within {PROBE_SECONDS:g} s"
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__
    finally:
        if writer is not None:
            writer.transport.abort()
    words = answer.decode("latin-1").split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith("HTTP/"):
        return "what answers is no HTTP"
    return None if words[1] == "200" else f"GET {path} says {' '.join(words[1:]).strip()}"
