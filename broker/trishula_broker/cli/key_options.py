"""What ``broker keys`` and ``broker token`` have in common: where the keys are, and how it ends."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from trishula_broker.cli.exits import ExitCode, Failure, exits
from trishula_broker.cli.options import load_config

KEYS_EPILOG: Final = (
    "Exit codes: 0 done; 1 the keys or the list of tokens cannot be used, or it was refused; "
    "2 wrong usage, or a value of a flag, a variable or the file that cannot be used."
)


def key_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the command gets the key file's path and the configuration before its own
    parameters. What is wrong with keys ends it with one line."""

    @functools.wraps(command)
    def call(config: Path | None, data: str | None, auth_keys: str | None, **params: Any) -> None:
        loaded = load_config(config, data=data, auth_keys=auth_keys).config
        with exits():
            from trishula_broker.auth.errors import AuthError

            try:
                command(loaded.key_file, loaded.auth, **params)
            except AuthError as error:
                raise Failure(ExitCode.REFUSED, str(error)) from None

    wrapped: Callable[..., None] = call
    for option in (
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="A TOML file of the form that `broker config` prints: the hub's.",
        ),
        click.option("--data", metavar="DIR", help="The hub's data directory."),
        click.option(
            "--keys",
            "auth_keys",
            metavar="FILE",
            help="The key file; keys.json in the data directory by default.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def wall_ms() -> int:
    """This machine's wall clock in milliseconds."""
    return time.time_ns() // 1_000_000
