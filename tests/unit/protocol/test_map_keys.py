"""Maps whose keys are no text are found before they are made."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.protocol.reference import pack
from tests.unit.protocol.values import json_values, msgpack_values, nested
from trishula_protocol.codec import MSGPACK
from trishula_protocol.errors import ProtocolError
from trishula_protocol.map_keys import HARMLESS_BYTES, keys_are_text
from trishula_protocol.payload import find_fault, survey, to_json_value

keys: st.SearchStrategy[Any] = st.one_of(
    st.text(max_size=40),
    st.integers(-(2**63), 2**64 - 1),
    st.binary(max_size=3),
    st.none() | st.booleans() | st.floats(),
    st.tuples(st.integers(0, 9), st.text(max_size=3)),
)
sized: st.SearchStrategy[Any] = st.one_of(
    st.integers(0, 2**16).map(bytes),
    st.builds(msgpack.ExtType, st.integers(0, 9), st.integers(0, 300).map(bytes)),
)
values: st.SearchStrategy[Any] = st.recursive(
    keys | sized,
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(keys, inner, max_size=20),
    max_leaves=30,
)


@given(values)
def test_it_agrees_with_a_decoder(value: Any) -> None:
    packed = pack(value)
    found: list[bool] = []

    def pairs(of: list[tuple[Any, Any]]) -> None:
        found.extend(isinstance(key, str) for key, _ in of)

    msgpack.unpackb(packed, object_pairs_hook=pairs, strict_map_key=False, use_list=False)
    assert keys_are_text(packed) is all(found)


@given(json_values)
def test_json_values_have_text_keys(value: Any) -> None:
    assert keys_are_text(pack(value))


@given(st.binary(max_size=200))
def test_any_bytes_are_borne(data: bytes) -> None:
    keys_are_text(data)


@pytest.mark.parametrize("field", ["payload", "headers", "id", "unknown"])
@pytest.mark.parametrize("key", [1, b"k", (1, 2), 1.5, None])
def test_large_maps_with_other_keys_are_refused_unmade(field: str, key: Any) -> None:
    bad = {"list": ["x" * HARMLESS_BYTES, {key: {"k": 1}}]}
    fields = {"type": "STATUS", "id": "bad", "to": "agni", "payload": 1}
    [refusal] = MSGPACK.decode(pack({**fields, field: bad}))
    assert isinstance(refusal, ProtocolError)
    assert refusal.message == f"{field}: keys must be strings"
    assert refusal.reply_to == (None if field == "id" else "bad")


@given(values | msgpack_values | st.integers(60, 70).map(lambda deep: nested(deep, b"x")))
def test_a_survey_agrees_with_the_walk_that_names_faults(value: Any) -> None:
    value = msgspec.msgpack.decode(pack(value))
    clean, binary = survey(value)
    assert clean is (find_fault(value) is None)
    if clean:
        assert (to_json_value(value) == value) is not binary
