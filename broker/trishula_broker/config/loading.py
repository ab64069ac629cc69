"""The layers over one another: defaults, a TOML file, ``TRISHULA_*`` variables, flags."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from trishula_broker.config.layers import checked, from_environ, from_file, from_flags, leaves
from trishula_broker.config.rules import check
from trishula_broker.config.settings import IN_MEMORY, Config
from trishula_broker.config.values import Loaded, Value
from trishula_protocol import limits

APART: Final = (
    "this hub keeps its mail in a SQLite store of its own: what another hub has accepted is not "
    "here, and agents that come here do not get it"
)
"""What ``failover`` does not mean without a store that hubs share."""


def load(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    file: Path | None,
    home: Path,
) -> Loaded:
    """Lay the four layers over one another.

    Args:
        flags: values given on the command line by path; None is not given.
        environ: the environment.
        file: the TOML file, when there is one.
        home: the user's home directory, for the default data directory.

    Raises:
        ConfigError: names the key, the rule and the origin.
    """
    types = dict(leaves(Config))
    values = {path: Value(default, "default") for path, (_, default) in types.items()}
    values["data"] = Value(str(_data_home(environ, home) / "trishula"), "default")
    values["node"] = Value(_node_name(socket.gethostname()), "default")
    variables, warnings = from_environ(environ, types)
    layers = [from_file(file, types), variables, from_flags(flags)]
    for layer in layers:
        for path, given in layer.items():
            values[path] = checked(path, given, types)
    if values["redis.url"].value:
        for path, value in IN_MEMORY.items():
            if values[path].origin == "default":
                values[path] = Value(value, "default with redis.url")
    tree: dict[str, Any] = {}
    for path, (value, _) in values.items():
        section, _, key = path.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[key] = value
    config = msgspec.convert(tree, Config)
    check(config, values)
    if config.role == "failover" and not config.redis.url:
        warnings += (f"role: {APART} ({values['role'].origin})",)
    return Loaded(config, values, warnings)


def _data_home(environ: Mapping[str, str], home: Path) -> Path:
    """Where programs of a user keep their data (XDG Base Directory, on macOS too)."""
    named = environ.get("XDG_DATA_HOME", "")
    return Path(named) if Path(named).is_absolute() else home / ".local" / "share"


def _node_name(hostname: str) -> str:
    name = re.sub(r"[^a-z0-9_-]+", "-", hostname.partition(".")[0].lower()).strip("-_")
    return name[: limits.AGENT_LENGTH] or "hub"
