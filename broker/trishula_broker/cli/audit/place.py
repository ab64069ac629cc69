"""Which archive ``broker audit``, ``report`` and ``slo`` read, and what these have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from trishula_broker.cli.durations import seconds
from trishula_broker.cli.exits import ExitCode, Failure, exits
from trishula_broker.cli.options import load_config
from trishula_broker.cli.text import counted, visible

if TYPE_CHECKING:
    from trishula_broker.audit.reading import Archive
    from trishula_broker.audit.sealing import Sealer
    from trishula_broker.config import Config

AUDIT_EPILOG: Final = (
    "Exit codes: 0 done, and nothing was found that does not fit; 1 something was, or the archive "
    "cannot be read; 2 wrong usage, or no archive there."
)

F = TypeVar("F", bound=Callable[..., Any])


class Place(NamedTuple):
    """Which archive, and what is known of it."""

    config: Config
    root: Path
    data: Path
    """The data directory that it belongs to."""
    sealer: Sealer | None

    def archive(self) -> Archive:
        """Its files."""
        from trishula_broker.audit.reading import Archive

        return Archive(self.root, self.sealer, _warn)


def _warn(text: str) -> None:
    click.echo(f"warning: {visible(text)}", err=True)


def place_options(wrapped: F) -> F:
    """The options of :func:`place_of`."""
    for option in (  # the last is shown first
        click.option(
            "--audit",
            "audit_path",
            metavar="DIR",
            help="The archive's folder; audit in --data by default.",
        ),
        click.option(
            "--data", metavar="DIR", help="The hub's data directory; its default is the hub's."
        ),
        click.option(
            "--config", metavar="FILE", type=click.Path(path_type=Path), help="The hub's TOML file."
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


also_option: Final = click.option(
    "--also",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The archive of another hub of the same store: what it saw counts, too. May be repeated.",
)
"""The folders of :func:`other_archives`."""


def filters(wrapped: F) -> F:
    """Options of namespace and time: ``since`` and ``until`` as records have times, or empty."""
    for option in (
        click.option("--namespace", metavar="NAME", help="Only records of this namespace."),
        click.option(
            "--until", metavar="TIME", callback=moment_option, help="Only what happened no later."
        ),
        click.option(
            "--since",
            metavar="TIME",
            callback=moment_option,
            help="Only what happened since: 2026-11-21T16:20, UTC unless it says otherwise, or "
            "30m, 2h, 7d ago.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def moment_option(ctx: click.Context, param: click.Parameter, text: str | None) -> str:
    """The callback of an option: a time as records have it; empty for none."""
    from trishula_broker.audit.times import iso, parse

    if text is None:
        return ""
    ago = seconds(text)
    if ago is not None:
        return iso(max(round((time.time() - ago) * 1000), 0))
    try:
        return iso(parse(text))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no time; write 2026-11-21T16:20, or 30m, 2h, 7d for so long ago"
        ) from None


def place_of(
    config: Path | None, data: str | None, audit_path: str | None, redis: str | None = None
) -> Place:
    """The archive that the options mean, or the configuration does.

    Raises:
        Failure: there is none, or the key for its files cannot be used.
    """
    from trishula_broker.audit.node_archive import folder, sealer
    from trishula_broker.audit.sealing import UnusableKey

    loaded = load_config(config, data=data, audit_path=audit_path, redis_url=redis).config
    root = folder(loaded)
    home = Path(loaded.data).expanduser()
    if audit_path is not None and data is None and (root.parent / "store.db").exists():
        home = root.parent
    if not root.is_dir():
        todo = "name it with --audit, or the hub's --data or --config"
        if (home / "worker-1" / "audit").is_dir():
            todo = f"its workers have one each: add --data {home / 'worker-1'}, and so on"
        raise Failure(ExitCode.USAGE, f"there is no archive in {root}; {todo}")
    if audit_path is not None:
        _holds_one(root, "--audit")
    try:
        return Place(loaded, root, home, sealer(loaded.audit))
    except UnusableKey as error:
        raise Failure(ExitCode.USAGE, str(error)) from None


def other_archives(folders: Iterable[Path], sealer: Sealer | None) -> list[Archive]:
    """Archives of other hubs of the same store.

    Raises:
        Failure: there is none.
    """
    from trishula_broker.audit.reading import Archive

    found = list(folders)
    for folder in found:
        if not folder.is_dir():
            raise Failure(ExitCode.USAGE, f"--also: there is no archive in {folder}")
        _holds_one(folder, "--also")
    return [Archive(folder, sealer, _warn) for folder in found]


def _holds_one(folder: Path, option: str) -> None:
    """Refuse a folder of something else, of which a report would say that nothing happened.

    Raises:
        Failure: it is one; a data directory is told where its archive is.
    """
    from trishula_broker.audit.segment import chains

    if not chains(folder):
        inside = folder / "audit"
        todo = f"it is in {inside}" if chains(inside) else "name the folder `audit` of a hub's data"
        raise Failure(ExitCode.USAGE, f"{option}: there is no archive in {folder}; {todo}")


def unreadable(archive: Archive) -> None:
    """End with 1 where something could not be read: it was told, and may be what was asked for.

    Raises:
        Failure: there was such a file.
    """
    if archive.unread:
        raise Failure(
            ExitCode.REFUSED,
            f"not all of {archive.root} could be read: {counted(archive.unread, 'file')}",
        )


@contextmanager
def reading() -> Iterator[None]:
    """While an archive is read: what goes wrong ends the command with a line and its exit code."""
    with exits():
        try:
            yield
        except OSError as error:
            where = error.filename or "the archive"
            raise Failure(ExitCode.REFUSED, f"{where}: {error.strerror or error}") from None
