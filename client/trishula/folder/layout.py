"""Where things are in a shared folder (docs/protocol.md §8), for whoever reads or writes there.

``agents/<agent>/`` has ``inbox/``, ``done/``, ``rejected/`` and ``outbox/`` (what the agent sent
while no hub answered and only a hub can deliver). ``inbox/`` and ``outbox/`` at the top are version
1's. An agent whose ``agent.toml`` says ``format = "v1"`` is written to in version 1. It blocks.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final, Literal

from trishula.folder.directory import Directory
from trishula_protocol.address import agent_fault

AGENTS: Final = "agents"
ABOUT: Final = "agent.toml"
Box = Literal["inbox", "done", "rejected", "outbox"]
BOXES: Final[tuple[Box, ...]] = ("inbox", "done", "rejected", "outbox")


class Layout:
    """One shared folder.

    Args:
        root: its path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"<Layout {self.root}>"

    def top(self) -> Directory:
        """The folder itself."""
        return Directory.root(self.root)

    def box(self, agent: str, box: Box, *, make: bool = False) -> Directory:
        """One of an agent's directories.

        Raises:
            ValueError: ``agent`` is no agent's name; nothing was looked at.
            OSError: it is not there, or cannot be used.
        """
        fault = agent_fault(agent)
        if fault is not None:
            raise ValueError(f"agent {agent!r} {fault}")
        with self.top() as top:
            return top.enter(AGENTS, agent, box, make=make)

    def make(self, agent: str) -> None:
        """Make all an agent needs."""
        for box in BOXES:
            self.box(agent, box, make=True).__exit__()

    def agents(self) -> list[str]:
        """Agents that have a place here, by name. Everything else in ``agents/`` is foreign."""
        try:
            with self.top() as top, top.enter(AGENTS) as agents:
                return sorted(
                    name
                    for name in agents.names()
                    if agent_fault(name) is None and _is_directory(agents, name)
                )
        except FileNotFoundError:
            if not self.root.is_dir():
                raise  # the folder itself is away, which is not the same as nobody in it
            return []

    def is_version1(self, agent: str) -> bool:
        """Whether ``agent`` only understands version 1."""
        try:
            with self.top() as top, top.enter(AGENTS, agent) as own:
                about = tomllib.loads(own.read(ABOUT, 4096).decode())
        except (OSError, ValueError):
            return False
        return about.get("format") == "v1"

    def mark_version1(self, agent: str) -> None:
        """Have ``agent`` be written to in version 1."""
        self.make(agent)
        if not self.is_version1(agent):
            with self.top() as top, top.enter(AGENTS, agent) as own:
                own.write(ABOUT, b'# Only understands files of version 1.\nformat = "v1"\n')
                own.flush()

    def unmark_version1(self, agent: str) -> None:
        """``agent`` has learnt version 2."""
        if self.is_version1(agent):
            with self.top() as top, top.enter(AGENTS, agent) as own:
                own.remove(ABOUT)

    def path(self, agent: str, box: Box) -> Path:
        """For watching and for messages."""
        return self.root / AGENTS / agent / box


def _is_directory(parent: Directory, name: str) -> bool:
    try:
        parent.enter(name).__exit__()
    except OSError:
        return False
    return True
