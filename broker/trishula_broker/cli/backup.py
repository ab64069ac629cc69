"""``broker backup``: one file of all that a store has, made while hubs go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trishula_broker.cli.durations import Span
from trishula_broker.cli.exits import ExitCode, Failure, exits
from trishula_broker.cli.options import load_config
from trishula_broker.cli.output import Output, as_json_option
from trishula_broker.cli.session import note
from trishula_broker.cli.text import counted, size_text, visible

if TYPE_CHECKING:
    from trishula_broker.backup.bundle import Progress
    from trishula_broker.backup.manifest import Manifest
    from trishula_broker.config import Config

BACKUP_EPILOG: Final = (
    "Exit codes: 0 done; 1 refused, or the backup or the store cannot be used; 2 wrong usage, or a "
    "value of a flag, a variable or the file that cannot be used."
)


def store_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which store, and ``--json``."""
    wrapped = command
    for option in (
        as_json_option,
        click.option(
            "--config", metavar="FILE", type=click.Path(path_type=Path), help="The hub's TOML file."
        ),
        click.option("--redis", "redis_url", metavar="URL", help="The Redis that the hubs share."),
        click.option(
            "--data", metavar="DIR", help="The hub's data directory; its default is the hub's."
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


@click.command("backup", short_help="Put all that a store has into a file.", epilog=BACKUP_EPILOG)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--verify", is_flag=True, help="Read FILE, a backup, and compare its checksums.")
@click.option(
    "--keys",
    "with_keys",
    is_flag=True,
    help="Put the key file, its list of tokens and the node's key into it, too: keep it as you "
    "would a password.",
)
@click.option(
    "--namespace",
    "namespaces",
    metavar="NAME",
    multiple=True,
    help="Of a Redis: this namespace; may be given several times. All by default.",
)
@click.option(
    "--longest-pause",
    metavar="TIME",
    type=Span(),
    default="5s",
    show_default=True,
    help="Of a Redis: commits stand still while it is read, and no longer than this.",
)
@store_options
def command(
    file: Path,
    verify: bool,
    with_keys: bool,
    namespaces: tuple[str, ...],
    longest_pause: float,
    as_json: bool,
    config: Path | None,
    redis_url: str | None,
    data: str | None,
) -> None:
    """Put all that a store has into FILE, as it is at one moment, while hubs serve.

    What was acknowledged before the backup began is in it, with what became of it by then. The
    archive of the audit is not: it is files, see docs/backup.md.

    \b
    Examples:
      broker backup /backup/monday.trishula
      broker backup --keys --redis redis://db:6379/0 /backup/monday.trishula
      broker backup --verify /backup/monday.trishula
    """
    loaded = load_config(config, data=data, redis_url=redis_url).config
    if namespaces and not loaded.redis.url:
        raise click.UsageError("--namespace is of a Redis; a SQLite store is backed up as a whole.")
    out = Output(as_json)
    with refusing(), shown(out) as progress:
        stood = 0.0
        if verify:
            from trishula_broker.backup.bundle import verify as compare

            manifest, done = compare(file, progress), "is whole"
        else:
            from trishula_broker.backup import make

            key_file = loaded.key_file if with_keys else None
            home = home_of(loaded)
            if loaded.redis.url:
                source = redis_of(loaded, longest_pause)
                made = make.from_redis(file, source, namespaces, home, key_file, progress)
            else:
                made = make.from_sqlite(file, home, key_file, progress)
            manifest, done, stood = made.manifest, "made", made.stood_s
    if as_json:
        out.document({"file": str(file), "stood_s": round(stood, 3), "manifest": manifest})
        return
    out.lines(*told(file, done, manifest))
    if manifest.store == "redis" and not verify:
        out.lines(f"  nobody could commit for {stood:.2f} s")


def home_of(config: Config) -> Path:
    """The hub's data directory."""
    return Path(config.data).expanduser()


def redis_of(config: Config, longest_pause: float) -> Any:
    """The Redis that the configuration names."""
    from trishula_broker.backup.redis import Source
    from trishula_broker.stores import redis_options

    return Source(config.redis.url, redis_options(config.redis), longest_pause)


@contextmanager
def refusing() -> Iterator[None]:
    """What stands in the way ends the command with one line."""
    with exits():
        from trishula_broker.backup.errors import BackupError
        from trishula_broker.credentials import BadSecret

        try:
            yield
        except (BackupError, BadSecret) as error:
            raise Failure(ExitCode.REFUSED, str(error)) from None


def told(file: Path, done: str, manifest: Manifest) -> list[str]:
    """What a backup has, for people."""
    from trishula_broker.audit.times import iso

    size = size_text(file.stat().st_size)
    kind = "SQLite" if manifest.store == "sqlite" else "Redis"
    lines = [f"{visible(str(file))}: {done}; {kind}, as it was at {iso(manifest.moment)}; {size}"]
    lines += [
        f"  {visible(each.name)}: {counted(each.agents, 'agent')}, "
        f"{counted(each.messages, 'message')}, {each.waiting} waiting"
        for each in manifest.namespaces
    ]
    if any(part.name.startswith("keys/") for part in manifest.parts):
        lines.append("  with keys: keep it as you would a password")
    return lines


@contextmanager
def shown(out: Output) -> Iterator[Progress]:
    """How far it is: a bar on a terminal, a line for each step elsewhere."""
    if out.as_json:
        yield lambda what, done, total: None
        return
    if not out.terminal:
        last = ""

        def tell(what: str, done: int, total: int) -> None:
            nonlocal last
            if what != last:
                last = what
                note(f"{what} …")

        yield tell
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = TextColumn("{task.description:12}"), BarColumn(), TaskProgressColumn()
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("", total=None)

        def move(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=max(total, 1))

        yield move
