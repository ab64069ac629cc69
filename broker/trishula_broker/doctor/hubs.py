"""The hubs: whether each is reached and ready, which one leads, what time it is there."""

from __future__ import annotations

import asyncio
import http.client
import os
import ssl
import time
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from websockets.exceptions import InvalidStatus, WebSocketException

from trishula_broker.conformance.lab import Lab, Site
from trishula_broker.conformance.peer import Peer
from trishula_broker.conformance.rule import Broken
from trishula_broker.doctor.clock import offset
from trishula_broker.doctor.credentials import expiry
from trishula_broker.doctor.finding import Finding, Level

SECONDS: Final = 5.0
"""How long a hub may take for each answer."""
ASKED: Final = 3
"""Times that a hub is asked what time it is; the quickest answer counts."""
READY: Final = "/health/ready"


class Asking(NamedTuple):
    """How hubs are asked."""

    name: str
    """As whom, in a side session."""
    token: str | None
    ssl: ssl.SSLContext | None
    leeway_s: float
    """What tokens' times may be apart."""


class Answered(NamedTuple):
    """What a hub said of itself and the others."""

    url: str
    node: str
    nodes: list[dict[str, Any]]


async def examine(urls: list[str], own: str | None, asking: Asking) -> list[Finding]:
    """What there is to say of them.

    Args:
        urls: those that must be there.
        own: the one that may not be running yet; None where ``urls`` say all.
    """
    found: list[Finding] = []
    answered: list[Answered] = []
    for url in [*urls, *([own] if own else [])]:
        told, answer = await _ask(url, asking, "warning" if url == own else "bad")
        found += told
        if answer is not None:
            answered.append(answer)
    found += await _others(answered, {*urls, own}, asking)
    return found + leading(answered)


async def _others(
    answered: list[Answered], asked: set[str | None], asking: Asking
) -> list[Finding]:
    """The addresses that hubs tell of one another; a client may be given other ones."""
    told = {
        each["address"]: each["node"]
        for answer in answered
        for each in answer.nodes
        if each["alive"] and each["address"]
    }
    here = {answer.node for answer in answered}
    found = []
    for url, node in told.items():
        if url not in asked and node not in here:
            others, answer = await _ask(url, asking, "warning")
            found += others
            if answer is not None:
                here.add(answer.node)
    return found


async def _ask(url: str, asking: Asking, level: Level) -> tuple[list[Finding], Answered | None]:
    """What is found of one hub; ``level`` is how bad it is when it is not reached."""
    lab = Lab(Site(url, SECONDS, None, asking.ssl, broadcast=False))
    try:
        peer = await lab.connect(asking.name, token=asking.token)
    except InvalidStatus as refused:
        status = refused.response.status_code
        todo = "see that the path is right, and that a hub runs behind the proxy"
        if status == 401:
            todo = "give a good token, with --token-file or TRISHULA_TOKEN"
        what = f"{url} answers the upgrade with HTTP {status}"
        return [Finding("hub", "bad", what, todo)], None
    except (OSError, WebSocketException) as error:
        number = getattr(error, "errno", None)
        why = os.strerror(number) if number and number > 0 else str(error)
        why = getattr(error, "verify_message", "") or why or type(error).__name__
        todo = "start it with `broker serve`, or see what stands between"
        return [Finding("hub", level, f"no hub is reached at {url}: {why}", todo)], None
    try:
        unready = await _unready(url, asking)
        if unready is not None and unready.level == "bad":
            return [unready], None
        found, answer = await _talk(url, peer, asking)
        return ([unready] if unready else []) + found, answer
    except (Broken, LookupError, TypeError) as error:
        what = f"{url} does not speak the protocol as it should: {error}"
        return [Finding("hub", "bad", what, f"broker conformance {url}")], None
    finally:
        await lab.tidy()


