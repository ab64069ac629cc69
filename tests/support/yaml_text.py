"""JSON values as YAML that people can read. Only what JSON has: no anchors, tags or comments."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")
_NOT_PLAIN: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Words that YAML 1.1 reads as something else than text."""


def to_yaml(value: Any, indent: str = "") -> str:
    """``value``, any JSON, as YAML: blocks for what holds something, JSON for the rest.

    Args:
        indent: before each line.
    """
    if isinstance(value, dict) and value:
        return "".join(f"{indent}{_key(name)}:{_under(value[name], indent)}" for name in value)
    if isinstance(value, list) and value:
        return "".join(f"{indent}-{_item(each, indent)}" for each in value)
    return f"{indent}{_scalar(value)}\n"


def _under(value: Any, indent: str) -> str:
    if isinstance(value, (dict, list)) and value:
        return "\n" + to_yaml(value, indent + "  ")
    return f" {_scalar(value)}\n"


def _item(value: Any, indent: str) -> str:
    if isinstance(value, (dict, list)) and value:
        return " " + to_yaml(value, indent + "  ").removeprefix(indent + "  ")
    return f" {_scalar(value)}\n"


def _key(name: str) -> str:
    if _PLAIN_KEY.fullmatch(name) and name.lower() not in _NOT_PLAIN:
        return name
    return _scalar(name)


def _scalar(value: Any) -> str:
    return msgspec.json.encode(value).decode()
