"""The rules of the protocol, tried at real hubs, through nginx, and at hubs that break them."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.integration.cli.command import Broker
from tests.support.hub_process import HubProcess
from tests.support.keys import Keys
from tests.support.nginx import Nginx
from tests.support.wrong_hub import Envelope, Fault, wrong_hub, yes_hub
from trishula_broker.conformance.lab import Site
from trishula_broker.conformance.rules import ALL
from trishula_broker.conformance.run import Result, run

SLOW = ("registration-has-ten-seconds", "silence-ends-a-session")
PATIENCE_S = 30.0
"""Generous: what holds does not take so long."""
IMPATIENCE_S = 1.5
"""For hubs that never answer; over what a first retry takes."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HubProcess]:
    async with HubProcess(tmp_path_factory.mktemp("conformance") / "data") as running:
        yield running


def not_holding(results: list[Result]) -> dict[str, str]:
    return {each.rule: each.why for each in results if each.verdict != "holds"}


async def tried(url: str, *names: str, patience: float = PATIENCE_S) -> dict[str, str]:
    """What does not hold of those rules, and why."""
    rules = [each for each in ALL if each.name in names or not names]
    assert len(rules) == len(names or ALL)
    return not_holding(await run(rules, Site(url, patience, None, None, broadcast=True)))


async def test_every_rule_holds_for_a_hub_and_it_forgets_who_tried_them(hub: HubProcess) -> None:
    found = await tried(hub.url)
    assert found == {
        "a-bad-token-is-401": "the hub asks for no token",
        "a-token-is-for-its-subject": "the hub asks for no token",
        "an-operators-operation-is-not-an-agents": "the hub asks for no token, and everybody is an "
        "operator",
    }
    done = await Broker(hub.url)("agents", "--json")
    left = [each["id"] for each in done.json_lines if not each.get("ephemeral")]
    assert left == []


