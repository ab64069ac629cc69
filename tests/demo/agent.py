"""One agent of the demo: ``python -m tests.demo.agent NAME CAPABILITIES GROUPS``.

It takes orders from standard input, carries them out with nothing but the SDK, and writes what
it sees to standard output. It leaves when its input ends, so it cannot outlive the demo.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Any, Final

import msgspec

from tests.demo.events import Event, Kind, Order
from trishula import Agent, Message, Refused

WORK_S: Final = 0.25
"""How long a step of a command pretends to take."""
STORM_PERIOD_S: Final = 0.003
"""A storming agent sends this often: quick, and not so quick that the demo measures itself."""
STORM_WINDOW: Final = 400
"""Messages on their way at most, so that an outage does not pile up too many."""


class Player:
    """An agent with its log."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self._calm = asyncio.Event()
        self._sent: dict[str, str] = {}

    def log(self, kind: Kind, **fields: Any) -> None:
        """Write down one event, at once."""
        event = Event(time.monotonic(), self.agent.name, kind, **fields)
        os.write(1, msgspec.json.encode(event) + b"\n")

    # --- what is handed to it ---

    async def on_command(self, message: Message) -> Any:
        """Work: a few steps, a word about each, and a result."""
        task = message.payload
        self._handled(message)
        for step in range(1, task.get("steps", 0) + 1):
            await asyncio.sleep(WORK_S)
            await message.progress({"step": step, "of": task["steps"]})
            if task["long"] and message.attempt == 1:
                await asyncio.Event().wait()
        return {"by": self.agent.name, "text": task["text"]}

    def on_status(self, message: Message) -> None:
        """News from the others."""
        self._handled(message)

    def _handled(self, message: Message) -> None:
        content = message.payload
        self.log(
            "handled",
            label=content["label"],
            peer=message.sender,
            number=content.get("number", 0),
            priority=message.priority,
            attempt=message.attempt,
            text=content["text"],
        )

    # --- what it is told to do ---

    async def obey(self, order: Order) -> None:
        """Carry out an order, and say so."""
        match order.do:
            case "command":
                await self._command(order, order.label, steps=order.count)
            case "ping":
                for turn in range(order.count):
                    await self._command(order, f"{order.label}-{turn}")
            case "burst":
                labels = [f"{order.label}-{turn}" for turn in range(order.count)]
                await asyncio.gather(*(self._command(order, label) for label in labels))
            case "send":
                await self._send(order.to[0], order.label, order.text)
            case "notes":
                for turn, priority in enumerate(order.priorities, start=1):
                    text = f"{order.text}, no. {turn}"
                    await self._send(order.to[0], f"{order.label}-{turn}", text, priority)
            case "storm":
                await self._storm(order.to, order.label)
            case "calm":
                self._calm.set()
            case "agents":
                await self._look_around()
            case "trace":
                await self._trace(order.label)
            case "empty":
                await self._wait_until_empty()
        self.log("obeyed", number=order.number)

    async def _command(self, order: Order, label: str, steps: int = 0) -> None:
        def on_progress(news: Any) -> None:
            self.log("progress", label=label, text=f"step {news['step']} of {news['of']}")

        (to,) = order.to
        task = {"label": label, "text": order.text, "steps": steps, "long": order.long}
        self.log("asked", label=label, peer=to, text=order.text)
        result = await self.agent.command(to, task, on_progress=on_progress, timeout=120)
        self.log("answered", label=label, peer=result["by"], text=result["text"])

    async def _send(self, to: str, label: str, text: str, priority: int = 0) -> None:
        self.log("sent", label=label, peer=to, text=text, priority=priority)
        content = {"label": label, "text": text}
        try:
            receipt = await self.agent.send(to, content, priority=priority or 3)
        except Refused as error:
            self.log("refused", label=label, peer=to, text=str(error))
        else:
            self._sent[label] = receipt.id
            self.log("accepted", label=label, peer=to)

    async def _storm(self, to: tuple[str, ...], label: str) -> None:
        """Numbered messages to everyone in turn until it is calm; waits until all are accepted."""
        window = asyncio.Semaphore(STORM_WINDOW)
        numbers = dict.fromkeys(to, 0)

        async def send(peer: str, number: int) -> None:
            name = f"{label}-{self.agent.name}-{peer}-{number}"
            self.log("sent", label=name, peer=peer, number=number)
            await self.agent.send(peer, {"label": name, "number": number, "text": label})
            self.log("accepted", label=name, peer=peer, number=number)
            window.release()

        async with asyncio.TaskGroup() as group:
            while not self._calm.is_set():
                for peer in to:
                    await window.acquire()
                    numbers[peer] += 1
                    group.create_task(send(peer, numbers[peer]))
                await asyncio.sleep(STORM_PERIOD_S)

    async def _look_around(self) -> None:
        for other in await self.agent.agents():
            offers = ", ".join(f"@{name}" for name in other["capabilities"])
            groups = ", ".join(f"#{name}" for name in other["groups"])
            words = ["online" if other["online"] else "offline", offers, groups]
            self.log("saw", peer=other["id"], text=", ".join(filter(None, words)))

    async def _trace(self, label: str) -> None:
        traced = await self.agent.trace(self._sent[label])
        for copy in traced["messages"][0]["copies"]:
            self.log("saw", label=label, peer=copy["agent"], text=f"waits for {copy['waits_for']}")

    async def _wait_until_empty(self) -> None:
        """Until nothing in its mailbox is unsettled; the demo has a deadline."""
        while True:
            count = (await self.agent.peek(1))["count"]
            if not count:
                break
            await asyncio.sleep(0.05)
        self.log("saw", number=count, text="an empty mailbox")


async def main(name: str, capabilities: str, groups: str) -> None:
    """Be an agent until the input ends."""
    agent = Agent(name, capabilities=capabilities.split(), groups=groups.split())
    player = Player(agent)
    agent.on_command(player.on_command)
    agent.on_status(player.on_status)
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with agent, asyncio.TaskGroup() as group:
        player.log("joined")
        while line := await orders.readline():
            group.create_task(player.obey(msgspec.json.decode(line, type=Order)))
    player.log("left")


if __name__ == "__main__":
    # Ctrl-C reaches every process of the terminal; the demo tells its agents when to leave.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(main(*sys.argv[1:]))
