"""Who may not do what: each is refused with its code, changes nothing, and is in the audit.

One table, against real hubs: one with keys, one without, and two on a Redis.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.support.attacker import GENEROUS_S, Answer, Json, Wire, knock, wire
from tests.support.forged import Forger
from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from tests.support.two_hubs import two_hubs
from trishula_broker.audit.segment import LOCAL, ChainName, lines, read, segments

pytestmark = pytest.mark.asyncio(loop_scope="module")

OBSERVER = "ada"
"""It is known while it is there, for its token makes no address."""
ELSEWHERE = "https://elsewhere.example"


class Stage:
    """A hub with keys, whom it knows, and one message that ``agni`` holds."""

    def __init__(self, hub: HubProcess, keys: Keys, open_hub: HubProcess) -> None:
        self.hub = hub
        self.open_hub = open_hub
        self.forger = Forger(keys.path)
        self.tokens = {name: keys.token(name) for name in ("dc", "agni", "eve", "mallory")}
        self.tokens["ops"] = keys.token("ops", role="operator")
        self.tokens[OBSERVER] = keys.token("ada", role="observer")
        self.tokens["foreigner"] = keys.token("foreigner", namespace="other")
        self.tokens["ci"] = keys.token(
            "ci", send=("build-1", "#ops"), types=("COMMAND",), receive=("#ops",)
        )
        self.taken_back = keys.token("mallory")
        self.agni: Wire
        self.ops: Wire
        self.seq = 0

    async def prepare(self, agni: Wire, ops: Wire) -> None:
        """``dc`` sends ``agni`` the message ``m1``; a token of ``mallory``'s is taken back."""
        self.agni, self.ops = agni, ops
        assert (await agni.register("agni", groups=["ops"]))["type"] == "RESULT"
        assert (await ops.register("ops", receive=False))["type"] == "RESULT"
        await self._introduced()
        async with self.agent("dc") as dc:
            await dc.answer(type="COMMAND", to="agni", id="m1", thread="secret", payload=1)
        self.seq = (await agni.mail())["seq"]
        claims = json.loads(_decoded(self.taken_back.split(".")[1]))
        assert (await ops.ask("revoke", token_id=claims["jti"]))["type"] == "RESULT"

    async def _introduced(self) -> None:
        """Wait until the hub has read the list of tokens: it makes their agents known."""
        async with asyncio.timeout(GENEROUS_S):
            missing = self.tokens.keys() - {"foreigner", OBSERVER}
            while missing:
                agents = (await self.ops.ask("agents"))["payload"]["agents"]
                missing -= {agent["id"] for agent in agents}

    @asynccontextmanager
    async def agent(self, name: str) -> AsyncIterator[Wire]:
        """A registered agent with its own token."""
        async with wire(self.hub.url, self.tokens[name]) as connected:
            answer = await connected.register(name, receive=name != OBSERVER)
            assert answer["type"] == "RESULT", answer
            yield connected

    async def state(self) -> Json:
        """What there is to be changed, as an operator and the owner of the mail see it."""
        agents = (await self.ops.ask("agents"))["payload"]["agents"]
        shown = ("id", "capabilities", "groups", "unsettled", "status", "paused")
        return {
            "agents": [
                {name: agent.get(name) for name in shown}
                for agent in agents
                if agent["id"] != OBSERVER
            ],
            "mailbox": (await self.agni.ask("peek"))["payload"],
            "deadletters": (await self.ops.ask("deadletters"))["payload"],
            "history": (await self.agni.ask("history"))["payload"],
        }


Attack = Callable[[Stage], Awaitable[Answer]]


class Refusal(NamedTuple):
    """A row: what is tried, what it is answered with, and what the audit says of it."""

    name: str
    attack: Attack
    said: str
    """An HTTP status, or an ERROR's code."""
    audited: Json
    """Fields of its record."""


# --- at the door ---


def _token(name: str, reason: str, make: Callable[[Forger], str]) -> Refusal:
    async def attack(stage: Stage) -> Answer:
        return await knock(stage.hub.url, make(stage.forger))

    return Refusal(name, attack, "401", {"what": "upgrade", "reason": reason, "status": 401})


async def _revoked(stage: Stage) -> Answer:
    return await knock(stage.hub.url, stage.taken_back)


async def _no_token(stage: Stage) -> Answer:
    return await knock(stage.hub.url)


async def _no_bearer(stage: Stage) -> Answer:
    return await knock(stage.hub.url, Authorization=f"Basic {stage.tokens['eve']}")


