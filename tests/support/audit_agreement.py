"""Whether an archive says of a run what its agents say, message by message.

Nothing that an agent was told or handed may be missing from the trail, nothing may be in it twice,
and nothing may be in it that nobody sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support import history
from trishula_broker.audit import verify
from trishula_broker.audit.heads import FILE, NodeKey
from trishula_broker.audit.reading import Archive
from trishula_broker.audit.segment import TRAIL
from trishula_broker.store.sqlite.archivers import archivers_in

Copy = tuple[str, int]
"""A recipient and a seq."""


def assert_agrees(data: Path, events: Iterable[history.Event]) -> int:
    """The archive in ``data`` and a whole history agree; how many messages they agree on.

    Raises:
        AssertionError: with what differs.
    """
    events = list(events)
    store = verify.Store(archivers_in(data), kid=NodeKey.load(data / FILE).kid)
    reports = verify.verify(data / "audit", store)
    findings = [str(finding) for report in reports for finding in report.findings]
    assert not findings, findings

    accepted: dict[tuple[str, str], dict[str, Any]] = {}
    done: Counter[Copy] = Counter()
    ended: Counter[Copy] = Counter()
    positions: list[int] = []
    for _, record in Archive(data / "audit", None, _fail).records(chain=TRAIL):
        if "pos" in record and record["event"] != "segment":
            positions.append(record["pos"])
        if record["event"] == "accepted":
            key = (record["from"], record["id"])
            assert key not in accepted, f"{key} was accepted twice: {record}"
            accepted[key] = record
        elif record["event"] == "done":
            seqs = record["seqs"]
            agents = record.get("agents") or [record["agent"]] * len(seqs)
            done.update(zip(agents, seqs, strict=True))
        elif record["event"] in ("rejected", "expired", "dead-lettered", "recalled"):
            ended.update((record["agent"], seq) for seq in record["seqs"])
    assert positions == sorted(positions)
    assert set(positions) == set(range(1, positions[-1] + 1)), "entries are missing"
    assert not [copy for copy, times in done.items() if times > 1], "done twice"

    sent = {(event.agent, event.id) for event in events if isinstance(event, history.Sent)}
    told = {(event.agent, event.id) for event in events if isinstance(event, history.Accepted)}
    own = {key for key in accepted if key[0] == "hub"}
    assert told <= accepted.keys(), f"not in the trail: {sorted(told - accepted.keys())[:5]}"
    extra = accepted.keys() - sent - own
    assert not extra, f"in the trail, and sent by nobody: {sorted(extra)[:5]}"
    for event in events:
        if isinstance(event, history.Handed):
            record = accepted[event.sender, event.id]
            assert record["seq"] == event.seq, (event, record)
            assert record["priority"] == event.priority
            # Mail for a capability is given to another where its first recipient stays away.
            moves = record.get("pool") or record["to"].startswith("@")
            assert event.agent in record["recipients"] or moves, (event, record)
        elif isinstance(event, history.Settled):
            copy = (event.agent, accepted[event.sender, event.id]["seq"])
            assert done[copy] or ended[copy], f"settled, and not in the trail: {event}"
    return len(told)


def _fail(text: str) -> None:
    raise AssertionError(text)
