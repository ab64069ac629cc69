"""How a command of the agent's side ends: exit codes for scripts, one line on stderr for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import IO, Any, Final

import click

from trishula_broker.cli.text import visible


class ExitCode(IntEnum):
    """What scripts can tell apart."""

    OK = 0
    REFUSED = 1
    """The hub refused it, or the answer was an ERROR."""
    USAGE = 2
    NO_HUB = 3
    TIMED_OUT = 4
    MISSED = 5
    """It was done, and is not as good as was asked for."""
    FIRED = 6
    """It was looked at, and calls for something to be done."""
    UNKNOWN = 7
    """What is known does not suffice to tell."""
    INTERRUPTED = 130


EPILOG: Final = (
    "Exit codes: 0 done; 1 refused, or answered by an ERROR; 2 wrong usage; "
    "3 no hub reached; 4 timed out; 130 interrupted."
)

SERVE_EPILOG: Final = (
    "Exit codes: 0 it was asked to stop, and has drained; 2 wrong usage, or a value of "
    "a flag, a variable or the file that cannot be used; 3 it cannot start: the port or the data "
    "directory is somebody else's, or cannot be used; 130 a second signal cut the draining short."
)
CONFIG_EPILOG: Final = (
    "Exit codes: 0 done; 2 wrong usage, or a value of a flag, a variable or the file that cannot "
    "be used."
)
FOLDER_EPILOG: Final = (
    "Exit codes: 0 done; 1 the folder cannot be read or written; 2 wrong usage, or no such folder."
)

_OPTIONS: Final = {
    "name": "--as",
    "url": "--url",
    "urls": "--url",
    "token": "TRISHULA_TOKEN",
    "to": "TO",
    "payload": "JSON",
    "reply_to": "--reply-to",
    "capabilities": "--capability",
    "groups": "--group",
    **{field: f"--{field}" for field in ("id", "thread", "ttl", "type", "priority")},
}
"""What the SDK's arguments are called on the command line."""


class Failure(click.ClickException):
    """Ends the command with ``code`` and one line that says what to do next."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # read from the instance by click

    def show(self, file: IO[Any] | None = None) -> None:
        """The line, on stderr."""
        click.echo(f"Error: {visible(self.message)}", file=file, err=file is None)


class PipeClosed(Exception):
    """Whoever read standard output has left."""


@contextmanager
def exits() -> Iterator[None]:
    """Whatever happens inside ends the process with a code and at most one line."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit):
        raise
    except (KeyboardInterrupt, click.Abort):
        sys.exit(ExitCode.INTERRUPTED)
    except PipeClosed:
        sys.exit(ExitCode.OK)
    except Exception as error:
        raise failure(error) from None


def failure(error: Exception) -> Failure:
    """The failure that ``error``, raised by the SDK, stands for."""
    from trishula.errors import (
        NotConnected,
        Refused,
        RegistrationRefused,
        TakenOver,
        TrishulaError,
        Unauthorized,
    )

    code, text = ExitCode.REFUSED, str(error)
    match error:
        case NotConnected(refused=True):
            text += "; give a good one with --token-file or TRISHULA_TOKEN"
        case NotConnected():
            code = ExitCode.NO_HUB
            text += "; start one with `broker serve`, or name another with --url or TRISHULA_URL"
        case Unauthorized():
            text += "; give a good one with --token-file or TRISHULA_TOKEN"
        case RegistrationRefused(code="forbidden"):
            text += "; a token is for one agent: leave --as out, or use that agent's token"
        case Refused(retryable=True) if "again" not in text:
            text += "; try again later"
        case TakenOver() | TrishulaError():
            pass
        case TimeoutError():
            code = ExitCode.TIMED_OUT
            text = text or "the hub did not answer in time; ask again"
        case ValueError() | TypeError():
            code = ExitCode.USAGE
            field, colon, rest = text.partition(": ")
            text = f"{_OPTIONS.get(field, field)}{colon}{rest}"
        case _:
            text = f"{type(error).__name__}: {error} (a fault of this command; please report it)"
    return Failure(code, text)