async def _two_tokens(stage: Stage) -> Answer:
    token = stage.tokens["eve"]
    return await knock(f"{stage.hub.url}?token={token}", token)


async def _foreign_page(stage: Stage) -> Answer:
    return await knock(stage.hub.url, stage.tokens["eve"], Origin=ELSEWHERE)


async def _foreign_page_without_keys(stage: Stage) -> Answer:
    return await knock(stage.open_hub.url, Origin=ELSEWHERE)


async def _rebound_page(stage: Stage) -> Answer:
    # A name of the attacker's that leads to this machine: page and host agree.
    return await knock(stage.open_hub.url, Host="evil.example", Origin="http://evil.example")


def _forwarded(**headers: str) -> Attack:
    async def attack(stage: Stage) -> Answer:
        return await knock(stage.open_hub.url, **headers)

    return attack


def _door(reason: str, status: int) -> Json:
    return {"what": "upgrade", "reason": reason, "status": status}


FORWARDED = _door("forwarded", 403)
AT_THE_DOOR = [
    _token("alg none", "alg", Forger.without_signature),
    _token("HS256 with the public key", "alg", Forger.hmac_with_the_public_key),
    _token("other claims under a good signature", "signature", Forger.with_other_claims),
    _token("another key under this one's name", "signature", Forger.same_kid),
    _token("unknown kid", "kid", Forger.unknown_kid),
    _token("wrong typ", "typ", Forger.wrong_typ),
    _token("another issuer's typ", "typ", Forger.foreign_typ),
    _token("wrong iss", "iss", Forger.wrong_issuer),
    _token("wrong aud", "aud", Forger.wrong_audience),
    _token("expired", "expired", Forger.expired),
    _token("not yet valid", "not_yet", Forger.not_yet),
    _token("no sub", "claims", Forger.no_subject),
    _token("no token at all", "malformed", lambda _: "hello"),
    Refusal("revoked", _revoked, "401", _door("revoked", 401)),
    Refusal("nothing", _no_token, "401", _door("missing", 401)),
    Refusal("another scheme", _no_bearer, "401", _door("malformed", 401)),
    Refusal("two tokens", _two_tokens, "401", _door("malformed", 401)),
    Refusal("foreign Origin", _foreign_page, "403", _door("origin", 403)),
    Refusal("foreign Origin without keys", _foreign_page_without_keys, "403", _door("origin", 403)),
    Refusal("DNS rebinding without keys", _rebound_page, "403", _door("origin", 403)),
    Refusal("X-Forwarded-For", _forwarded(X_Forwarded_For="203.0.113.9"), "403", FORWARDED),
    Refusal("X-Forwarded-Proto", _forwarded(X_Forwarded_Proto="https"), "403", FORWARDED),
    Refusal("Forwarded", _forwarded(Forwarded="for=203.0.113.9"), "403", FORWARDED),
    Refusal("X-Real-IP", _forwarded(X_Real_IP="203.0.113.9"), "403", FORWARDED),
    Refusal("Via", _forwarded(Via="1.1 proxy"), "403", FORWARDED),
]


# --- inside ---


def _refused(
    name: str, who: str, said: str, envelope: Callable[[Stage], Json], **audited: Any
) -> Refusal:
    """``who``, registered, sends an envelope that it may not."""

    async def attack(stage: Stage) -> Answer:
        async with stage.agent(who) as connected:
            return connected.told(await connected.answer(**envelope(stage)))

    expected = {"code": said, "agent": who, "count": 1, **audited}
    return Refusal(name, attack, said, expected)


def _tells(**fields: Any) -> Callable[[Stage], Json]:
    return lambda _: {"type": "STATUS", "id": "x1", "to": "agni", "payload": None, **fields}


def _asks(op: str, **fields: Any) -> Callable[[Stage], Json]:
    return lambda _: {"type": "COMMAND", "id": "x1", "to": "hub", "payload": {"op": op, **fields}}


def _settles(stage: str, **fields: Any) -> Callable[[Stage], Json]:
    def envelope(on: Stage) -> Json:
        return {"type": "ACK", "to": "hub", "payload": {"stage": stage, "seqs": [on.seq], **fields}}

    return envelope


def _answers_for_another(stage: Stage) -> Json:
    head = {"type": "RESULT", "id": "x1", "to": "dc", "reply_to": "m1"}
    return {**head, "settles": stage.seq, "payload": "mine"}


def _operators(op: str, who: str = "eve", **fields: Any) -> Refusal:
    name = f"{op} by {who}"
    return _refused(name, who, "forbidden", _asks(op, **fields), op=op, field="payload.op")


