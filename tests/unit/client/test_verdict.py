"""What ends an agent for good, and what is only an outage."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trishula.errors import RegistrationRefused, TakenOver, TrishulaError, Unauthorized
from trishula.events import Lost
from trishula.verdict import Verdict
from trishula.websocket import ConnectFailed
from trishula_protocol.bodies import ErrorBody
from trishula_protocol.errors import CloseCode

URL = "ws://hub/ws"
DENIED = ConnectFailed("HTTP 401", status=401)
NO_HUB = ConnectFailed("HTTP 404", status=404, final=True)
AWAY = ConnectFailed("connection refused")


def fresh() -> Callable[[], str]:
    made = iter(range(100))
    return lambda: f"token {next(made)}"


@pytest.mark.parametrize(
    ("lost", "end"),
    [
        (Lost(CloseCode.TAKEN_OVER, "elsewhere", None), TakenOver),
        (Lost(CloseCode.TOKEN, "expired", None), Unauthorized),
        (Lost(1000, "", ErrorBody("unauthorized", "no")), Unauthorized),
        (Lost(1000, "", ErrorBody("forbidden", "no")), RegistrationRefused),
        (Lost(CloseCode.FORBIDDEN, "no", None), RegistrationRefused),
    ],
)
def test_some_endings_of_a_connection_end_the_agent(lost: Lost, end: type[TrishulaError]) -> None:
    verdict = Verdict("dc", 1, "a token")
    with pytest.raises(end):
        verdict.on_lost(URL, lost)


@pytest.mark.parametrize(
    "lost",
    [
        Lost(1006, "", None),
        Lost(CloseCode.RESTART, "the hub restarts", None),
        Lost(1000, "", ErrorBody("unavailable", "later", retryable=True)),
    ],
)
def test_after_others_it_connects_again(lost: Lost) -> None:
    Verdict("dc", 1, None).on_lost(URL, lost)


def test_a_refused_token_is_tried_once_more_with_a_fresh_one() -> None:
    verdict = Verdict("dc", 1, fresh())
    for _ in range(3):
        verdict.token()
        assert not verdict.on_failed(0, URL, DENIED)


def test_the_same_token_is_not_refused_twice() -> None:
    verdict = Verdict("dc", 1, lambda: "always this")
    verdict.token()
    verdict.on_failed(0, URL, DENIED)
    verdict.token()
    with pytest.raises(Unauthorized):
        verdict.on_failed(0, URL, DENIED)


def test_a_token_that_was_let_in_meanwhile_has_another_try() -> None:
    verdict = Verdict("dc", 1, lambda: "always this")
    verdict.token()
    verdict.on_failed(0, URL, DENIED)
    verdict.on_active()
    verdict.on_failed(0, URL, DENIED)


def test_it_is_hopeless_once_no_url_has_a_hub() -> None:
    verdict = Verdict("dc", 2, None)
    assert verdict.on_failed(0, URL, NO_HUB)
    assert not verdict.hopeless
    assert not verdict.on_failed(0, URL, AWAY)
    assert verdict.on_failed(1, URL, NO_HUB)
    assert not verdict.hopeless
    assert verdict.on_failed(0, URL, NO_HUB)
    assert verdict.hopeless


def test_an_agent_that_has_worked_goes_on_trying() -> None:
    verdict = Verdict("dc", 1, None)
    verdict.on_active()
    assert not verdict.on_failed(0, URL, NO_HUB)
    assert not verdict.hopeless