async def test_every_rule_holds_through_nginx_for_a_hub_with_keys(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    config = tmp_path / "broker.toml"
    config.write_text('[websocket]\nproxies = ["127.0.0.1"]\n')
    options = ("--keys", str(keys.path), "--config", str(config))
    async with HubProcess(tmp_path / "data", *options) as hub:
        nginx = Nginx(tmp_path / "nginx", hub.port, hub.port)
        nginx.start()
        try:
            trust = ssl.create_default_context(cafile=nginx.ca_file)
            url = f"{nginx.url}/primary/ws"
            site = Site(url, PATIENCE_S, keys.token, trust, broadcast=True)
            rules = [each for each in ALL if each.name not in SLOW]
            assert not_holding(await run(rules, site)) == {}
            # And by hand, which makes tokens itself.
            trusting = ("--keys", str(keys.path), "--ca-file", str(nginx.ca_file), "§4")
            done = await Broker(url)("conformance", url, *trusting)
            assert (done.code, done.err) == (0, "")
            assert done.out.splitlines()[-1].endswith(" hold, 0 broken")
            made = f"{sys.executable} -m trishula_broker token create --keys {keys.path}"
            trusting = ("--token-command", made, "--ca-file", str(nginx.ca_file), "headers-auth*")
            done = await Broker(url)("conformance", url, *trusting)
            assert (done.code, done.out.splitlines()[-1]) == (0, "1 rule: 1 hold, 0 broken"), done
            printed = f'{sys.executable} -c \'print("no token for", end="")\''
            done = await Broker(url)(
                "conformance", url, "--token-command", printed, "--ca-file", str(nginx.ca_file)
            )
            assert done.code == 1
            assert "HTTP 401; give --keys" in done.err
        finally:
            nginx.stop()


def each(change: Callable[[Envelope], Envelope | None]) -> Callable[[list[Envelope]], list[Any]]:
    """A fault in every envelope; None leaves it out."""
    return lambda envelopes: [new for old in envelopes if (new := change(old)) is not None]


def without(*fields: str) -> Callable[[list[Envelope]], list[Envelope]]:
    return each(lambda it: {name: value for name, value in it.items() if name not in fields})


def mail(change: Callable[[Envelope], Envelope | None]) -> Callable[[list[Envelope]], list[Any]]:
    return each(lambda it: change(it) if "seq" in it else it)


def said(kind: str, **told: Any) -> Callable[[list[Envelope]], list[Envelope]]:
    """Another payload, of envelopes of that type."""
    return each(
        lambda it: (
            {**it, "payload": {**it["payload"], **told}}
            if it["type"] == kind and isinstance(it.get("payload"), dict) and "seq" not in it
            else it
        )
    )


def no_ack(stage: str) -> Callable[[list[Envelope]], list[Envelope]]:
    return each(
        lambda it: None if it["type"] == "ACK" and it["payload"].get("stage") == stage else it
    )


FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "mail twice": (
        Fault(down=lambda found: [it for it in found for _ in range(1 + ("seq" in it))]),
        ("the-same-again-is-not-delivered-again", "prefetch-is-kept"),
    ),
    "never says accepted": (
        Fault(down=no_ack("accepted")),
        ("one-or-an-array", "ids-are-their-senders"),
    ),
    "never says settled": (
        Fault(down=no_ack("settled")),
        ("done-is-for-good", "settled-again", "an-answer-settles"),
    ),
    "no receipt of delivery": (Fault(down=no_ack("delivered")), ("receipts-tell",)),
    "no heartbeat": (
        Fault(down=each(lambda it: None if it["type"] == "HEARTBEAT" else it)),
        ("heartbeats-are-answered",),
    ),
    "attempt is always 1": (
        Fault(down=mail(lambda it: {**it, "attempt": 1})),
        ("an-attempt-ends-with-its-session", "a-lease-lapses", "requeue-is-another-attempt"),
    ),
    "attempt counts deliveries": (
        Fault(down=mail(lambda it: {**it, "attempt": it["attempt"] + 1})),
        ("nothing-is-settled-by-being-sent", "the-hubs-fields-are-ignored"),
    ),
    "no expires_in": (Fault(down=without("expires_in")), ("expires-in-with-a-ttl",)),
    "no timestamp": (Fault(down=without("timestamp")), ("timestamp-is-filled-in",)),
    "no from": (Fault(down=mail(lambda it: {**it, "from": None})), ("from-is-the-hubs-to-write",)),
    "no headers": (Fault(up=without("headers")), ("headers-travel", "headers-auth-is-the-hubs")),
    "no priority": (
        Fault(up=without("priority")),
        ("mail-is-by-priority-then-acceptance", "priority-has-a-range"),
    ),
    "no ttl": (Fault(up=without("ttl")), ("who-is-away-too-long", "ttl-has-a-range")),
    "anybody's from": (Fault(up=without("from")), ("from-of-another-is-forbidden",)),
    "a thread for everybody": (
        Fault(down=mail(lambda it: {**it, "thread": it.get("thread", it["id"])})),
        ("a-thread-begins",),
    ),
    "no threads": (Fault(up=without("thread")), ("a-thread-begins", "history-is-paged")),
    "answers settle nothing": (
        Fault(up=without("settles")),
        ("an-answer-settles", "settles-is-for-answers", "an-answer-that-settles-nothing"),
    ),
    "numbers are doubles": (
        Fault(
            down=mail(
                lambda it: (
                    {**it, "payload": float(it["payload"])}
                    if type(it.get("payload")) is int
                    else it
                )
            )
        ),
        ("payloads-arrive-as-sent",),
    ),
    "the newest first": (
        Fault(down=lambda found: found[::-1]),
        ("mail-is-by-priority-then-acceptance",),
    ),
    "another code": (
        Fault(down=said("ERROR", code="internal")),
        ("an-unknown-operation", "a-second-register", "an-address-nobody-had", "id-is-needed"),
    ),
    "no details": (
        Fault(down=said("ERROR", details=None)),
        ("an-address-nobody-had", "stale-ack-for-what-is-not-ones-own"),
    ),
    "errors do not say what about": (
        Fault(down=each(lambda it: {**it, "reply_to": None} if it["type"] == "ERROR" else it)),
        ("each-is-judged-by-itself", "a-refusal-frees-the-id"),
    ),
    "errors are mail": (
        Fault(down=each(lambda it: {**it, "id": "e1"} if it["type"] == "ERROR" else it)),
        ("direct-errors-are-not-mail",),
    ),
    "one page": (Fault(down=said("RESULT", next=None)), ("history-is-paged",)),
    "no node is alive": (
        Fault(down=said("RESULT", nodes=[], node="x")),
        ("nodes-tells-the-hubs",),
    ),
    "takes what it likes of the words": (
        Fault(down=said("RESULT", heartbeat_ms=30_000)),
        ("registering-is-answered",),
    ),
    "closes with 1000": (
        Fault(code=lambda _: 1000),
        (
            *("the-newer-session-takes-over", "ten-unreadable-frames", "a-frame-too-big"),
            "deregister-forgets",
        ),
    ),
    "nobody is prefetched": (
        Fault(
            up=each(
                lambda it: (
                    {**it, "payload": {**it["payload"], "prefetch": 256}}
                    if isinstance(it.get("payload"), dict) and "prefetch" in it["payload"]
                    else it
                )
            )
        ),
        ("prefetch-is-kept", "register-has-ranges"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_planted_fault_breaks_the_rules_it_is_against(hub: HubProcess, name: str) -> None:
    fault, rules = FAULTS[name]
    async with wrong_hub(hub.url, fault) as url:
        found = await tried(url, *rules, patience=IMPATIENCE_S)
    assert set(found) == set(rules)
    assert all(found.values())


@pytest.mark.parametrize("rule", ["register-has-ranges", "names-have-a-form"])
async def test_registrations_that_are_refused_share_a_frame_for_the_time_to_register_is_short(
    hub: HubProcess, rule: str
) -> None:
    """A hub that is far away, or busy, answers each question late; that breaks no rule."""
    asked: list[int] = []

    def note(envelopes: list[Envelope]) -> list[Envelope]:
        asked.append(sum(it["payload"].get("op") == "register" for it in envelopes))
        return envelopes

    async with wrong_hub(hub.url, Fault(up=note)) as url:
        assert await tried(url, rule) == {}
    assert max(asked) > 4


async def test_what_stands_between_and_changes_nothing_breaks_nothing(hub: HubProcess) -> None:
    checked = sorted({rule for _, rules in FAULTS.values() for rule in rules})
    async with wrong_hub(hub.url, Fault()) as url:
        assert await tried(url, *checked) == {}


async def test_a_hub_that_says_yes_to_everything_keeps_hardly_a_rule() -> None:
    async with yes_hub() as url:
        rules = [each for each in ALL if each.name not in SLOW]
        site = Site(url, 0.2, None, None, broadcast=True)
        results = await run(rules, site, at_once=16)
    # Fewer, on a machine that is too busy to say yes in time.
    assert {each.rule for each in results if each.verdict == "holds"} <= {
        *("json-by-default", "one-or-an-array", "white-space-is-allowed"),
        *("unknown-fields-are-ignored", "unknown-fields-of-operations"),
        "what-is-sent-behind-register",
    }


async def test_the_command_says_which_rule_is_broken_where_it_stands_and_ends_with_1(
    hub: HubProcess,
) -> None:
    fault, (rule,) = FAULTS["no expires_in"]
    async with wrong_hub(hub.url, fault) as url:
        broker = Broker(url)
        done = await broker("conformance", url, "--json", "--timeout", "30", "expires-*", "§1")
        told = await broker("conformance", url, "expires-*")
    assert (done.code, done.json["broken"], done.json["url"]) == (1, 1, url)
    (broken,) = [each for each in done.json["rules"] if each["verdict"] == "broken"]
    assert (broken["rule"], broken["section"]) == (rule, "§2")
    assert "expires_in is None" in broken["why"]
    assert done.err == f"Error: 1 rule broken: {rule}\n"
    assert told.out.startswith(f"§2  BROKEN   {rule}: A message with a ttl is delivered")
    assert told.out.endswith("1 rule: 0 hold, 1 broken\n")


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (("expires-in",), 2, "no rule is called expires-in; did you mean expires-in-with-a-ttl"),
        (("--keys", "k", "--token-command", "x"), 2, "--keys and --token-command: give one"),
        (("--keys", "no-such-file"), 2, "--keys: "),
        (("--ca-file", "no-such-file"), 3, "no hub at ws://127.0.0.1:1/ws: Connection refused"),
        ((), 3, "no hub at ws://127.0.0.1:1/ws: Connection refused"),
    ],
)
async def test_what_keeps_it_from_being_tried_is_said(
    args: tuple[str, ...], code: int, text: str
) -> None:
    url = "ws://127.0.0.1:1/ws"
    done = await Broker(url)("conformance", url, *args)
    assert (done.code, done.out) == (code, "")
    assert text in done.err


async def test_a_path_that_is_no_hubs_is_said(hub: HubProcess) -> None:
    done = await Broker(hub.url)("conformance", hub.http_url.replace("http", "ws") + "/elsewhere")
    assert done.code == 1
    assert "answers the upgrade with HTTP 404; see that the path is right" in done.err


def test_rules_have_names_sections_and_texts_of_their_own() -> None:
    assert len({rule.name for rule in ALL}) == len({rule.text for rule in ALL}) == len(ALL)
    assert all(asyncio.iscoroutinefunction(rule.check) for rule in ALL)
    document = (Path(__file__).parents[3] / "docs/protocol.md").read_text()
    for rule in ALL:
        assert rule.text.endswith((".", ":", "-")), rule
        assert f"\n## {rule.section.removeprefix('§')}. " in document
