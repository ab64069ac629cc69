"""What a bridge is told, checked before it touches anything."""

from __future__ import annotations

import ssl as tls
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from trishula.folder.layout import Layout
from trishula.folder.settings import read_keyring
from trishula_broker.config import ConfigError, FolderConfig
from trishula_protocol.address import agent_fault
from trishula_protocol.folder_key import Keyring


class BridgeSettings(NamedTuple):
    """``urls`` are the hubs in the order in which they are tried. ``token_for`` makes or reads an
    agent's token, each time that one is needed; None is for hubs without keys, or one agent's
    token in the environment."""

    folder: Path
    urls: Sequence[str]
    agents: tuple[str, ...]
    version1: tuple[str, ...]
    keyring: Keyring | None
    unsigned: tuple[str, ...]
    token_for: Callable[[str], str] | None = None
    ssl: tls.SSLContext | None = None


def bridge_settings(config: FolderConfig, urls: Sequence[str], origin: str) -> BridgeSettings:
    """From the configuration; agents the folder marks as version 1 are bridged too.

    Raises:
        ConfigError: names the key and the rule.
    """
    folder = Path(config.path).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError("folder.path", f"there is no directory {folder}; make it first", origin)
    for key in ("agents", "v1", "unsigned"):
        for name in getattr(config, key):
            fault = agent_fault(name)
            if fault is not None:
                raise ConfigError(f"folder.{key}", f"agent {name!r} {fault}", origin)
    both = sorted({*config.agents} & {*config.v1})
    if both:
        raise ConfigError("folder.v1", f"{both[0]!r} is one of folder.agents too", origin)
    layout = Layout(folder)
    marked = [name for name in layout.agents() if layout.is_version1(name)]
    version1 = tuple(dict.fromkeys([*config.v1, *marked]))
    if not config.agents and not version1:
        rule = "name the agents that only know files; others read the folder themselves"
        raise ConfigError("folder.agents", rule, origin)
    try:
        keyring = read_keyring(config.key or None)
    except ValueError as error:
        raise ConfigError("folder.key", str(error).partition(": ")[2], origin) from None
    return BridgeSettings(folder, urls, config.agents, version1, keyring, config.unsigned)
