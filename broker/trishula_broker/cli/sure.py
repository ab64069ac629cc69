"""Asking a person before something is done that cannot be undone."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from trishula_broker.cli.exits import ExitCode, Failure


def make_sure(question: Callable[[], str], refusal: str, yes: bool) -> None:
    """Go on if ``yes``, or if the person at the terminal says so.

    Args:
        question: makes what is asked; called only when somebody can be.
        refusal: what is said when the answer is no.

    Raises:
        UsageError: there is nobody to ask.
        Failure: the answer is no.
    """
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here; say --yes.")
    if not click.confirm(question(), err=True):
        raise Failure(ExitCode.REFUSED, refusal)