async def _registers_as_another(stage: Stage) -> Answer:
    async with wire(stage.hub.url, stage.tokens["eve"]) as eve:
        return eve.told(await eve.register("agni"))


async def _registers_with_a_group(stage: Stage) -> Answer:
    async with wire(stage.hub.url, stage.tokens["ci"]) as ci:
        return ci.told(await ci.register("ci", groups=["secrets"]))


async def _registers_with_a_capability(stage: Stage) -> Answer:
    async with wire(stage.hub.url, stage.tokens["ci"]) as ci:
        return ci.told(await ci.register("ci", capabilities=["deploy"]))


async def _does_not_register(stage: Stage) -> Answer:
    async with wire(stage.hub.url, stage.tokens["eve"]) as eve:
        return eve.told(await eve.answer(**_tells()(stage)))


async def _renews_with_another_agents(stage: Stage) -> Answer:
    async with stage.agent("eve") as eve:
        return eve.told(await eve.ask("renew", token=stage.tokens["agni"]))


async def _renews_with_a_revoked_one(stage: Stage) -> Answer:
    async with stage.agent("mallory") as mallory:
        return mallory.told(await mallory.ask("renew", token=stage.taken_back))


REGISTERING = {"op": "register", "agent": "eve"}
INSIDE = [
    _refused("forged from", "eve", "forbidden", _tells(sender="dc"), field="from", to="agni"),
    _refused("from the hub", "eve", "forbidden", _tells(sender="hub"), field="from"),
    _refused("forged headers.auth", "eve", "bad_message", _tells(headers={"auth": "dc default t"})),
    _refused("done with another's", "eve", "stale_ack", _settles("done"), type="ACK"),
    _refused("reading another's", "eve", "stale_ack", _settles("read"), type="ACK"),
    _refused("rejecting another's", "eve", "stale_ack", _settles("rejected"), type="ACK"),
    _refused("requeueing another's", "eve", "stale_ack", _settles("rejected", requeue=True)),
    _refused("answering for another", "eve", "stale_ack", _answers_for_another, type="RESULT"),
    _refused("an address not allowed", "ci", "forbidden", _tells(type="COMMAND"), field="to"),
    _refused("broadcast not allowed", "ci", "forbidden", _tells(type="COMMAND", to="broadcast")),
    _refused("a type not allowed", "ci", "forbidden", _tells(to="build-1"), field="type"),
    _refused("a group not allowed", "ci", "forbidden", _asks("join", group="secrets"), op="join"),
    _refused("to another namespace", "foreigner", "unknown_recipient", _tells(), to="agni"),
    _refused("an observer sends", "ada", "forbidden", _tells(), field="to"),
    _refused("an observer answers", "ada", "forbidden", _tells(type="ERROR", reply_to="m1")),
    _refused("registering again", "eve", "bad_message", _asks("register", agent="agni")),
    _refused("tracing another's", "eve", "bad_message", _asks("trace", id="m1"), op="trace"),
    _refused("recalling another's", "eve", "bad_message", _asks("recall", id="m1"), op="recall"),
    _operators("tap"),
    _operators("tap", "ci", to="agni"),
    _operators("pause", agent="agni"),
    _operators("resume", agent="agni"),
    _operators("deadletters", agent="agni"),
    _operators("retry", agent="agni", seq=1),
    _operators("drop", agent="agni", seq=1),
    _operators("forget", agent="dc", discard=True),
    _operators("revoke", agent="agni"),
    _operators("pause", "ada", agent="agni"),
    _operators("forget", "ada", agent="dc", discard=True),
    _operators("revoke", "ada", agent="agni"),
    _operators("status", "ada", text="here"),
    Refusal(
        "another agent's name",
        _registers_as_another,
        "forbidden",
        {"code": "forbidden", "agent": "eve", "op": "register", "field": "payload.agent"},
    ),
    Refusal(
        "registering for a group not allowed",
        _registers_with_a_group,
        "forbidden",
        {"code": "forbidden", "agent": "ci", "op": "register", "field": "payload.groups"},
    ),
    Refusal(
        "registering for a capability not allowed",
        _registers_with_a_capability,
        "forbidden",
        {"code": "forbidden", "agent": "ci", "op": "register", "field": "payload.capabilities"},
    ),
    Refusal(
        "not registered",
        _does_not_register,
        "not_registered",
        {"code": "not_registered", "agent": "eve", "type": "STATUS"},
    ),
    Refusal(
        "renewing with another's token",
        _renews_with_another_agents,
        "forbidden",
        {"code": "forbidden", "agent": "eve", "op": "renew"},
    ),
    Refusal(
        "renewing with a revoked token",
        _renews_with_a_revoked_one,
        "unauthorized",
        {"code": "unauthorized", "agent": "mallory", "op": "renew"},
    ),
]
TABLE = AT_THE_DOOR + INSIDE


