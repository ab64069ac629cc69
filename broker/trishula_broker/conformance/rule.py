"""A rule of the protocol, and how it is found out whether a hub keeps it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from trishula_broker.conformance.lab import Lab

Check = Callable[["Lab"], Awaitable[None]]


class Broken(Exception):
    """The hub did otherwise than the rule says; the text says what it did."""


class Skipped(Exception):
    """It cannot be found out here; the text says what is missing."""


class Rule(NamedTuple):
    """One rule. ``name`` is for the command line, ``section`` the part of docs/protocol.md that
    has it, ``text`` what it says."""

    name: str
    section: str
    text: str
    check: Check


class Chapter:
    """The rules of one section, in the order in which they were added.

    Args:
        section: such as ``§2``.
    """

    def __init__(self, section: str) -> None:
        self.section = section
        self.rules: list[Rule] = []

    def rule(self, check: Check) -> Check:
        """Add a rule: its name is the function's, its text the docstring."""
        text = " ".join((inspect.getdoc(check) or "").split())
        name = getattr(check, "__name__", "").replace("_", "-")
        self.rules.append(Rule(name, self.section, text, check))
        return check


def need(holds: object, otherwise: str) -> None:
    """That it ``holds``.

    Raises:
        Broken: it does not; ``otherwise`` says what was found.
    """
    if not holds:
        raise Broken(otherwise)
