"""When an alert is told, and what is alarming."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trishula_broker.alerts.rules import RULES, UNTOLD, Rule
from trishula_broker.alerts.sample import History, Sample
from trishula_broker.alerts.told import Told
from trishula_broker.alerts.watch import CLEAR_S, UNTOLD_S, Watch
from trishula_broker.net.meter import SECONDS

ROOT = Path(__file__).parents[3]
ALERTS = (ROOT / "deploy/prometheus/alerts.yml").read_text()
DOCUMENT = (ROOT / "docs/alerts.md").read_text()
START = 1_700_000_000.0


def sample(at: float, **fields: Any) -> Sample:
    return Sample(at, START + at, **fields)


def broken(history: History) -> str | None:
    return "broken" if history.now.alarms else None


LATE = Rule("Late", "warning", 60, broken, "mend it")
ONCE = Rule("Once", "critical", 0, broken, "mend it")
UNLED = Rule("Unled", "critical", 60, broken, "mend it", unled=True)


class Saying:
    """What a watch would send, each stored at once."""

    def __init__(self, rule: Rule, **options: Any) -> None:
        self.watch = Watch("hub", rules=[rule], **options)
        self.said: list[str] = []
        self.ids: list[str] = []

    def look(self, at: float, alarms: int, leads: bool = True) -> None:
        for change in self.watch.look(sample(at, alarms=alarms), leads=leads):
            self.said.append(change.state)
            self.ids.append(change.id)
            self.watch.told(change)


def test_it_is_told_once_when_it_has_held_and_once_when_it_is_over() -> None:
    told = Saying(LATE)
    for at in range(0, 60, 10):
        told.look(at, 1)
    assert told.said == []
    for at in range(60, 600, 10):
        told.look(at, 1)
    assert told.said == ["firing"]
    for at in range(600, 900, 10):
        told.look(at, 0)
    assert told.said == ["firing", "over"]
    assert told.watch.alerts == {}


def test_what_does_not_hold_for_long_enough_is_not_told() -> None:
    told = Saying(LATE)
    for n in range(20):
        told.look(n * 50, n % 2)
    assert told.said == []


def test_at_its_edge_it_is_not_told_again_and_again() -> None:
    told = Saying(ONCE)
    for n in range(200):
        told.look(n * 10, n % 3 > 0)
    assert told.said == ["firing"]


def test_who_does_not_lead_says_nothing_and_raises_nothing() -> None:
    told = Saying(ONCE)
    for at in range(0, 100, 10):
        told.look(at, 1, leads=False)
    assert (told.said, told.watch.alerts) == ([], {})
    told.look(100, 1)
    assert told.said == ["firing"]


def test_what_was_told_is_told_to_be_over_when_it_leads_again() -> None:
    told = Saying(ONCE)
    told.look(0, 1)
    for at in range(10, 500, 10):
        told.look(at, 0, leads=False)
    assert told.said == ["firing"]
    told.look(500, 0)
    assert told.said == ["firing", "over"]


def test_while_nobody_leads_it_waits_for_who_leads_next() -> None:
    told = Saying(UNLED)
    for at in range(0, 100, 10):
        told.look(at, 1, leads=False)
    told.look(100, 0)
    assert told.said == ["firing"]
    for at in range(110, 300, 10):
        told.look(at, 0)
    assert told.said == ["firing", "over"]


def test_what_was_over_before_anybody_could_say_it_is_forgotten() -> None:
    told = Saying(UNLED)
    for at in range(0, 100, 10):
        told.look(at, 1, leads=False)
    for at in range(100, round(100 + CLEAR_S + UNTOLD_S) + 30, 10):
        told.look(at, 0, leads=False)
    told.look(9_999, 0)
    assert told.said == []


def test_what_could_not_be_stored_is_told_again_under_its_id() -> None:
    watch = Watch("hub", rules=[ONCE])
    [first] = watch.look(sample(0, alarms=1), leads=True)
    [again] = watch.look(sample(10, alarms=1), leads=True)
    assert first.id == again.id == f"alert.Once.hub.{round(START * 1000)}"
    watch.told(again)
    assert watch.look(sample(20, alarms=1), leads=True) == []


def test_a_restart_repeats_nothing_and_tells_what_is_over(tmp_path: Path) -> None:
    before = Saying(ONCE)
    before.look(0, 1)
    Told(tmp_path).write(before.watch.alerts)
    assert (tmp_path / "alerts.json").stat().st_mode & 0o777 == 0o600
    after = Saying(ONCE, alerts=Told(tmp_path).read())
    for at in range(0, 100, 10):
        after.look(at, 1)
    assert after.said == []
    for at in range(100, 200, 10):
        after.look(at, 0)
    assert after.said == ["over"]
    assert after.ids == [f"{before.ids[0]}.over"]


@pytest.mark.parametrize("text", ["", "[]", '{"Once": 5}', "\x00"])
def test_a_file_that_is_damaged_or_gone_is_none(tmp_path: Path, text: str) -> None:
    assert Told(tmp_path).read() == {}
    (tmp_path / "alerts.json").write_text(text)
    assert Told(tmp_path).read() == {}


steps = st.lists(st.tuples(st.integers(1, 90), st.booleans(), st.booleans()), max_size=60)


@given(steps, st.sampled_from((LATE, ONCE, UNLED)))
def test_firing_and_over_take_turns(given_: list[tuple[int, bool, bool]], rule: Rule) -> None:
    told, at = Saying(rule), 0
    for wait, alarms, leads in given_:
        at += wait
        told.look(at, int(alarms), leads)
    turns = ("firing", "over")
    assert told.said == [turns[n % 2] for n in range(len(told.said))]
    assert len(set(told.ids)) == len(told.ids)


# --- the rules ---


def test_names_times_and_severities_are_those_of_the_alarms_for_prometheus() -> None:
    known: dict[str, tuple[float, str]] = {}
    for text in ALERTS.split("- alert: ")[1:]:
        held = re.search(r"for: (\d+)([smh])", text)
        seconds = 0 if held is None else int(held[1]) * {"s": 1, "m": 60, "h": 3600}[held[2]]
        severity = re.search(r"severity: (\w+)", text)
        assert severity is not None
        known[text.split()[0]] = seconds, severity[1]
    told = {rule.name: (rule.for_s, rule.severity) for rule in RULES}
    assert told == {name: known[name] for name in told}


def test_every_alarm_for_prometheus_is_told_or_has_its_reason_why_not() -> None:
    names = re.findall(r"- alert: (\w+)", ALERTS)
    told = [rule.name for rule in RULES]
    assert told == [name for name in names if name in told]
    assert sorted([*told, *UNTOLD]) == sorted(names)


def test_the_document_has_what_is_told_and_what_is_not() -> None:
    told, untold = DOCUMENT.split("\n| not told |")
    for text, names in ((told, [rule.name for rule in RULES]), (untold, list(UNTOLD))):
        rows = [line for line in text.splitlines() if line.startswith("| `Trishula")]
        assert [
            n for row in rows for n in re.findall(r"`(Trishula\w+)`", row.split("|")[1])
        ] == names


def buckets(**counts: int) -> tuple[int, ...]:
    """Of accept latencies: how many by the bound of their bucket, such as ``ms200=5``."""
    found = [0] * (len(SECONDS) + 1)
    for name, count in counts.items():
        found[SECONDS.index(int(name[2:]) / 1000)] = count
    return tuple(found)


WELL: dict[str, Any] = {"online": 100, "disk_free": 50, "disk_total": 100}
GB = 10**9


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, set()),
        ({"accept": buckets(ms50=100)}, set()),
        ({"accept": buckets(ms50=90, ms200=10)}, {"TrishulaSlow"}),
        ({"accept": buckets(ms50=90, ms500=10)}, {"TrishulaSlow", "TrishulaVerySlow"}),
        ({"lag": buckets(ms500=5)}, {"TrishulaLoopLag"}),
        ({"failed": 1}, {"TrishulaCommitsFail"}),
        ({"problem": "no room"}, {"TrishulaUnwell"}),
        ({"pending_s": 6.0}, {"TrishulaCommitStuck"}),
        ({"dead_letters": 10}, set()),
        ({"dead_letters": 11}, {"TrishulaDeadLetters"}),
        ({"messages": 10_000, "errors": 100}, set()),
        ({"messages": 10_000, "errors": 101}, {"TrishulaErrors"}),
        ({"messages": 300, "errors": 300}, set()),  # too few to say how many of them
        ({"delivered": 10_000, "redelivered": 500}, set()),
        ({"delivered": 10_000, "redelivered": 501}, {"TrishulaRedeliveries"}),
        ({"delivered": 600, "redelivered": 600}, set()),
        ({"fullest": ("dc", 80_000), "mailbox_limit": 100_000}, set()),
        ({"fullest": ("dc", 80_001), "mailbox_limit": 100_000}, {"TrishulaMailboxFull"}),
        ({"fullest": ("dc", 80_001), "mailbox_limit": 1_000_000}, set()),
        ({"failovers": 1}, set()),
        ({"failovers": 2}, {"TrishulaFailover"}),
        ({"resident": 2 * GB}, set()),
        ({"resident": 2 * GB + 1}, {"TrishulaMemory"}),
        ({"descriptors": (800, 1_000)}, set()),
        ({"descriptors": (801, 1_000)}, {"TrishulaDescriptors"}),
        ({"unproven": 300}, set()),
        ({"unproven": 301}, {"TrishulaForgedTokens"}),
        ({"ended": 100}, set()),
        ({"ended": 500}, {"TrishulaFlapping"}),
        ({"online": 79}, {"TrishulaAgentsMissing"}),
        ({"online": 80}, set()),
        ({"online": None}, set()),
        ({"led": False}, {"TrishulaNobodyLeads"}),
        ({"audit_lag_s": 61.0}, {"TrishulaAuditBehind"}),
        ({"mismatches": 1}, {"TrishulaAuditMismatch"}),
        ({"alarms": 1}, {"TrishulaAuditAlarm"}),
        ({"warnings": 1}, {"TrishulaStoreAtRisk"}),
        ({"disk_free": 9}, {"TrishulaDiskLow", "TrishulaDiskFills"}),
        ({"disk_total": 0, "disk_free": 0}, set()),
        ({"certificate_ends": START + 15 * 86_400}, set()),
        ({"certificate_ends": START + 13 * 86_400}, {"TrishulaCertificateEnds"}),
        ({"certificate_ends": START - 1}, {"TrishulaCertificateEnds"}),
    ],
)
def test_what_is_alarming(fields: dict[str, Any], names: set[str]) -> None:
    history = History()
    history.add(sample(0, **WELL))
    history.add(sample(300, **WELL))
    history.add(sample(600, **(WELL | fields)))
    found = {rule.name: what for rule in RULES if (what := rule.check(history)) is not None}
    assert set(found) == names


@pytest.mark.parametrize(
    ("an_hour", "alarming"), [(0, False), (GB, False), (3 * GB, False), (5 * GB, True)]
)
def test_a_disk_that_is_full_within_a_day_at_the_pace_of_six_hours_is_alarming(
    an_hour: int, alarming: bool
) -> None:
    history = History()
    for at in range(0, 8 * 3600, 10):
        # Not in a straight line: something is written, and now and then something is removed.
        wave = GB * (at // 600 % 2)
        left = 120 * GB - an_hour * at // 3600 - wave
        history.add(sample(at, online=1, disk_free=left, disk_total=500 * GB))
    [rule] = [rule for rule in RULES if rule.name == "TrishulaDiskFills"]
    assert (rule.check(history) is not None) is alarming


def test_a_hub_that_has_just_begun_is_compared_with_its_beginning() -> None:
    history = History()
    history.add(sample(0, **WELL, ended=10_000, dead_letters=10_000, accept=buckets(ms500=9)))
    assert all(rule.check(history) is None for rule in RULES)
