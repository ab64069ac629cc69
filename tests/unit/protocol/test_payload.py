"""What a payload may be, and when two are the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.protocol.values import json_values, nested
from trishula_protocol import limits
from trishula_protocol.payload import FEW, find_fault, payload_fault, same_value

BAD: list[tuple[Any, str]] = [
    (2**64, "payload: integers"),
    (-(2**63) - 1, "payload: integers"),
    ([0, {"a": 2**64}], "payload[1].a: integers"),
    (10**4000, "payload: integers"),
    (nested(65), "nested deeper than 64"),
    (nested(65, mapping=True), "nested deeper than 64"),
    (nested(900), "nested deeper than 64"),
    ({"k": nested(64)}, "payload.k[0]"),
]


@pytest.mark.parametrize(("payload", "says"), BAD, ids=lambda value: str(value)[:20])
def test_the_quick_check_finds_what_json_can_smuggle(payload: Any, says: str) -> None:
    encoded = msgspec.json.encode(payload)
    for found in (payload_fault(payload, encoded), find_fault(payload)):
        assert found is not None
        assert says in found


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (float("nan"), "payload: numbers must be finite"),
        ([float("inf")], "payload[0]: numbers must be finite"),
        ({"a": {"b": "\ud800"}}, "payload.a.b: not valid Unicode"),
        ({"\udfff": 1}, "payload: a key is not valid Unicode"),
        ({1: 1}, "payload: keys must be strings, not int"),
        ([{1, 2}], "payload[0]: set is not a JSON value"),
    ],
    ids=str,
)
def test_the_walk_finds_what_no_json_decoder_makes(payload: Any, says: str) -> None:
    assert (find_fault(payload) or "").startswith(says)


def test_depth_counts_containers_not_leaves() -> None:
    for payload in (nested(64), nested(64, mapping=True), nested(63, {}), nested(63, [])):
        assert find_fault(payload) is None
        assert payload_fault(payload, msgspec.json.encode(payload)) is None
    # Brackets in a string are no nesting.
    assert payload_fault("[" * 1000, msgspec.json.encode("[" * 1000)) is None
    assert find_fault(nested(3), "details", depth=2) == "details[0][0]: nested deeper than 2"


@given(json_values)
def test_what_is_allowed_has_no_fault(payload: Any) -> None:
    assert payload_fault(payload, msgspec.json.encode(payload)) is None
    assert find_fault(payload) is None


@given(
    st.dictionaries(
        st.text(max_size=3),
        json_values
        | st.integers(-(2**65), 2**65)
        | st.sampled_from([2**64, -(2**63) - 1, nested(64), nested(63)]),
        max_size=FEW + 2,
    )
)
def test_a_few_fields_are_judged_as_a_walk_judges_them(payload: dict[str, Any]) -> None:
    found = payload_fault(payload, msgspec.json.encode(payload))
    assert found == find_fault(payload)


# --- equality ---


@given(json_values)
def test_a_value_is_the_same_as_itself_through_json(value: Any) -> None:
    assert same_value(value, msgspec.json.decode(msgspec.json.encode(value)))


@given(json_values, json_values)
def test_equality_goes_both_ways(a: Any, b: Any) -> None:
    assert same_value(a, b) is same_value(b, a)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=4))
def test_the_order_of_an_objects_keys_is_no_difference(value: dict[str, Any]) -> None:
    assert same_value(value, dict(reversed(value.items())))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1, 1.0, True),
        (0, -0.0, True),
        (2**53, float(2**53), True),
        (2**53 + 1, float(2**53), False),
        (limits.INTEGER_MAX, float(2**64), False),
        (True, 1, False),
        (False, 0, False),
        (True, True, True),
        (None, 0, False),
        (None, False, False),
        ("1", 1, False),
        ("", None, False),
        ([], {}, False),
        ([1, 2], [2, 1], False),
        ([1], [1, 1], False),
        ({"a": True}, {"a": 1}, False),
        ({"a": None}, {}, False),
        ("é", "e\u0301", False),
        ([[1.0]], [[1]], True),
    ],
)
def test_what_is_the_same(a: Any, b: Any, same: bool) -> None:
    assert same_value(a, b) is same
