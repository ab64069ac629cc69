"""``make demo`` runs, tells the truth, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from pathlib import Path

import pytest

from tests.demo import claims
from tests.demo.acts import QUIET, Play
from tests.demo.cast import Cast
from tests.demo.claims import Claim, Outage
from tests.demo.demo import show
from tests.demo.events import Event, Kind
from tests.demo.screen import Screen
from tests.support.hub_process import HubProcess

DEMO = Path(__file__).parents[1] / "demo" / "demo.py"


async def test_the_demo_keeps_its_claims_and_cleans_up(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(DEMO)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path), "TRISHULA_URL": "ws://127.0.0.1:1/ws"},
    )
    try:
        assert process.stdout is not None
        # To the end of the output: it comes when every process that holds the pipe is gone.
        text = (await process.stdout.read()).decode()
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert code == 0, text
    assert "claims, all of them true" in text
    assert " 0 lost" in text
    assert "median" in text
    assert "kill -9 to the next acceptance" in text
    assert "\x1b[" not in text  # no colours where there is no terminal
    assert "Traceback" not in text
    assert list(tmp_path.iterdir()) == []


async def test_a_demo_whose_claims_do_not_hold_fails(tmp_path: Path) -> None:
    class NothingHappens(Play):
        async def perform(self) -> None:
            pass

    out = io.StringIO()
    screen = Screen(out, QUIET)
    hub = HubProcess(tmp_path / "data")
    play = NothingHappens(hub, Cast(tmp_path, hub.url, screen.event), screen)
    assert await show(screen, play) == 1
    assert "of them not true" in out.getvalue()


# --- each claim notices what it is about ---

OUTAGE = Outage(killed=10.0, serving=11.0)


def event(time: float, agent: str, kind: Kind, label: str, **fields: object) -> Event:
    return Event(time, agent, kind, label, **fields)  # type: ignore[arg-type]


def stormy() -> list[Event]:
    """dc sends agni three messages: before, during and after the outage."""
    events = []
    for number, time in enumerate((9.0, 10.5, 12.0), start=1):
        label = f"storm-{number}"
        heard = max(time, 11.1) if time > OUTAGE.killed else time
        events += [
            event(time, "dc", "sent", label, number=number),
            event(heard + 0.1, "dc", "accepted", label, number=number),
            event(heard + 0.2, "agni", "handled", label, number=number, peer="dc"),
        ]
    return events


def broken(found: list[Claim]) -> list[str]:
    return [claim.text for claim in found if not claim.kept]


def test_a_storm_that_went_well_breaks_no_claim() -> None:
    assert broken(claims.storm(stormy(), "storm", OUTAGE)) == []


def test_a_lost_message_is_noticed() -> None:
    events = [e for e in stormy() if (e.kind, e.number) != ("handled", 2)]
    assert broken(claims.storm(events, "storm", OUTAGE)) == ["3 accepted, 2 handled: 1 lost"]


def test_a_message_handled_twice_is_noticed() -> None:
    events = [*stormy(), event(13.0, "agni", "handled", "storm-3", number=3, peer="dc")]
    assert broken(claims.storm(events, "storm", OUTAGE)) == ["1 handled twice"]


def test_a_message_out_of_order_is_noticed() -> None:
    events = stormy()
    handled = [n for n, e in enumerate(events) if e.kind == "handled"]
    events[handled[0]], events[handled[1]] = events[handled[1]], events[handled[0]]
    found = broken(claims.storm(events, "storm", OUTAGE))
    assert found == ["1 out of order, from each sender to each recipient"]


def test_a_message_that_was_never_accepted_is_noticed() -> None:
    events = [e for e in stormy() if e.number != 3 or e.kind == "sent"]
    assert len(broken(claims.storm(events, "storm", OUTAGE))) == 2


def test_a_kill_between_messages_is_no_kill_in_the_middle() -> None:
    events = [e for e in stormy() if e.number != 2]
    assert len(broken(claims.storm(events, "storm", OUTAGE))) == 1


def test_a_command_without_an_answer_is_noticed() -> None:
    events = [
        event(1.0, "dc", "asked", "build"),
        event(1.1, "agni", "handled", "build"),
        event(1.2, "dc", "answered", "build"),
    ]
    assert claims.commands(events, but="crash").kept
    assert not claims.commands(events[:2], but="crash").kept
    assert not claims.commands([*events, events[1]], but="crash").kept
    assert not claims.commands([], but="crash").kept


@pytest.mark.parametrize(
    ("agents", "kept"),
    [
        (["agni", "dc"], True),
        (["agni"], False),
        (["agni", "dc", "dc"], False),
        (["agni", "dc", "rushabdev"], False),
    ],
)
def test_a_group_message_that_missed_or_strayed_is_noticed(agents: list[str], kept: bool) -> None:
    events = [event(1.0, agent, "handled", "ops") for agent in agents]
    assert claims.reached(events, "ops", "#ops", {"agni", "dc"}).kept is kept


@pytest.mark.parametrize(
    ("takers", "kept"), [({"a": 1, "b": 1}, True), ({"a": 1}, False), ({"a": 1, "b": 2}, False)]
)
def test_a_capability_message_taken_twice_is_noticed(takers: dict[str, int], kept: bool) -> None:
    events = [
        event(1.0, f"agent{n}", "handled", f"review-{label}")
        for label, count in takers.items()
        for n in range(count)
    ]
    assert claims.one_each(events, "review", "@review", 2).kept is kept


def test_mail_found_in_the_wrong_order_is_noticed() -> None:
    sent = [event(1.0, "dc", "sent", f"away-{n}", priority=n) for n in (2, 1)]
    found = [event(2.0, "agni", "handled", f"away-{n}", priority=n) for n in (1, 2)]
    assert claims.waited([*sent, *found], "away", "agni").kept
    assert not claims.waited([*sent, *reversed(found)], "away", "agni").kept
    assert not claims.waited([*sent, found[0]], "away", "agni").kept


def test_work_that_is_not_begun_again_is_noticed() -> None:
    first = event(1.0, "agni", "handled", "crash")
    second = event(2.0, "agni", "handled", "crash", attempt=2)
    answer = event(3.0, "dc", "answered", "crash")
    assert claims.again([first, second, answer], "crash", "agni").kept
    assert not claims.again([first, answer], "crash", "agni").kept
    assert not claims.again([first, second], "crash", "agni").kept


def test_mail_left_behind_is_noticed() -> None:
    events = [Event(1.0, name, "saw", number=left) for name, left in (("dc", 0), ("agni", 1))]
    assert claims.empty(events[:1], {"dc"}).kept
    assert not claims.empty(events, {"dc", "agni"}).kept
    assert not claims.empty(events[:1], {"dc", "agni"}).kept
