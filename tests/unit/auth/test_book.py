"""What the list of tokens amounts to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.auth.making import NOW, identity
from trishula_broker.auth.book import Book
from trishula_broker.auth.ledger import Entry, Issued, Revoked
from trishula_broker.auth.revocations import Revocations


def of(subject: str, token_id: str, expires_at: int | None, issued_at: int = NOW) -> Issued:
    return Issued.of(identity(subject, "default", "agent", token_id, issued_at, expires_at), "k1")


@pytest.mark.parametrize(
    ("entries", "valid"),
    [
        ([of("dc", "a", NOW + 1)], ["a"]),
        ([of("dc", "a", None)], ["a"]),
        ([of("dc", "a", NOW - 60_000)], []),
        ([of("dc", "a", NOW - 59_999)], ["a"]),
        ([of("dc", "a", None), Revoked(at=NOW, ns="default", jti="a")], []),
        ([of("dc", "a", None), Revoked(at=NOW, ns="other", jti="a")], ["a"]),
        (
            [
                of("dc", "a", None, NOW - 1),
                of("agni", "b", None, NOW - 1),
                Revoked(at=NOW, ns="default", agent="dc", before=NOW),
                of("dc", "c", None, NOW),
            ],
            ["b", "c"],
        ),
    ],
)
def test_tokens_that_a_hub_may_take(entries: list[Entry], valid: list[str]) -> None:
    assert [each.jti for each in Book(entries).valid(NOW)] == valid


TOKENS = st.builds(
    of,
    st.sampled_from(["dc", "agni"]),
    st.sampled_from("abcd"),
    st.none() | st.integers(NOW, NOW + 100),
    st.integers(NOW - 100, NOW),
)
ENTRIES = st.lists(
    TOKENS
    | st.builds(
        Revoked,
        at=st.integers(NOW - 100, NOW),
        ns=st.just("default"),
        jti=st.sampled_from("abcd"),
    )
    | st.builds(
        Revoked,
        at=st.integers(NOW - 100, NOW),
        ns=st.just("default"),
        agent=st.sampled_from(["dc", "agni"]),
        before=st.integers(NOW - 100, NOW + 10),
    )
)


def revocations(entries: list[Entry]) -> Revocations:
    """What a hub that reads the list goes by."""
    found = Revocations()
    for each in entries:
        if isinstance(each, Revoked):
            if each.jti is not None:
                found.revoke_token(each.ns, each.jti, each.until)
            if each.agent is not None:
                found.revoke_agent(each.ns, each.agent, each.before, each.until)
    return found


@given(ENTRIES)
def test_what_is_revoked_is_the_same_to_commands_and_to_hubs(entries: list[Entry]) -> None:
    book, hub = Book(entries), revocations(entries)
    for token in book.tokens:
        assert (book.revoked_at(token) is not None) == hub.is_revoked(token.identity())


@given(ENTRIES, st.sampled_from(["dc", "agni"]), st.integers(NOW - 200, NOW + 200))
def test_revoking_an_agent_takes_all_its_tokens_and_none_made_later(
    entries: list[Entry], agent: str, now: int
) -> None:
    """Whatever the clock says, which may have been set back."""
    book = Book(entries)
    after = [*entries, *book.revoke_agent(agent, "default", now)]
    assert not [each for each in Book(after).valid(0) if each.sub == agent]
    new = of(agent, "new", None, Book(after).issued_from("default", agent))
    assert Book([*after, new]).state(new, NOW) == "valid"
    others = [each for each in book.valid(0) if each.sub != agent]
    assert [each for each in Book(after).valid(0) if each.sub != agent] == others


@given(ENTRIES, st.sampled_from("abcdz"))
def test_revoking_a_token_takes_it_alone(entries: list[Entry], token_id: str) -> None:
    book = Book(entries)
    lines = book.revoke_token(token_id, None, NOW)
    assert bool(lines) == any(each.jti == token_id for each in book.tokens)
    after = Book([*entries, *lines])
    assert [each.jti for each in after.valid(0)] == [
        each.jti for each in book.valid(0) if each.jti != token_id
    ]
    for line in lines:
        assert line.until is None or line.until > NOW + 60_000 - 1


def test_what_is_not_in_the_list_is_revoked_where_one_says() -> None:
    book = Book([of("dc", "a", None)])
    assert book.revoke_token("b", None, NOW) == []
    assert book.revoke_agent("agni", None, NOW) == []
    assert book.revoke_token("a", "other", NOW) == [Revoked(at=NOW, ns="other", jti="a")]
    assert book.revoke_agent("agni", "other", NOW) == [
        Revoked(at=NOW, ns="other", agent="agni", before=NOW)
    ]
