"""The life of a message is found in records that tell of many."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.support.trails import START, accept, archive, settle, writer
from trishula_broker.audit.life import Moment, lives
from trishula_broker.audit.reading import Archive
from trishula_broker.audit.times import iso
from trishula_broker.store import base
from trishula_broker.store.trail import Entry


def test_a_copy_is_found_among_those_of_others(tmp_path: Path) -> None:
    first, second = accept(1), accept(2)
    indra = base.Settle("indra", 2, (2,), (START + 7,)), base.Marked((2,), ())
    answers = [
        (replace(op, settles=seq), to) for seq, (op, to) in ((8, accept(11)), (9, accept(12)))
    ]
    one = writer(tmp_path)
    archive(one, [Entry(1, START, "n1", (first, second, accept(8), accept(9)))])
    archive(one, [Entry(2, START + 9, "n1", (settle(1), indra, *answers))])
    one.close()
    found = Archive(tmp_path, None, pytest.fail)
    [life] = lives(found, "m2")
    at = iso(START + 9)
    assert life.moments[-2:] == [
        Moment(iso(START + 7), "delivered", "indra", ""),
        Moment(at, "done", "indra", ""),
    ]
    [life] = lives(found, "m9")
    assert life.moments[-1] == Moment(at, "done", "dc", "by an answer, seq 12")


def test_what_was_delivered_is_said_once_and_with_an_answer_too(tmp_path: Path) -> None:
    asked = replace(accept(1)[0], sender="agni"), accept(1)[1]
    noted = base.Delivered("dc", 1, ((1, START + 5),)), base.Marked((1,), ())
    answer = replace(accept(2)[0], settles=1, delivered_at=START + 5), accept(2)[1]
    for n, entries in enumerate([((asked,), (answer,)), ((asked,), (noted,), (answer,))]):
        one = writer(tmp_path / str(n))
        archive(one, [Entry(pos, START + pos * 9, "n1", done) for pos, done in enumerate(entries)])
        one.close()
        [life] = lives(Archive(tmp_path / str(n), None, pytest.fail), "m1")
        events = [(moment.event, moment.at) for moment in life.moments]
        assert events.count(("delivered", iso(START + 5))) == 1
        assert [event for event, _ in events] == ["accepted", "delivered", "done"]
