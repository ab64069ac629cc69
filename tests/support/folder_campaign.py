"""Five agents of two hosts exchange messages while their hub comes and goes.

Each host has a shared folder, and ``rsync`` copies between them. Nothing here waits for time to
pass: the hub is stopped and started when so much was handed over, and the end is when everything
was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.support import history
from tests.support.folder_copying import Copying
from tests.support.history import Accepted, Ended, Event, Handed, Log, MessageKey, Sent, digest
from tests.support.hub_process import HubProcess
from trishula import Agent, Message, State
from trishula.folder.layout import Layout

HOSTS: Final = {"agni": 0, "dc": 0, "vayu": 0, "mac": 1, "surya": 1}
NAMES: Final = tuple(HOSTS)
CAPABILITY: Final = "work"
GROUP: Final = "ops"
IN_FLIGHT: Final = 100
PATIENCE_S: Final = 120.0
"""Without any progress for this long a campaign has failed. It only bounds a failure."""


@dataclass
class Report:
    """What a campaign was."""

    messages: int
    hand_overs: int = 0
    changes: int = 0
    rounds: int = 0
    conflicts: int = 0
    by_file: int = 0
    """Messages that were handed over without a hub's ``seq``."""
    there_s: list[float] = field(default_factory=list)
    """From the hub's end until an agent used the folder."""
    back_s: list[float] = field(default_factory=list)
    """From the hub's return until an agent was on it."""
    lasted_s: float = 0.0

    def __str__(self) -> str:
        there, back = max(self.there_s, default=0.0), max(self.back_s, default=0.0)
        return (
            f"{self.messages} messages, {self.hand_overs} hand-overs ({self.by_file} by file) in "
            f"{self.lasted_s:.1f} s; the hub came and went {self.changes} times; {self.rounds} "
            f"rounds of rsync, {self.conflicts} conflict copies; in the folder after {there:.2f} s "
            f"at most, back after {back:.2f} s at most"
        )


class Member:
    """One agent and what its application saw."""

    def __init__(self, name: str, url: str, folder: Path, campaign: Campaign) -> None:
        self.name = name
        self.log = Log(name)
        self.changed_at: dict[State, float] = {}
        self._campaign = campaign
        self._rng = Random(f"{campaign.seed} {name}")
        self.agent = Agent(
            name,
            url,
            shared_folder=None if name in campaign.bare else folder,
            groups=[GROUP],
            capabilities=[CAPABILITY] if name != NAMES[0] else [],
            connect_timeout=None,
        )
        self.agent.on_message(self._handle)
        self.agent.on_state(self._note)
        self.log(history.Started, fresh=True)

    def _note(self, state: State) -> None:
        self.changed_at[state] = time.monotonic()
        self._campaign.progressed()

    async def send_all(self, count: int) -> None:
        """Send ``count`` messages, as fast as the campaign lets them go."""
        room = asyncio.Semaphore(IN_FLIGHT)
        async with asyncio.TaskGroup() as group:
            for number in range(1, count + 1):
                await self._campaign.may_send()
                await room.acquire()
                group.create_task(self._send(number, room))

    async def _send(self, number: int, room: asyncio.Semaphore) -> None:
        others = tuple(name for name in NAMES if name != self.name)
        fate = self._rng.random()
        kind, to = "STATUS", self._rng.choice(others)
        expects: tuple[str, ...] = ()
        if fate < 0.01:
            to, expects = f"#{GROUP}", others
        elif fate < 0.02:
            to, expects = "broadcast", others
        elif fate < 0.03:
            to, expects = f"@{CAPABILITY}", others
        elif fate < 0.15:
            kind = "COMMAND"
        expects = expects or (to,)
        if to[0] == "@":
            expects = tuple(name for name in others if name != NAMES[0])
        copies = 1 if to[0] == "@" else len(expects)
        self._campaign.report.hand_overs += copies + (kind == "COMMAND")
        id, payload = f"{self.name}.{number}", {"n": number, "text": "x" * 50}
        priority = self._rng.choice((1, 3, 3, 3))
        self._sent(id, kind, to, priority, None, payload, expects)
        try:
            await self.agent.send(to, payload, type=kind, priority=priority, id=id)
            self.log(Accepted, id=id)
        finally:
            room.release()

    def _sent(
        self,
        id: str,
        kind: str,
        to: str,
        priority: int,
        reply_to: str | None,
        payload: Any,
        expects: tuple[str, ...],
    ) -> None:
        self.log(
            Sent,
            id=id,
            to=to,
            priority=priority,
            n=self.log.number(to, priority),
            expects=expects,
            digest=digest(kind, to, priority, reply_to, payload),
            reply_to=reply_to,
            settles=reply_to is not None,
        )

    async def _handle(self, message: Message) -> None:
        key = MessageKey(message.sender, message.id)
        self.log(
            Handed,
            sender=key.sender,
            id=key.id,
            seq=self._campaign.place(key),
            attempt=message.attempt,
            priority=message.priority,
            digest=digest(
                message.type, message.to or "", message.priority, message.reply_to, message.payload
            ),
        )
        # What was for a capability may move to another: it is one hand-over all the same.
        by = None if (message.to or "").startswith("@") else self.name
        self._campaign.handed(key, by, by_file=message.seq is None)
        if message.type == "COMMAND":
            payload = {"of": message.payload["n"]}
            receipt = await message.reply(payload)
            # The checker compares whole logs: that it is noted after it left makes no difference.
            sender = message.sender
            self._sent(
                receipt.id, "RESULT", sender, message.priority, message.id, payload, (sender,)
            )
            self.log(Accepted, id=receipt.id)
        else:
            await message.done()
        self.log(Ended, sender=key.sender, id=key.id, how="done")


