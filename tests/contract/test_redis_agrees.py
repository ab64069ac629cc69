"""The same random operations on a Redis store and on the model: equal outcomes and answers.

In one namespace, where seqs are the same, and with limits of dedup that stay as they are: the
store counts what a sender sent, the model what is left of it.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.contract.generated import (
    AGENTS,
    LIMITS,
    NAMESPACES,
    Recipe,
    Run,
    every_question,
    everyone,
    pauses,
    recipes,
    retentions,
    runs,
)
from tests.support.redis_server import RedisServer
from trishula_broker.store import base
from trishula_broker.store.memory import MemoryStore
from trishula_broker.store.redis import RedisStore
from trishula_protocol.address import parse_address

NAMESPACE = NAMESPACES[0]
ROOM = base.MailboxLimits(messages=30, bytes=2_000)
_bodies = st.sampled_from((b"{}", b'{"x":"0123456789"}', b'{"y":"%s"}' % (b"z" * 30)))


class Agreement(RuleBasedStateMachine):
    """Two stores that are told the same."""

    server: RedisServer
    limits = LIMITS

    def __init__(self) -> None:
        super().__init__()
        self.server.ask("FLUSHALL")
        self.runner = asyncio.Runner()
        self.model = MemoryStore(self.limits)
        self.store = self.make()
        self.run = Run(self.model)
        self.now = 1_000_000
        self.dedup: tuple[int, int] | None = None

    def make(self) -> RedisStore:
        return RedisStore(self.server.url, self.limits, timeout=60, own_clock=False)

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
        self.commit(everyone, 0)

    @rule(chosen=st.lists(recipes, max_size=16), pause=pauses)
    def commit(self, chosen: list[Recipe], pause: int) -> None:
        self.now += pause
        self.run.now = self.now
        batch = base.Batch(NAMESPACE, [recipe(self.run) for recipe in chosen])
        note(f"commit({self.now}, {batch})")
        outcomes = self.both("commit", self.now, [batch])
        assert isinstance(outcomes, list)
        for op, outcome in zip(batch.ops, outcomes[0], strict=True):
            self.run.learn(NAMESPACE, op, outcome)

    @rule(
        before=st.lists(recipes, max_size=2),
        run=runs(),
        after=st.lists(recipes, max_size=3),
        pause=pauses,
    )
    def commit_a_run(
        self, before: list[Recipe], run: list[Recipe], after: list[Recipe], pause: int
    ) -> None:
        self.commit([*before, *run, *after], pause)

    @rule()
    def ask(self) -> None:
        async def call() -> None:
            for question in [*every_question(self.run.last_seq), *self.more_questions()]:
                expected = self.model.answer(NAMESPACE, question)
                assert await self.store.query(NAMESPACE, question) == expected, question
                if isinstance(question, base.Trail):  # as a node reads it that did not make it
                    self.store._space(NAMESPACE).recent.clear()
                    assert await self.store.query(NAMESPACE, question) == expected, question

        self.runner.run(call())

    def more_questions(self) -> list[base.Query]:
        return []

    @rule(retention=retentions, pause=pauses)
    def trim(self, retention: base.Retention, pause: int) -> None:
        self.now += pause
        self.dedup = self.dedup or (retention.dedup_ms, retention.dedup_ids)
        dedup_ms, dedup_ids = self.dedup
        same = msgspec.structs.replace(retention, dedup_ms=dedup_ms, dedup_ids=dedup_ids)
        note(f"trim({self.now}, {same})")
        self.both("trim", self.now, same)

    @rule()
    def reopen(self) -> None:
        self.both("close")
        self.store = self.make()
        self.both("open")
        self.run.restarted()

    @rule()
    def holds_as_much(self) -> None:
        async def sizes() -> list[object]:
            return [(await store.health())["log_bytes"] for store in (self.model, self.store)]

        expected, found = self.runner.run(sizes())
        assert found == expected

    def teardown(self) -> None:
        try:
            self.ask()
        finally:
            self.runner.run(self.store.close())
            self.runner.close()


class AgreementOnRuns(Agreement):
    """Mailboxes have room for runs, whose ids are seldom used again, and which end in parts."""

    limits = ROOM

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []

    @rule(
        sender=st.sampled_from(AGENTS),
        to=st.sampled_from(AGENTS),
        bodies=st.lists(_bodies, min_size=2, max_size=9),
        kinds=st.sampled_from((("STATUS",), ("STATUS", "COMMAND"))),
        again=st.none() | st.integers(0, 40),
        priority=st.integers(2, 3),
        pause=pauses,
    )
    def commit_a_fresh_run(
        self,
        sender: str,
        to: str,
        bodies: list[bytes],
        kinds: tuple[str, ...],
        again: int | None,
        priority: int,
        pause: int,
    ) -> None:
        ids = [f"r{len(self.ids) + n}" for n in range(len(bodies))]
        self.ids += ids
        if again is not None:
            ids[again % len(ids)] = self.ids[-again % len(self.ids)]

        def recipe(n: int) -> Recipe:
            return lambda run: base.Accept(
                sender,
                run.epoch(sender, "current"),
                parse_address(to),
                ids[n],
                kinds[n % len(kinds)],
                priority,
                None,
                None,
                n % 4 == 3,
                None,
                bodies[n],
            )

        self.commit([recipe(n) for n in range(len(ids))], pause)

    @rule(agent=st.sampled_from(AGENTS), begin=st.integers(0, 9), count=st.integers(1, 9))
    def settle_in_a_row(self, agent: str, begin: int, count: int) -> None:
        heads = self.model.answer(NAMESPACE, base.Peek(agent, 30)).heads
        seqs = tuple(copy.message.seq for copy in heads)[begin : begin + count]
        if seqs:
            self.commit(
                [
                    lambda run: base.Settle(
                        agent, run.epoch(agent, "current"), seqs, (5,) * len(seqs)
                    )
                ],
                1,
            )

    @rule(agent=st.sampled_from(AGENTS), at=st.integers(0, 30), limit=st.integers(1, 12))
    def fetch_behind(self, agent: str, at: int, limit: int) -> None:
        heads = self.model.answer(NAMESPACE, base.Peek(agent, 30)).heads
        after = None
        if heads:
            message = heads[at % len(heads)].message
            after = message.priority, message.seq - at % 2
        self.commit(
            [lambda run: base.Fetch(agent, run.epoch(agent, "current"), after, limit, 1_000)], 1
        )

    def more_questions(self) -> list[base.Query]:
        found: list[base.Query] = [base.Trace(AGENTS[0], id_) for id_ in self.ids[-60:]]
        for name in AGENTS:
            found += [base.Peek(name, 7), base.Peek(name, 100), base.Peek(name, 0)]
            found += [base.History(name, None, seq, 3) for seq in range(1, self.run.last_seq, 4)]
        return found


def test_a_redis_store_agrees_with_the_model(redis: RedisServer) -> None:
    Agreement.server = redis
    # A tenth of what the profile says: each example is a whole history, and synced.
    examples = max(10, settings().max_examples // 10)
    run_state_machine_as_test(
        Agreement, settings=settings(stateful_step_count=25, max_examples=examples)
    )


def test_a_redis_store_agrees_with_the_model_on_runs(redis: RedisServer) -> None:
    AgreementOnRuns.server = redis
    examples = max(10, settings().max_examples // 10)
    run_state_machine_as_test(
        AgreementOnRuns, settings=settings(stateful_step_count=25, max_examples=examples)
    )


pytestmark = pytest.mark.hypothesis
