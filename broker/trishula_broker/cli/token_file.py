"""The token that a command shows its hub, and whom it is for."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

import click

VARIABLE: Final = "TRISHULA_TOKEN"
FILE_BYTES: Final = 16384
"""A larger file holds something else."""


def read_token(path: str | None) -> str | None:
    """The token in a file; without one that of ``TRISHULA_TOKEN``, if there is any.

    Raises:
        click.UsageError: the file cannot be read, or holds no token. Its content is not shown.
    """
    if path is None:
        return os.environ.get(VARIABLE) or None
    return token_in(path, warn=True)


def token_in(path: str, *, warn: bool = False) -> str:
    """The token in a file; ``warn`` of one that others may read. Raises as :func:`read_token`."""
    try:
        with Path(path).open("rb") as file:
            if warn and os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                _warn(path)
            text = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise click.UsageError(f"--token-file: {path}: {error.strerror}.") from None
    from trishula_broker.auth.errors import TokenRefused
    from trishula_broker.auth.unproven import peek

    token = text.decode("latin-1").strip()
    try:
        peek(token)
    except TokenRefused as error:
        raise click.UsageError(f"--token-file: {path}: {error.text}.") from None
    return token


def subject_of(token: str | None) -> str | None:
    """The agent that a token is for; None where it cannot be read. The hub checks it."""
    if token is None:
        return None
    from trishula_broker.auth.errors import TokenRefused
    from trishula_broker.auth.unproven import peek

    try:
        return peek(token).sub
    except TokenRefused:
        return None


def _warn(path: str) -> None:
    from trishula_broker.cli.session import note

    note(f"note: {path}: others may read this token; chmod 600 it")
