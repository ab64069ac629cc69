"""The whole life of one message, gathered from an archive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from trishula_broker.audit.reading import Archive, Record
from trishula_broker.audit.segment import LOCAL, TRAIL

_encode: Final = msgspec.json.Encoder().encode


class Moment(NamedTuple):
    """Something that happened to it."""

    at: str
    event: str
    who: str
    what: str


class Life:
    """One message: how it was accepted, and what became of each copy."""

    def __init__(self, accepted: Record) -> None:
        self.accepted = accepted
        self.moments: list[Moment] = [_acceptance(accepted)]

    @property
    def seq(self) -> int:
        """Its place in the log."""
        return int(self.accepted["seq"])

    def add(self, moments: Iterator[Moment]) -> None:
        """More of it. When it was delivered may be told twice: by itself, and once it is done."""
        self.moments += [moment for moment in moments if moment not in self.moments]

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "message": self.accepted,
            "moments": [moment._asdict() for moment in self.moments],
        }


def lives(archive: Archive, id_: str, namespace: str | None = None) -> list[Life]:
    """Every message with this id: ids are unique per sender only.

    Raises:
        OSError: a file cannot be read.
    """
    found: dict[tuple[str, int], Life] = {}
    quoted = _encode(id_)
    for line, record in archive.records(namespace, chain=TRAIL):
        event, space = record.get("event"), record.get("ns", "")
        if event == "accepted":
            if quoted not in line:
                continue
            if record["id"] == id_:
                found[space, record["seq"]] = Life(record)
            elif record.get("reply_to") == id_:
                for (ns, _), life in found.items():
                    if ns == space and record["from"] != life.accepted["from"]:
                        life.moments.append(_answer(record))
        elif found and "seqs" in record:
            for n, seq in enumerate(record["seqs"]):
                life_of = found.get((space, seq))
                if life_of is not None:
                    life_of.add(_moments(record, n))
    for life in found.values():
        life.moments.sort(key=lambda moment: moment.at)
    return list(found.values())


def refusals(archive: Archive, id_: str, namespace: str | None = None) -> Iterator[Record]:
    """Records of what was refused under this id.

    Raises:
        OSError: a file cannot be read.
    """
    for _, record in archive.records(namespace, needles=(_encode(id_),), chain=LOCAL):
        yield record


def _acceptance(record: Record) -> Moment:
    recipients = ", ".join(record["recipients"])
    if record.get("pool"):
        recipients = f"whoever offers {record['pool']}"
    what = f"for {recipients or 'nobody'}, by {record['node']}"
    if record.get("full"):
        what += f"; the mailbox was full of {', '.join(record['full'])}"
    return Moment(record["at"], "accepted", record["from"], what)


def _answer(record: Record) -> Moment:
    return Moment(record["at"], "answered", record["from"], f"{record['type']} {record['id']}")


def _moments(record: Record, n: int) -> Iterator[Moment]:
    event, at = record["event"], record["at"]
    agents = record.get("agents")
    who = agents[n] if agents else record.get("agent", "")
    times = record.get("delivered_at")
    if times and times[n] and event == "done":
        yield Moment(times[n], "delivered", who, "")
    what = record.get("reason") or ""
    if event == "requeued":
        what = f"after {record['attempts'][n]} attempts, again at {record['due_at'][n]}"
    elif event == "read":
        what = f"its lease is {record['lease_ms']} ms"
    elif record.get("answer") or record.get("answers"):
        what = f"by an answer, seq {record.get('answer') or record['answers'][n]}"
    yield Moment(times[n] if times and event == "delivered" else at, event, who, what)