async def _talk(url: str, peer: Peer, asking: Asking) -> tuple[list[Finding], Answered]:
    told = await peer.register(asking.name, receive=False, ephemeral=True)
    node = str(told["node"])
    seen = await peer.ask("nodes")
    found = [Finding("hub", "ok", f"{node} ({told['role']}) at {url} answers")]
    best = min([await _clock(peer) for _ in range(ASKED)], key=lambda each: each[1])
    found.append(offset(f"{node} at {url}", *best, asking.leeway_s))
    secure = peer.connection.transport.get_extra_info("ssl_object")
    if secure is not None and (shown := secure.getpeercert()):
        ends = ssl.cert_time_to_seconds(shown["notAfter"])
        found.append(expiry(f"the certificate of {url}", ends, time.time()))
    return found, Answered(url, node, list(seen["nodes"]))


async def _clock(peer: Peer) -> tuple[float, float]:
    """Seconds that the hub's clock is ahead, and how wrong that may be."""
    begun = time.time()
    await peer.say({"type": "HEARTBEAT"})
    answer = await peer.hear("a HEARTBEAT", lambda it: it["type"] == "HEARTBEAT")
    half = (time.time() - begun) / 2
    return answer["payload"]["time"] / 1000 - (begun + half), half


async def _unready(url: str, asking: Asking) -> Finding | None:
    """What is to be said of its readiness; None when it takes mail."""
    parts = urlsplit(url)
    secure = (asking.ssl or ssl.create_default_context()) if parts.scheme == "wss" else None
    path = parts.path.rpartition("/")[0] + READY
    try:
        status, text = await asyncio.to_thread(_get, parts.hostname, parts.port, path, secure)
    except (OSError, http.client.HTTPException) as error:
        what = f"{url}: nothing is said at {path}: {str(error) or type(error).__name__}"
        return Finding("hub", "warning", what, f"pass {path} on: agents ask it before they go back")
    if status == 200:
        return None
    what = f"{url} takes no mail: HTTP {status} {text}".rstrip()
    if status == 503:
        return Finding("hub", "bad", what, "its log and /health say why")
    return Finding("hub", "warning", what, f"pass {path} on to the hub")


def _get(host: str | None, port: int | None, path: str, secure: ssl.SSLContext | None) -> Any:
    assert host is not None
    connection = (
        http.client.HTTPConnection(host, port, timeout=SECONDS)
        if secure is None
        else http.client.HTTPSConnection(host, port, timeout=SECONDS, context=secure)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(200).decode("latin-1").strip()
    finally:
        connection.close()


def leading(answered: list[Answered]) -> list[Finding]:
    """Which one leads, who is away, and whether all know one another."""
    if not answered:
        return []
    found: list[Finding] = []
    nodes = {each["node"]: each for answer in answered for each in answer.nodes}
    for node in sorted(each["node"] for each in nodes.values() if not each["alive"]):
        todo = "start it again, if it is not gone for good"
        found.append(Finding("hub", "warning", f"{node} is not alive", todo))
    for answer in answered:
        known = {each["node"] for each in answer.nodes}
        apart = sorted({other.node for other in answered} - known)
        if apart:
            what = f"{answer.node} knows nothing of {', '.join(apart)}: they share no store"
            todo = "give all the same --redis, or clients the URL of one alone; docs/nodes.md"
            found.append(Finding("hub", "bad", what, todo))
    leads = sorted(each["node"] for each in nodes.values() if each["leads"] and each["alive"])
    if len(leads) == 1:
        found.append(Finding("lead", "ok", f"{leads[0]} leads, of {len(nodes)}"))
    elif not leads:
        what = "no hub leads: nothing expires, and dead hubs are not noticed"
        found.append(Finding("lead", "bad", what, "look again in 10 s; then at the hubs' logs"))
    else:
        found.append(
            Finding("lead", "bad", f"several lead: {', '.join(leads)}", "look again in 10 s")
        )
    return found
