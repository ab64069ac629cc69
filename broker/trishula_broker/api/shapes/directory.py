"""Of agents, groups and nodes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from trishula_broker.api.shapes.base import Given, Reason, Shown
from trishula_protocol import limits


class AgentsQuery(Given):
    """Which agents; ``after`` is the ``next`` of the page before."""

    capability: str | None = None
    group: str | None = None
    online: bool | None = None
    after: Annotated[str, msgspec.Meta(max_length=limits.AGENT_LENGTH)] | None = None


class Paused(Shown):
    """Why an agent is handed nothing."""

    reason: str


class Agent(Shown):
    """An agent as others see it."""

    id: str
    capabilities: list[str]
    groups: list[str]
    online: bool
    status: Any
    node: str
    since: int
    """When it came online or went offline."""
    unsettled: int
    ephemeral: bool = False
    paused: Paused | None = None
    folder: bool = False
    """It has a shared folder."""


class Agents(Shown):
    """A page by name."""

    agents: list[Agent]
    next: str | None


class Group(Shown):
    """A group and who is in it."""

    name: str
    members: list[str]
    online: int


class Groups(Shown):
    """All groups, by name."""

    groups: list[Group]


class Node(Shown):
    """A hub."""

    node: str
    role: str
    address: str
    alive: bool
    leads: bool
    since: int
    beat_at: int
    agents: int
    """Online there."""


class FolderMode(Shown):
    """That agents are ordered to their shared folder: why, and since when."""

    reason: str
    since: int


class Nodes(Shown):
    """The hubs that serve this namespace; ``node`` is the one that answers."""

    nodes: list[Node]
    node: str
    folder_mode: FolderMode | None = None


class FolderModeBody(Given):
    """To the shared folder, or back; and why."""

    on: bool
    reason: Reason = ""


class FolderModeNow(Shown):
    """What is ordered, and who of those online goes by it: how many have a folder, and the names
    of those that have none; ``more`` of these are not named."""

    on: bool
    reason: str
    since: int | None
    with_folder: int
    without_folder: list[str]
    more: int


class PauseBody(Given):
    """Why."""

    reason: Reason = ""


class PausedNow(Shown):
    """Whether an agent is paused now."""

    agent: str
    paused: bool


class ForgetQuery(Given):
    """Whether what its mailbox holds goes to the dead letters."""

    discard: bool = False


class ForgottenAgent(Shown):
    """How many copies were discarded."""

    agent: str
    discarded: int
