"""A value in force and where it came from, and what says that one cannot be used."""

from __future__ import annotations

from typing import Any, NamedTuple

from trishula_broker.config.settings import Config


class ConfigError(Exception):
    """A value that cannot be used. ``path`` is its key, ``origin`` where it came from."""

    def __init__(self, path: str, rule: str, origin: str) -> None:
        super().__init__(path, rule, origin)
        self.path = path
        self.rule = rule
        self.origin = origin

    def __str__(self) -> str:
        return f"{self.path}: {self.rule} ({self.origin})"


class Value(NamedTuple):
    """A key's value in force and where it came from: ``default``, a file, variable or flag."""

    value: Any
    origin: str


class Loaded(NamedTuple):
    """The configuration, and each value's origin by its key's path."""

    config: Config
    values: dict[str, Value]
    warnings: tuple[str, ...]
    """What can be used and is probably not meant: a line each."""
