"""From arguments to bytes: what may be sent and what is refused, with its path."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trishula.compose import compose, compose_plain
from trishula_protocol.codec import JSON
from trishula_protocol.envelope import Envelope
from trishula_protocol.payload import find_fault, same_value

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
)


def written(payload: Any) -> Any:
    (found,) = JSON.decode(compose("i", 0, "STATUS", "agni", payload))
    assert isinstance(found, Envelope)
    return found.payload


@given(JSON_VALUES)
def test_every_json_value_arrives_as_it_was(payload: Any) -> None:
    assert same_value(written(payload), payload)


ANY_VALUES = st.one_of(
    JSON_VALUES,
    st.floats(),
    st.integers(-(2**65), 2**65),
    st.binary(max_size=3),
    st.just("\udc80"),
    st.tuples(st.integers()),
)
ANY_PAYLOADS = ANY_VALUES | st.dictionaries(
    st.text(max_size=3) | st.integers() | st.none(), ANY_VALUES, max_size=20
)


def outcome(compose: Callable[..., bytes], *args: Any) -> bytes | tuple[type[Exception], str]:
    try:
        return compose(*args)
    except (ValueError, TypeError) as error:
        return type(error), str(error)


@given(
    ANY_PAYLOADS,
    st.sampled_from(["STATUS", "COMMAND", "RESULT", "nothing"]),
    st.sampled_from(["agni", "#ops", "@review", "broadcast", "hub", "A", 7]),
)
def test_the_quick_way_writes_and_refuses_as_the_other_does(
    payload: Any, type: str, to: Any
) -> None:
    args = ("i", 7, type, to, payload)
    assert outcome(compose_plain, *args) == outcome(compose, *args)


@given(JSON_VALUES)
def test_what_is_written_is_what_the_codec_writes(payload: Any) -> None:
    envelope = Envelope("STATUS", "i", to="agni", timestamp=7, payload=payload)
    assert compose("i", 7, "STATUS", "agni", payload) == JSON.encode(envelope)


def listed(value: Any) -> Any:
    """``value`` with lists for tuples."""
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return [listed(item) for item in value] if isinstance(value, list | tuple) else value


@given(ANY_PAYLOADS)
def test_what_is_sent_is_what_comes_back(payload: Any) -> None:
    sent = outcome(compose, "i", 7, "STATUS", "agni", payload)
    if isinstance(sent, bytes):
        (found,) = JSON.decode(sent)
        assert isinstance(found, Envelope)
        assert found.payload == listed(payload)
        assert find_fault(found.payload) is None


@given(JSON_VALUES, st.sampled_from([math.nan, math.inf, -math.inf, 2**64, "\udc80", object()]))
def test_one_bad_value_anywhere_is_named(payload: Any, bad: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"payload\.x\[1\]"):
        compose("i", 0, "STATUS", "agni", {"x": [payload, bad]})


def test_null_beside_other_values_is_no_fault() -> None:
    @dataclasses.dataclass
    class Point:
        x: float | None

    assert written([None, Point(None), dt.date(2026, 1, 2), (1, 2)]) == [
        None,
        {"x": None},
        "2026-01-02",
        [1, 2],
    ]
    with pytest.raises(ValueError, match=r"payload\[0\]\.x: numbers must be finite"):
        written([Point(math.nan)])


@pytest.mark.parametrize("depth", [64, 65, 5_000])
def test_depth_is_bounded(depth: int) -> None:
    payload: Any = 0
    for _ in range(depth):
        payload = [payload]
    if depth == 64:
        assert same_value(written(payload), payload)
    else:
        with pytest.raises(ValueError, match="nested deeper than 64"):
            written(payload)


def test_a_payload_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested deeper than 64"):
        written(loop)


def test_all_fields_are_written_in_the_units_of_the_wire() -> None:
    body = compose(
        "i", 7, "RESULT", "@review", 1, 2, 1.5, "r", "t", {"traceparent": "x"}, True, settles=9
    )
    (found,) = JSON.decode(body)
    assert found == Envelope(
        "RESULT",
        id="i",
        to="@review",
        timestamp=7,
        payload=1,
        priority=2,
        ttl=1_500,
        reply_to="r",
        thread="t",
        headers={"traceparent": "x"},
        receipt=True,
        settles=9,
    )


def test_an_address_must_be_text() -> None:
    with pytest.raises(TypeError, match="to: must be a string, not int"):
        compose("i", 0, "STATUS", 7, None)  # type: ignore[arg-type]


def test_what_would_not_arrive_as_it_is_is_refused_with_its_path() -> None:
    with pytest.raises(TypeError, match=r"payload\.a: bytes are not a JSON value"):
        written({"a": b"x"})
    with pytest.raises(TypeError, match="payload: keys must be strings, not int"):
        written({1: 2})


def test_tuples_and_dates_are_written_as_plain_values() -> None:
    day = dt.date(2026, 2, 10)
    assert written({"t": (1, 2), "d": day}) == {"t": [1, 2], "d": "2026-02-10"}