class Campaign:
    """One campaign.

    Args:
        root: where hub and folders keep their files.
        messages: how many all agents together send, answers not counted.
        changes: how often the hub is stopped or started, an even number.
        round_s: seconds between two rounds of rsync.
        seed: which messages, which moments, which files.
        bare: agents that have no folder.
    """

    def __init__(
        self,
        root: Path,
        *,
        messages: int,
        changes: int,
        round_s: float = 1.0,
        seed: int = 0,
        bare: frozenset[str] = frozenset(),
    ) -> None:
        self.seed = seed
        self.bare = bare
        self.report = Report(messages // len(NAMES) * len(NAMES))
        self._rng = Random(seed)
        self._changes = changes
        self._hub = HubProcess(root / "hub")
        self._folders = (root / "one", root / "other")
        self._copying = Copying(*self._folders, self._rng, round_s)
        self._members: dict[str, Member] = {}
        self._places: dict[MessageKey, int] = {}
        self._handed_to: set[tuple[MessageKey, str | None]] = set()
        self._sent = 0
        self._quota = 0
        self._progress = asyncio.Event()

    # --- what members say ---

    def progressed(self) -> None:
        """Something has happened."""
        self._progress.set()

    @property
    def _handed(self) -> int:
        return len(self._handed_to)

    def handed(self, key: MessageKey, by: str | None, *, by_file: bool) -> None:
        """A message was handed to the agent ``by``; None: to one of those who may have it."""
        self._handed_to.add((key, by))
        self.report.by_file += by_file
        self._progress.set()

    def place(self, key: MessageKey) -> int:
        """A number of its own for each message: in the folder there is no log."""
        return self._places.setdefault(key, len(self._places) + 1)

    async def may_send(self) -> None:
        """Wait for the phase in which the next message is due."""
        self._sent += 1
        mine = self._sent
        await self._until(lambda: mine <= self._quota)

    # --- the run ---

    async def run(self) -> list[Event]:
        """Do it all; the agents' histories."""
        begun = time.monotonic()
        for folder in self._folders:
            folder.mkdir()
            for name in NAMES:
                if name not in self.bare:
                    Layout(folder).make(name)
        try:
            await self._hub.start()
            for name, host in HOSTS.items():
                self._members[name] = Member(name, self._hub.url, self._folders[host], self)
            members = self._members.values()
            await asyncio.gather(*(member.agent.__aenter__() for member in members))
            self._copying.start()
            each = self.report.messages // len(NAMES)
            async with asyncio.TaskGroup() as group:
                for member in members:
                    group.create_task(member.send_all(each))
                group.create_task(self._come_and_go())
            await self._until(lambda: self._handed >= self.report.hand_overs)
            # Whatever else copies bring must not be handed over: all files find their end.
            await self._until(lambda: not any(map(_unread, self._folders)), poll=True)
            await asyncio.gather(*(member.agent.close(20) for member in members))
        finally:
            await self._copying.close()
            await asyncio.gather(*(member.agent.close(0) for member in self._members.values()))
            await self._hub.kill()
        self.report.rounds = self._copying.rounds
        self.report.conflicts = self._copying.copies
        self.report.lasted_s = time.monotonic() - begun
        return self.history()

    def history(self) -> list[Event]:
        """What the agents have seen so far."""
        return [event for member in self._members.values() for event in member.log.events]

    async def _come_and_go(self) -> None:
        share = self.report.messages / (self._changes + 1)
        for number in range(self._changes):
            # Part of each phase's messages are still under way when the next one begins.
            before = self._handed
            self._let_go(round(share * (number + 1)))
            due = before + share * self._rng.uniform(0.2, 0.9)
            await self._until(lambda due=due: self._handed >= due)  # type: ignore[misc]
            await (self._start() if number % 2 else self._stop())
            self.report.changes += 1
        self._let_go(self.report.messages)

    def _let_go(self, quota: int) -> None:
        self._quota = quota
        self._progress.set()

    async def _stop(self) -> None:
        begun = time.monotonic()
        await (self._hub.kill() if self._rng.random() < 0.5 else self._hub.terminate())
        if self._rng.random() < 0.8:
            self.report.there_s += await self._all(State.FOLDER, begun)

    async def _start(self) -> None:
        await self._hub.start()
        begun = time.monotonic()
        if self._rng.random() < 0.8 or self.report.changes == self._changes - 1:
            self.report.back_s += await self._all(State.ACTIVE, begun)

    async def _all(self, state: State, since: float) -> list[float]:
        members = [each for each in self._members.values() if each.name not in self.bare]
        await self._until(lambda: all(member.agent.state is state for member in members))
        return [max(0.0, member.changed_at[state] - since) for member in members]

    async def _until(self, reached: Callable[[], bool], *, poll: bool = False) -> None:
        while not reached():
            self._progress.clear()
            try:
                async with asyncio.timeout(0.2 if poll else PATIENCE_S):
                    await self._progress.wait()
            except TimeoutError:
                if not poll:
                    raise AssertionError(f"nothing moves any more: {self._state()}") from None

    def _state(self) -> str:
        states = {name: str(member.agent.state) for name, member in self._members.items()}
        return f"{self.report} {self._handed=} {self._sent=} {self._quota=} {states}"


def _unread(folder: Path) -> list[Path]:
    """Letters in the inboxes of the agents of this host."""
    here = {name for name, host in HOSTS.items() if folder.name == ("one", "other")[host]}
    inboxes = [folder / "agents" / name / "inbox" for name in here]
    return [
        path
        for inbox in inboxes
        if inbox.is_dir()
        for path in inbox.iterdir()
        if path.name[0] != "."
    ]


def assert_kept(events: list[Event], context: str) -> None:
    """Raise AssertionError for every broken promise but order, which copying tools do not keep."""
    broken = [each for each in history.check(events) if not isinstance(each, history.Swapped)]
    if broken:
        lines = [context, f"{len(broken)} promises broken:", *map(str, broken[:20])]
        raise AssertionError("\n".join(lines))
