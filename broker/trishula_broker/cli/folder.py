"""``broker folder``: what lies in a shared folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from trishula_broker.cli.exits import FOLDER_EPILOG, ExitCode, Failure, exits
from trishula_broker.cli.groups import Group
from trishula_broker.cli.output import Output, as_json_option
from trishula_broker.cli.table import show_table
from trishula_broker.cli.text import counted, moment

if TYPE_CHECKING:
    from trishula.folder.survey import Survey

COLUMNS: Final = (
    "agent",
    "format",
    "waiting",
    "oldest",
    "for a hub",
    "done",
    "rejected",
    "partial",
)
DAY: Final = 24 * 3600.0

F = TypeVar("F", bound=Callable[..., Any])


@click.group("folder", cls=Group, epilog=FOLDER_EPILOG)
def command() -> None:
    """Show what lies in a shared folder, and remove what may go.

    \b
    Examples:
      broker folder status --folder ~/trishula
      broker folder clean --folder ~/trishula --older-than 30
    """


def _options(wrapped: F) -> F:
    for option in (
        as_json_option,
        click.option(
            "--folder",
            required=True,
            metavar="DIR",
            envvar="TRISHULA_FOLDER_PATH",
            show_envvar=True,
            help="The shared folder.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


@command.command("status", epilog=FOLDER_EPILOG)
@_options
def status(folder: str, as_json: bool) -> None:
    """Show for each agent what waits, is done, was rejected, or is half written.

    What waits for an agent that runs is read within a second; what is rejected has a file with the
    reason beside it, in the agent's rejected/.
    """
    with exits():
        from trishula.folder.survey import survey

        found = _look(folder, survey)
        out = Output(as_json)
        if as_json:
            out.document([each.as_dict() for each in found])
        elif not found:
            out.lines(f"no agent has a place in {folder}")
        else:
            show_table(out, COLUMNS, [_row(each) for each in found])


@command.command("clean", epilog=FOLDER_EPILOG)
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    default=7.0,
    metavar="DAYS",
    help="Of what is done and rejected; 7 days by default.",
)
@click.option("--rejected", is_flag=True, help="Rejected files too, which stay otherwise.")
@_options
def clean(folder: str, as_json: bool, older_than: float, rejected: bool) -> None:
    """Remove what is done, and what crashes have left half written for an hour.

    Agents that run do it by themselves after 7 days. A copying tool may bring back a file whose
    memory in done/ is gone: keep that for longer than a machine may be away.
    """
    with exits():
        from trishula.folder.retention import clean_agent

        before = time.time() - older_than * DAY

        def work(layout: Any) -> list[tuple[str, Any]]:
            limit = before if rejected else None
            return [(name, clean_agent(layout, name, before, limit)) for name in layout.agents()]

        removed = _look(folder, work)
        out = Output(as_json)
        if as_json:
            out.document([{"agent": name, **each._asdict()} for name, each in removed])
        else:
            done, gone, partial = (sum(each[n] for _, each in removed) for n in range(3))
            out.lines(
                f"removed {counted(done, 'settled message')}, {counted(gone, 'rejected file')}, "
                f"{counted(partial, 'half-written file')}"
            )


def _look(folder: str, work: Callable[..., Any]) -> Any:
    from trishula.folder.layout import Layout

    path = Path(folder).expanduser().absolute()
    if not path.is_dir():
        raise Failure(ExitCode.USAGE, f"--folder: there is no directory {path}")
    try:
        return work(Layout(path))
    except OSError as error:
        raise Failure(ExitCode.REFUSED, f"{error.filename or path}: {error.strerror}") from None


def _row(found: Survey) -> list[str]:
    oldest = None if found.oldest is None else round(found.oldest * 1000)
    return [
        found.agent,
        found.format,
        str(found.waiting),
        moment(oldest),
        str(found.for_a_hub),
        str(found.done),
        str(found.rejected),
        str(found.partial),
    ]
