"""What tests of the shared folder have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from watchfiles import awatch

from trishula import Agent, State
from trishula.folder.layout import Box
from trishula_protocol.envelope import Envelope
from trishula_protocol.folder_file import file_name, pack
from trishula_protocol.folder_key import Key

NOBODY = "ws://127.0.0.1:1/ws"
"""No hub is there."""
PATIENCE_S = 60.0
"""Only bounds a failure."""


def folder_agent(name: str, folder: Path, url: str = NOBODY, **options: Any) -> Agent:
    """An agent that takes to the folder soon when there is no hub."""
    options.setdefault("fallback_after", 0.0 if url == NOBODY else 1.0)
    return Agent(name, url, shared_folder=folder, **options)


async def until_state(agent: Agent, state: State) -> float:
    """Wait until ``agent`` is in ``state``; when it was, monotonic seconds."""
    reached = asyncio.Event()

    @agent.on_state
    def look(found: State) -> None:
        if found is state:
            reached.set()

    if agent.state is not state:
        async with asyncio.timeout(PATIENCE_S):
            await reached.wait()
    return time.monotonic()


async def until(path: Path, condition: Callable[[], object]) -> None:
    """Wait until ``condition`` holds, looked at whenever something below ``path`` changes."""
    if condition():
        return
    looks = awatch(path, watch_filter=None, step=20, rust_timeout=500, yield_on_timeout=True)
    async with asyncio.timeout(PATIENCE_S), aclosing(looks):
        async for _ in looks:
            if condition():
                return


def box(folder: Path, agent: str, which: Box) -> Path:
    """One of an agent's directories."""
    return folder / "agents" / agent / which


def files(folder: Path, agent: str, which: Box) -> list[str]:
    """All that is in it, temporary files too."""
    path = box(folder, agent, which)
    return sorted(each.name for each in path.iterdir()) if path.is_dir() else []


async def until_files(folder: Path, agent: str, which: Box, count: int) -> list[str]:
    """Wait until there are so many; their names."""
    await until(folder, lambda: len(files(folder, agent, which)) == count)
    return files(folder, agent, which)


def letter(sender: str, to: str, id: str, payload: Any = None, **fields: Any) -> Envelope:
    """A STATUS as its sender would write it now."""
    fields.setdefault("timestamp", time.time_ns() // 1_000_000)
    return Envelope("STATUS", id=id, sender=sender, to=to, payload=payload, **fields)


def drop(folder: Path, envelope: Envelope, key: Key | None = None, name: str = "") -> Path:
    """Put a letter into its recipient's inbox."""
    assert envelope.sender is not None
    assert envelope.id is not None
    assert envelope.to is not None
    # In microseconds; of what was dropped within one millisecond the last is the latest.
    stamp = (envelope.timestamp or 0) * 1000 + 999
    name = name or file_name(stamp, envelope.sender, envelope.id)
    inbox = box(folder, envelope.to, "inbox")
    inbox.mkdir(parents=True, exist_ok=True)
    path = inbox / name
    temporary = inbox / f".{name}.part"
    temporary.write_bytes(pack(envelope, key))
    temporary.rename(path)
    return path


class Inbound:
    """Reads an agent's mail, settles it, and waits for what a test expects."""

    def __init__(self, agent: Agent) -> None:
        self.payloads: list[Any] = []
        self.ids: list[str] = []
        self._came = asyncio.Condition()
        agent.on_message(self._take)

    async def _take(self, message: Any) -> None:
        async with self._came:
            self.payloads.append(message.payload)
            self.ids.append(message.id)
            self._came.notify_all()

    async def until(self, count: int) -> list[Any]:
        """Wait until so many have come; all payloads."""
        async with asyncio.timeout(PATIENCE_S), self._came:
            await self._came.wait_for(lambda: len(self.payloads) >= count)
        return self.payloads
