"""What was taken back, for as long as it matters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trishula_broker.auth.identity import Identity
from trishula_broker.auth.revocations import Revocations

TIMES = st.integers(0, 20)


def identity(
    subject: str = "dc",
    token_id: str = "t1",
    namespace: str = "default",
    issued_at: int = 10,
    expires_at: int | None = 20,
) -> Identity:
    return Identity(subject, namespace, "agent", token_id, issued_at, expires_at)


def test_a_token_is_revoked_in_its_namespace_alone() -> None:
    revocations = Revocations()
    assert revocations.revoke_token("default", "t1", 20)
    assert not revocations.revoke_token("default", "t1", 20)
    assert revocations.is_revoked(identity())
    assert not revocations.is_revoked(identity(token_id="t2"))
    assert not revocations.is_revoked(identity(namespace="other"))


def test_of_an_agent_the_tokens_issued_before_are_revoked() -> None:
    revocations = Revocations()
    assert revocations.revoke_agent("default", "dc", 10, None)
    assert revocations.is_revoked(identity(issued_at=9))
    assert not revocations.is_revoked(identity(issued_at=10))
    assert not revocations.is_revoked(identity(issued_at=9, subject="agni"))
    assert not revocations.is_revoked(identity(issued_at=9, namespace="other"))
    assert not revocations.revoke_agent("default", "dc", 5, None)
    assert revocations.is_revoked(identity(issued_at=9)), "the latest moment counts"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("token"), st.sampled_from("ab"), TIMES, st.none() | TIMES),
            st.tuples(st.just("agent"), st.sampled_from("ab"), TIMES, st.none() | TIMES),
        )
    ),
    TIMES,
)
def test_forgetting_changes_nothing_for_tokens_that_are_still_valid(
    told: list[tuple[str, str, int, int | None]], now: int
) -> None:
    """``until`` is never earlier than the expiry of what it revokes: so it is made."""
    full, kept = Revocations(), Revocations()
    for each in (full, kept):
        for kind, name, before, until in told:
            if kind == "token":
                each.revoke_token("default", name, until)
            else:
                each.revoke_agent("default", name, before, until)
    kept.forget(now)
    assert len(kept) <= len(full)
    lasting = [until for _, _, _, until in told if until is None or until > now]
    if not lasting:
        assert len(kept) == 0
    for kind, name, before, until in told:
        if until is None or until > now:
            who = (
                identity(token_id=name)
                if kind == "token"
                else identity(name, "other", issued_at=before - 1)
            )
            assert kept.is_revoked(who)
