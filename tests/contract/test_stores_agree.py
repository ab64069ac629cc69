"""The same random operations on a SQLite store and on the model: equal outcomes and answers."""

from __future__ import annotations

import asyncio
import math
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.contract.generated import (
    LIMITS,
    NAMESPACES,
    Recipe,
    Run,
    batches,
    every_question,
    everyone,
    pauses,
    retentions,
)
from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore
from trishula_broker.store.sqlite import SqliteStore, pace
from trishula_broker.store.sqlite.schema import FILE, JOURNAL


class Agreement(RuleBasedStateMachine):
    """Two stores that are told the same."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(prefix="agree"))
        self.model = MemoryStore(LIMITS)
        self.store = SqliteStore(self.directory, LIMITS)
        self.run = Run(self.model)
        self.now = 1_000_000

    def both(self, what: str, *args: object) -> object:
        """Call a method of both."""

        async def call() -> object:
            expected = await getattr(self.model, what)(*args)
            found = await getattr(self.store, what)(*args)
            assert found == expected
            return expected

        return self.runner.run(call())

    @initialize()
    def open(self) -> None:
        self.both("open")
        self.commit([(namespace, everyone) for namespace in NAMESPACES], 0)

    @rule(chosen=batches, pause=pauses)
    def commit(self, chosen: list[tuple[str, list[Recipe]]], pause: int) -> None:
        self.now += pause
        self.run.now = self.now
        made: list[base.Batch] = []
        for namespace, recipes in chosen:
            self.run.namespace = namespace
            made.append(base.Batch(namespace, [recipe(self.run) for recipe in recipes]))
        note(f"commit({self.now}, {made})")
        outcomes = self.both("commit", self.now, made)
        assert isinstance(outcomes, list)
        for batch, results in zip(made, outcomes, strict=True):
            for op, outcome in zip(batch.ops, results, strict=True):
                self.run.learn(batch.namespace, op, outcome)

    @rule()
    def ask(self) -> None:
        async def call() -> None:
            for namespace in (*NAMESPACES, "unheard-of"):
                for question in every_question(self.run.last_seq):
                    expected = self.model.answer(namespace, question)
                    assert await self.store.query(namespace, question) == expected

        self.runner.run(call())

    @rule(retention=retentions, pause=pauses)
    def trim(self, retention: base.Retention, pause: int) -> None:
        self.now += pause
        self.both("trim", self.now, retention)

    @rule(killed=st.booleans())
    def reopen(self, killed: bool) -> None:
        left = self.directory
        if killed:
            # The files as a process leaves them that is killed now.
            left = Path(tempfile.mkdtemp(prefix="agree"))
            for name in (FILE, f"{FILE}-wal", JOURNAL):
                shutil.copy(self.directory / name, left)
        self.both("close")
        if killed:
            shutil.rmtree(self.directory)
            self.directory = left
        self.store = SqliteStore(self.directory, LIMITS)
        self.both("open")
        self.run.restarted()

    @rule(quick=st.booleans())
    def disk(self, quick: bool) -> None:
        """Whether little is written in the thread that commits, or all in the store's own."""
        pace.QUICK_S = math.inf if quick else -1.0  # type: ignore[misc]

    @precondition(lambda self: self.run.last_seq > 4)
    @rule()
    def holds_as_much(self) -> None:
        async def sizes() -> list[object]:
            return [(await store.health())["log_bytes"] for store in (self.model, self.store)]

        found, expected = self.runner.run(sizes())
        assert found == expected

    def teardown(self) -> None:
        try:
            self.ask()
        finally:
            self.runner.run(self.store.close())
            self.runner.close()
            shutil.rmtree(self.directory)


def test_a_sqlite_store_agrees_with_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    # Most of the trail comes from the table then, some from memory.
    monkeypatch.setattr("trishula_broker.store.recent.RECENT_BYTES", 500)
    monkeypatch.setattr("trishula_broker.store.sqlite.pages.MESSAGES", 3)
    monkeypatch.setattr("trishula_broker.store.sqlite.pending.FOLD_AT", 4)
    monkeypatch.setattr(pace, "QUICK_S", math.inf)
    # A quarter of what the profile says: each example is a whole history.
    examples = max(10, settings().max_examples // 4)
    run_state_machine_as_test(
        Agreement, settings=settings(stateful_step_count=25, max_examples=examples)
    )


pytestmark = pytest.mark.hypothesis
