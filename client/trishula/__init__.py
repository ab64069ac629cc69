"""The SDK: what an agent imports. ``from trishula import Agent``."""

from trishula.agent import Agent
from trishula.errors import (
    AgentClosed,
    FolderError,
    NotConnected,
    Refused,
    RegistrationRefused,
    RemoteError,
    StateDirError,
    StateDirHeld,
    TakenOver,
    TrishulaError,
    Unauthorized,
)
from trishula.life import State
from trishula.message import Message
from trishula.receipt import Receipt

__all__ = [
    "Agent",
    "AgentClosed",
    "FolderError",
    "Message",
    "NotConnected",
    "Receipt",
    "Refused",
    "RegistrationRefused",
    "RemoteError",
    "State",
    "StateDirError",
    "StateDirHeld",
    "TakenOver",
    "TrishulaError",
    "Unauthorized",
]
