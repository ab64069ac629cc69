"""What §2 of docs/protocol.md allows, as Hypothesis strategies."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from trishula_protocol import limits
from trishula_protocol.envelope import AUTH, Envelope
from trishula_protocol.payload import BASE64_KEY

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
border_integers = st.sampled_from(
    [
        limits.INTEGER_MIN,
        limits.INTEGER_MIN + 1,
        -(2**53) - 1,
        -(2**31) - 1,
        -129,
        -33,
        -1,
        0,
        127,
        128,
        2**53 + 1,
        2**63 - 1,
        2**63,
        limits.INTEGER_MAX,
    ]
)
integers = border_integers | st.integers(limits.INTEGER_MIN, limits.INTEGER_MAX)
floats = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [-0.0, 1e22, 1e16, 5e-324, 1.7976931348623157e308, 0.1, 2.0**53, 2.0**64]
)
scalars = st.none() | st.booleans() | integers | floats | texts


def _nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    # A key of BASE64_KEY alone means bytes, and is made as such where bytes are wanted.
    keys = texts.filter(lambda key: key != BASE64_KEY)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
        max_leaves=20,
    )


json_values = _nested(scalars)
"""Payloads that mean the same in both encodings."""
msgpack_values = _nested(scalars | st.binary(max_size=20))
"""Payloads as MessagePack has them, with ``bin``."""

ids = st.from_regex(r"[A-Za-z0-9._:-]{1,128}", fullmatch=True)
names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
_header_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
headers = st.dictionaries(_header_names.filter(lambda name: name != AUTH), texts, max_size=4)
"""Without the one that is the hub's alone."""


@st.composite
def envelopes(draw: st.DrawFn, payloads: st.SearchStrategy[Any] = json_values) -> Envelope:
    """Any envelope that a client may send."""
    kind = draw(st.sampled_from(["COMMAND", "STATUS", "RESULT", "ERROR"]))
    answers = kind in ("RESULT", "ERROR")
    return Envelope(
        kind,  # type: ignore[arg-type]
        id=draw(ids),
        sender=draw(st.none() | names),
        to=draw(names),
        timestamp=draw(st.none() | st.integers(-(2**53), 2**53)),
        priority=draw(st.integers(1, 5)),
        reply_to=draw(ids if answers else st.none() | ids),
        ttl=draw(st.none() | st.integers(1, limits.TTL_MAX)),
        receipt=draw(st.booleans()),
        thread=draw(st.none() | ids),
        headers=draw(headers),
        settles=draw(st.none() | st.integers(1, 2**53)) if answers else None,
        payload=draw(payloads),
    )


def nested(depth: int, inside: Any = 1, *, mapping: bool = False) -> Any:
    """``inside`` in so many arrays, or objects."""
    for _ in range(depth):
        inside = {"k": inside} if mapping else [inside]
    return inside
