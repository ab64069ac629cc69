"""Figures of an archive: what records come to."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from trishula_broker.audit.chain import Link, extend
from trishula_broker.audit.reading import Archive
from trishula_broker.audit.segment import LOCAL, TRAIL, ChainName, file_name
from trishula_broker.audit.times import iso
from trishula_broker.report.latency import Histogram
from trishula_broker.report.make import make_report
from trishula_broker.report.shapes import Report
from trishula_broker.report.uptime import JOIN_MS, Wellness

BEGIN = 1_763_596_800_000  # 2025-11-20, midnight
HOUR = 3_600_000
MINUTE = 60_000
DAY = 24 * HOUR
Json = dict[str, Any]


def archive(root: Path, records: Iterable[Json]) -> Archive:
    """An archive with these records, each in the chain it belongs to."""
    trail = {"accepted", "done", "expired", "dead-lettered", "rejected", "registered", "forgotten"}
    chains: dict[ChainName, list[bytes]] = {}
    for record in sorted(records, key=lambda each: each["at"]):
        name = ChainName(TRAIL, "default") if record["event"] in trail else ChainName(LOCAL)
        shown = record | {"at": iso(BEGIN + record["at"])}
        shown.setdefault("ns", "default" if name.kind == TRAIL else "")
        shown.setdefault("node", "hub")
        chains.setdefault(name, []).append(msgspec.json.encode(shown)[1:-1])
    for name, lines in chains.items():
        folder = name.folder(root)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / file_name(1, False, False, packed=False)
        path.write_bytes(b"".join(extend(Link(), lines)[1]))
    return Archive(root, None, print)


def report(root: Path, records: Iterable[Json], since: int = 0, until: int = DAY) -> Report:
    return make_report([archive(root, records)], None, BEGIN + since, BEGIN + until)


def pulses(begin: int, end: int, step: int = 10 * MINUTE, **more: Any) -> list[Json]:
    """A hub that begins to serve, and is well until it is killed; a pulse each ``step``."""
    started = {"at": begin, "event": "pulse", "ms": 0, "well_ms": 0}
    return [
        started,
        *(
            {"at": at, "event": "pulse", "ms": step, "well_ms": step, **more}
            for at in range(begin + step, end + 1, step)
        ),
    ]


def message(at: int, sender: str = "dc", to: tuple[str, ...] = ("agni",), **more: Any) -> Json:
    told = {"at": at, "event": "accepted", "from": sender, "recipients": to, "type": "COMMAND"}
    return told | {"size": 100, "seq": at, "id": f"m{at}"} | more


def ended(at: int, event: str, *seqs: int, reason: str = "") -> Json:
    return {"at": at, "event": event, "agent": "agni", "seqs": seqs, "reason": reason}


# --- mail ---


def test_volumes_are_told_by_agent_and_type(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        [
            message(1, "dc", ("agni", "vayu")),
            message(2, "dc", type="RESULT", size=50),
            message(3, "agni", ("dc",)),
            ended(4, "done", 1, 2),
        ],
    ).messages
    assert (found.accepted, found.copies, found.bytes, found.done) == (3, 4, 250, 2)
    assert found.by_type == {"COMMAND": 2, "RESULT": 1}
    agents = {each.agent: (each.sent, each.received, each.bytes) for each in found.by_agent}
    assert agents == {"dc": (2, 1, 150), "agni": (1, 2, 100), "vayu": (0, 1, 0)}
    [dc] = [each for each in found.by_agent if each.agent == "dc"]
    assert dc.by_type == {"COMMAND": 1, "RESULT": 1}


def test_what_expired_or_was_given_up_is_lost_and_what_was_rejected_is_not(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        [
            *(message(n) for n in range(100)),
            ended(200, "expired", 1),
            ended(201, "dead-lettered", 2, reason="given up after 5 attempts"),
            ended(202, "rejected", 3, reason="no"),
        ],
    ).undelivered
    assert (found.expired, found.given_up, found.rejected, found.loss) == (1, 1, 1, 0.02)
    assert found.reasons["dead-lettered: given up after 5 attempts"] == 1


def test_only_what_is_within_the_period_counts(tmp_path: Path) -> None:
    records = [message(at) for at in (HOUR - 1, HOUR, 2 * HOUR - 1, 2 * HOUR)]
    found = report(tmp_path, records, HOUR, 2 * HOUR)
    assert found.messages.accepted == 2
    assert sum(found.steps.accepted) == 2
    assert found.steps.at[0] == iso(BEGIN + HOUR)


def test_a_day_is_told_hour_by_hour_and_a_week_day_by_day(tmp_path: Path) -> None:
    records = [message(at) for at in (0, HOUR + 1, HOUR + 2, 3 * DAY)]
    day = report(tmp_path / "a", records).steps
    assert day.seconds * len(day.at) == 24 * 3600
    assert sum(day.accepted[: 3600 // day.seconds]) == 1
    week = report(tmp_path / "b", records, 0, 7 * DAY).steps
    assert sum(week.accepted) == 4
    assert len(week.at) <= 200


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        [
            message(1),
            message(2, size="much", recipients=7),
            {"at": 3, "event": "pulse", "ms": "x", "accept_s": 5},
            {"at": 4, "event": "refused", "count": None},
        ],
    )
    assert [each.agent for each in found.messages.by_agent] == ["dc", "agni"]
    assert found.messages.accepted == 1


def test_agents_beyond_those_told_apart_are_counted(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("trishula_broker.report.volumes.NAMES", 3)
    found = report(tmp_path, [message(n, f"cli-{n}") for n in range(10)]).messages
    assert (len(found.by_agent), found.accepted) == (3, 10)
    assert found.agents_not_named > 0


def test_of_other_archives_only_what_their_hubs_saw_counts(tmp_path: Path) -> None:
    def lost(node: str) -> Json:
        told = {"at": 5, "event": "disconnected", "agent": node, "session": node, "node": node}
        return told | {"why": "connection lost", "code": None}

    one = archive(tmp_path / "one", [message(1), lost("n1")])
    other = archive(tmp_path / "other", [message(1), lost("n2")])
    found = make_report([one, other], None, BEGIN, BEGIN + DAY)
    assert (found.messages.accepted, found.disconnects.total) == (1, 2)


# --- uptime ---


def test_without_pulses_uptime_is_unknown(tmp_path: Path) -> None:
    found = report(tmp_path, [message(1)])
    assert (found.uptime.share, found.uptime.known_seconds) == (None, 0)
    assert set(found.steps.uptime) == {None}


def test_a_hub_that_is_well_all_day_has_all_of_it(tmp_path: Path) -> None:
    assert report(tmp_path, pulses(-HOUR, DAY - MINUTE, MINUTE)).uptime.share == 1.0


def test_time_without_a_pulse_is_down_and_before_the_first_it_is_unknown(tmp_path: Path) -> None:
    records = [*pulses(2 * HOUR, 10 * HOUR), *pulses(12 * HOUR, DAY + MINUTE // 2)]
    found = report(tmp_path, records).uptime
    assert found.known_since == iso(BEGIN + 2 * HOUR)
    assert found.known_seconds == 22 * 3600
    assert found.well_seconds == 20 * 3600
    [down] = found.longest_down
    assert (down.since, down.seconds, down.why) == (iso(BEGIN + 10 * HOUR), 7200, "")


def test_a_hub_that_was_dead_all_day_was_down_all_day(tmp_path: Path) -> None:
    found = report(tmp_path, pulses(-2 * HOUR, -HOUR)).uptime
    assert (found.share, found.known_seconds) == (0.0, 24 * 3600)


def test_a_hub_that_was_not_well_says_why(tmp_path: Path) -> None:
    unwell = {"at": HOUR + 30_000, "event": "pulse", "ms": 30_000, "well_ms": 10_000}
    records = [
        *pulses(-HOUR, HOUR),
        unwell | {"why": "no room"},
        *pulses(HOUR + 30_000, DAY, 30_000)[1:],
    ]
    [down] = report(tmp_path, records).uptime.longest_down
    assert (down.seconds, down.why) == (20, "no room")


def test_what_another_hub_served_meanwhile_is_no_downtime(tmp_path: Path) -> None:
    one = [each | {"node": "n1"} for each in pulses(0, 10 * HOUR)]
    other = [each | {"node": "n2"} for each in pulses(9 * HOUR, DAY)]
    found = report(tmp_path, [*one, *other])
    assert (found.uptime.share, found.nodes) == (1.0, ["n1", "n2"])


stretch = st.tuples(st.integers(0, 200), st.integers(0, 60), st.integers(0, 60))


@settings(max_examples=200)
@given(st.lists(stretch, max_size=12))
def test_stretches_and_gaps_share_the_period(given_: list[tuple[int, int, int]]) -> None:
    wellness = Wellness()
    for at, length, well in given_:
        begin = at * 100_000
        ms = length * 100_000
        wellness.pulse(begin + ms, ms, min(well, length) * 100_000, "why" if well % 2 else "")
    end = 30_000_000
    stretches = wellness.between(0, end)
    gaps = sorted(wellness.gaps(0, end))
    told = sum(b - a for a, b in stretches) + sum(g.end - g.begin for g in gaps)
    assert end - 2 * JOIN_MS <= told <= end  # but for a moment at either end
    assert all(b + JOIN_MS < a for (_, b), (a, _) in pairwise(stretches))


# --- latency ---


def test_latencies_of_all_pulses_are_one_histogram(tmp_path: Path) -> None:
    told: dict[str, Any] = {
        "accept_s": {"0.001": 98, "0.5": 1},
        "delivery_s": {"0.002": 4, "inf": 1},
    }
    found = report(tmp_path, pulses(0, 20 * MINUTE, **told))
    assert found.latency.accept.count == 198
    assert 1 < (found.latency.accept.p99_ms or 0) <= 500
    assert found.latency.delivery.p99_ms == 2.0  # beyond the last bound that bound is told
    assert sum(value is not None for value in found.steps.delivery_p50_ms) == 2


def test_values_beyond_the_last_bound_count_as_that_bound() -> None:
    found = Histogram()
    assert found.quantile_ms(0.5) is None
    found.add({"inf": 3})
    assert found.quantile_ms(0.5) == 0.0
    found.add({"0.1": 1})
    assert (found.quantile_ms(0.2), found.quantile_ms(0.99)) == (80.0, 100.0)


@given(st.dictionaries(st.sampled_from(("0.001", "0.01", "0.2", "0.5")), st.integers(1, 99)))
def test_quantiles_are_in_order_and_within_the_bounds(told: dict[str, int]) -> None:
    histogram = Histogram()
    histogram.add(told)
    half, tail = histogram.quantile_ms(0.5), histogram.quantile_ms(0.99)
    if not told:
        assert (half, tail) == (None, None)
    else:
        assert half is not None
        assert tail is not None
        assert 0 < half <= tail <= 1000 * max(map(float, told))


# --- sessions ---


def session(at: int, name: str, agent: str = "agni", node: str = "hub") -> Json:
    return {
        "at": at,
        "event": "registered",
        "agent": agent,
        "session": name,
        "receive": True,
        "node": node,
    }


def gone(at: int, name: str, why: str, code: int | None = None, agent: str = "agni") -> Json:
    told = {"at": at, "event": "disconnected", "agent": agent, "session": name}
    return told | {"why": why, "code": code, "peer": "10.0.0.1:5000"}


def test_an_agent_that_was_cut_off_is_away_until_it_registers_anywhere(tmp_path: Path) -> None:
    records = [
        session(0, "s1"),
        gone(HOUR, "s1", "connection lost"),
        session(3 * HOUR, "s2", node="other"),
        gone(4 * HOUR, "s2", "nothing heard for two heartbeats", 4408),
    ]
    not_back, back = report(tmp_path, records).away
    assert (back.who, back.seconds, back.back) == ("agni", 2 * 3600, True)
    assert (not_back.seconds, not_back.back, not_back.why) == (20 * 3600, False, "by the hub: 4408")


def test_who_left_was_taken_over_or_forgotten_is_not_away(tmp_path: Path) -> None:
    records = [
        session(0, "s1", "a"),
        gone(1, "s1", "closed by the peer: 1000", agent="a"),
        session(2, "s2", "b"),
        session(3, "s3", "b"),
        gone(4, "s2", "a newer registration took over", 4409, agent="b"),
        session(5, "s4", "c"),
        gone(6, "s4", "connection lost", agent="c"),
        {"at": 7, "event": "forgotten", "agent": "c"},
        gone(8, "side", "connection lost", agent="d"),
    ]
    found = report(tmp_path, records)
    assert found.away == []
    assert found.disconnects.by_kind == {
        "connection lost": 2,
        "by the agent": 1,
        "by the hub: 4409": 1,
    }


def test_agents_of_a_hub_that_died_are_away_since_it_was_heard_last(tmp_path: Path) -> None:
    records = [
        *pulses(0, HOUR),
        session(5, "s1"),
        *pulses(3 * HOUR, DAY),
        session(4 * HOUR, "s2"),
    ]
    [away] = report(tmp_path, records).away
    assert (away.since, away.seconds, away.why) == (iso(BEGIN + HOUR), 3 * 3600, "its hub died")


def test_who_is_turned_away_again_and_again_is_told_by_address(tmp_path: Path) -> None:
    def turned(at: int, peer: str) -> Json:
        told = {"at": at, "event": "refused", "what": "upgrade", "reason": "expired", "status": 401}
        return told | {"peer": peer, "count": 2}

    records = [turned(n * 10 * MINUTE, "10.0.0.7:4000") for n in range(10)]
    records += [turned(0, "10.0.0.8:1"), turned(5 * HOUR, "10.0.0.8:2")]
    found = report(tmp_path, records)
    assert found.errors.turned_away == {"upgrade: expired": 24}
    [away] = found.away
    assert (away.who, away.seconds) == ("somebody at 10.0.0.7", 90 * 60)


def test_errors_are_counted_by_code(tmp_path: Path) -> None:
    records = [
        {"at": n, "event": "refused", "code": code, "count": count, "agent": "dc"}
        for n, (code, count) in enumerate((("forbidden", 1), ("forbidden", 4), ("too_large", 1)))
    ]
    assert report(tmp_path, records).errors.told == {"forbidden": 5, "too_large": 1}
