"""Room shared among addresses: none takes it all, and it all comes back."""

from hypothesis import given
from hypothesis import strategies as st

from trishula_broker.net.crowd import Crowd, Place

ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "proxy"])


@given(most=st.integers(1, 40), steps=st.lists(st.tuples(ADDRESSES, st.booleans()), max_size=120))
def test_places_are_never_more_than_there_are_and_all_come_back(
    most: int, steps: list[tuple[str, bool]]
) -> None:
    crowd = Crowd(most, {"proxy"})
    places: list[Place] = []
    for address, comes in steps:
        if comes:
            place = crowd.enter(address)
            if place is not None:
                places.append(place)
        elif places:
            places.pop(0).leave()
        assert len(crowd) == len(places) <= most
    for place in places:
        place.leave()
        place.leave()
    assert len(crowd) == 0
    assert repr(crowd) == f"<Crowd 0 of {most} from 0 addresses>"


@given(most=st.integers(4, 200), greedy=st.integers(1, 8))
def test_however_many_are_greedy_a_newcomer_finds_room(most: int, greedy: int) -> None:
    crowd = Crowd(most)
    for _ in range(most):
        for n in range(greedy):
            crowd.enter(f"10.0.0.{n}")
    held = len(crowd)
    assert held <= most * greedy / (greedy + 1) + greedy
    assert crowd.enter("10.1.1.1") is not None or held == most


def test_one_address_alone_gets_half_and_a_proxy_everything() -> None:
    alone, behind = Crowd(10), Crowd(10, {"proxy"})
    assert sum(alone.enter("10.0.0.1") is not None for _ in range(20)) == 5
    assert sum(behind.enter("proxy") is not None for _ in range(20)) == 10
