"""Tokens of requests, and addresses that show forged ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trishula_broker.auth.errors import TokenRefused
from trishula_broker.auth.identity import Identity
from trishula_broker.net.bearer import FORGED_AT_ONCE, Bearers, token_of, unauthorized
from trishula_broker.net.denied import Denied

WHO = Identity("dc", "default", "agent", "t1", 0, None)


class OnlyGood:
    def __init__(self) -> None:
        self.asked = 0

    def identify(self, token: str) -> Identity:
        self.asked += 1
        if token != "good":
            raise TokenRefused("signature", "it was not signed with a key of this hub")
        return WHO


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("given", "query", "token"),
    [
        ([], "", None),
        ([], "a=b", None),
        (["Bearer abc"], "", "abc"),
        (["bearer  abc "], "", "abc"),
        ([], "token=abc", "abc"),
        ([], "x=1&token=a%2Bc", "a+c"),
    ],
)
def test_a_token_is_in_the_header_or_in_the_query(
    given: list[str], query: str, token: str | None
) -> None:
    assert token_of({"authorization": given} if given else {}, query) == token


@pytest.mark.parametrize(
    ("given", "query"),
    [
        (["Basic abc"], ""),
        (["Bearer"], ""),
        (["Bearer "], ""),
        ([""], ""),
        (["Bearer a", "Bearer b"], ""),
        (["Bearer a"], "token=a"),
        ([], "token=a&token=b"),
    ],
)
def test_what_is_not_one_token_is_refused_with_401(given: list[str], query: str) -> None:
    with pytest.raises(Denied) as denied:
        token_of({"authorization": given} if given else {}, query)
    assert (denied.value.status, denied.value.reason) == (401, "malformed")


@given(text=st.text())
def test_a_challenge_is_one_line_of_ascii_whatever_the_reason(text: str) -> None:
    ((name, value),) = unauthorized("expired", text).headers
    assert name == "WWW-Authenticate"
    assert value.isascii()
    assert value.isprintable()
    assert value.count('"') == 6


def test_who_shows_no_token_is_told_of_no_error() -> None:
    ((_, value),) = unauthorized("missing", "x").headers
    assert value == 'Bearer realm="trishula"'


def test_forged_tokens_are_no_longer_checked_and_the_good_ones_of_the_same_address_are() -> None:
    only, clock = OnlyGood(), Clock()
    bearers = Bearers(only, clock)
    assert bearers.identify("good", "10.0.0.1") == WHO
    statuses = []
    for n in range(200):
        with pytest.raises(Denied) as denied:
            bearers.identify(f"forged{n}", "10.0.0.1")
        statuses.append(denied.value.status)
        assert f"forged{n}" not in str(denied.value)
    assert statuses == [401] * int(FORGED_AT_ONCE) + [429] * (200 - int(FORGED_AT_ONCE))
    assert only.asked == 1 + FORGED_AT_ONCE
    assert bearers.identify("good", "10.0.0.1") == WHO
    with pytest.raises(Denied) as denied:
        bearers.identify("forged", "10.0.0.2")
    assert denied.value.status == 401
    clock.now += 1
    with pytest.raises(Denied) as denied:
        bearers.identify("forged", "10.0.0.1")
    assert denied.value.status == 401


def test_what_is_remembered_is_bounded() -> None:
    bearers = Bearers(OnlyGood(), Clock())
    for n in range(20_000):
        with pytest.raises(Denied):
            bearers.identify("forged", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert len(bearers) <= 4096
