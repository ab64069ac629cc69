"""Who hangs, by looks at the board."""

from __future__ import annotations

import os
from pathlib import Path

import structlog
from hypothesis import given
from hypothesis import strategies as st

from trishula_broker.notify import BEATS, ServiceManager
from trishula_broker.workers.board import Board
from trishula_broker.workers.watchdog import MISSED, Watchdog

WATCHDOG_S = 8.0
LOOK_S = WATCHDOG_S / BEATS
LOG: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def made(workers: int, watchdog_s: float = WATCHDOG_S) -> tuple[Board, Watchdog, ServiceManager]:
    board = Board("a", os.getpid(), workers)
    for number in board.numbers:
        board.started(number, number)
    # Nobody is at the address: what is said is lost, and that is told in the log.
    manager = ServiceManager(structlog.wrap_logger(None, processors=[drop]), "/nowhere", watchdog_s)
    return board, Watchdog(board, manager), manager


def drop(*_: object) -> structlog.typing.EventDict:
    raise structlog.DropEvent


@given(st.lists(st.sets(st.integers(1, 3)), max_size=12))
def test_who_misses_the_looks_of_most_of_the_time_hangs_and_nobody_else(
    beating: list[set[int]],
) -> None:
    board, watchdog, manager = made(3)
    silent = dict.fromkeys(board.numbers, -1)  # of its first look nobody knows anything
    for turn, those in enumerate(beating):
        for number in those:
            board.serves(number, 0, 0)
        found = watchdog.look(turn * LOOK_S, board.numbers)
        for number in board.numbers:
            silent[number] = 0 if number in those or silent[number] < 0 else silent[number] + 1
        assert found == [number for number in board.numbers if silent[number] == MISSED]
    manager.close()


def test_between_looks_nothing_is_counted() -> None:
    board, watchdog, manager = made(1)
    for turn in range(100):
        assert watchdog.look(turn * LOOK_S / 100, board.numbers) == []
    assert watchdog.wait(0.0) == LOOK_S
    manager.close()


def test_a_host_that_stood_still_is_no_silence() -> None:
    board, watchdog, manager = made(1)
    watchdog.look(0.0, board.numbers)
    assert watchdog.look(3600.0, board.numbers) == []
    assert watchdog.wait(3600.0) == LOOK_S
    manager.close()


def test_who_was_started_again_is_looked_at_anew() -> None:
    _, watchdog, manager = made(1)
    for turn in range(MISSED):
        assert watchdog.look(turn * LOOK_S, [1]) == []
    assert watchdog.look(MISSED * LOOK_S, [1]) == [1]
    assert watchdog.look((MISSED + 1) * LOOK_S, []) == []
    for turn in range(MISSED):
        assert watchdog.look((MISSED + 2 + turn) * LOOK_S, [1]) == []
    manager.close()


def test_workers_beat_more_often_than_they_are_looked_at() -> None:
    for watchdog_s in (0.5, 2.0, 30.0, 600.0):
        _, watchdog, manager = made(1, watchdog_s)
        assert watchdog.worker_s <= watchdog_s / BEATS / 2
        manager.close()


def test_without_a_watchdog_nobody_looks(tmp_path: Path) -> None:
    board, watchdog, manager = made(1, 0.0)
    assert watchdog.wait(0.0) is None
    assert [watchdog.look(turn * 1e6, board.numbers) for turn in range(9)] == [[]] * 9
    manager.close()