class Played(NamedTuple):
    """What came of a row."""

    answer: Answer
    before: Json
    after: Json


class Play(NamedTuple):
    """What came of all of them, and what the audits have of it."""

    rows: dict[str, Played]
    records: list[Json]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Every row is tried, one after another; then the hubs end, and their audits are read."""
    folder = tmp_path_factory.mktemp("refusals")
    data, open_data = folder / "data", folder / "open"
    keys = Keys(data, "EdDSA")
    hub, open_hub = HubProcess(data), HubProcess(open_data, node="open")
    stage = Stage(hub, keys, open_hub)
    async with hub, open_hub:
        assert (await knock(hub.url, stage.forger.good())).said == "101"
        async with (
            wire(hub.url, stage.tokens["agni"]) as agni,
            wire(hub.url, stage.tokens["ops"]) as ops,
        ):
            await stage.prepare(agni, ops)
            rows = {row.name: await _played(row, stage) for row in TABLE}
        assert await hub.terminate() == 0
        assert await open_hub.terminate() == 0
        assert "Traceback" not in hub.log + open_hub.log
    return Play(rows, [*seen(data / "audit"), *seen(open_data / "audit")])


async def _played(row: Refusal, stage: Stage) -> Played:
    before = await stage.state()
    async with asyncio.timeout(GENEROUS_S):
        answer = await row.attack(stage)
    return Played(answer, before, await stage.state())


def seen(audit: Path) -> list[Json]:
    """What an archive's own chain has: what only its node saw."""
    chain = ChainName(LOCAL)
    return [
        json.loads(line)
        for segment in segments(chain.folder(audit))
        for line in lines(read(segment, chain, None).text)
    ]


@pytest.mark.parametrize("row", TABLE, ids=[row.name for row in TABLE])
async def test_it_is_refused_and_changes_nothing(row: Refusal, play: Play) -> None:
    played = play.rows[row.name]
    assert played.answer.said == row.said, played.answer
    assert played.answer.text
    assert played.after == played.before


@pytest.mark.parametrize("row", TABLE, ids=[row.name for row in TABLE])
async def test_it_is_in_the_audit(row: Refusal, play: Play) -> None:
    peer = play.rows[row.name].answer.peer
    found = [
        record
        for record in play.records
        if record["event"] == "refused"
        and record["peer"] == (peer or record["peer"])
        and all(record.get(name) == value for name, value in row.audited.items())
    ]
    # What is refused at the door has no connection of its own to be told by: it is counted.
    alike = 1 if peer else sum(1 for other in TABLE if other.audited == row.audited)
    assert sum(record.get("count", 1) for record in found) >= alike, play.records


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def test_a_revoked_token_is_refused_by_every_hub(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    token, ops = keys.token("eve"), keys.token("ops", role="operator")
    async with (
        two_hubs(tmp_path, "--keys", str(keys.path)) as (one, two),
        wire(two.url, token) as session,
        wire(two.url, token) as unregistered,
        wire(one.url, ops) as operator,
    ):
        assert (await session.register("eve"))["type"] == "RESULT"
        assert (await operator.register("ops", receive=False))["type"] == "RESULT"
        assert (await operator.ask("revoke", agent="eve"))["type"] == "RESULT"
        # Told by a hint, so these come by themselves: no one asks the second hub anything.
        assert (await session.closed()).said == "4401"
        assert (await unregistered.closed()).said == "4401"
        for hub in (two, one):
            refused = await knock(hub.url, token)
            assert refused.said == "401"
            assert "revoked" in refused.text
        online = [True]
        async with asyncio.timeout(GENEROUS_S):
            while online == [True]:  # its session's end is committed behind its close frame
                agents = (await operator.ask("agents"))["payload"]["agents"]
                online = [agent["online"] for agent in agents if agent["id"] == "eve"]
        assert online == [False]
        for hub in (two, one):
            assert await hub.terminate() == 0
            refusals = [each for each in seen(hub.data / "audit") if each["event"] == "refused"]
            assert [each["reason"] for each in refusals if "reason" in each] == ["revoked"]
