"""``broker restore``: what ``broker backup`` made becomes a store again."""

from __future__ import annotations

from pathlib import Path

import click

from trishula_broker.cli.backup import (
    BACKUP_EPILOG,
    home_of,
    redis_of,
    refusing,
    shown,
    store_options,
    told,
)
from trishula_broker.cli.options import load_config
from trishula_broker.cli.output import Output
from trishula_broker.cli.session import note


@click.command("restore", short_help="Put a backup back.", epilog=BACKUP_EPILOG)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--keys",
    "with_keys",
    is_flag=True,
    help="Put the keys that are in it to where the hub looks for them, too.",
)
@click.option("--force", is_flag=True, help="Replace what is there: it is gone then.")
@store_options
def command(
    file: Path,
    with_keys: bool,
    force: bool,
    as_json: bool,
    config: Path | None,
    redis_url: str | None,
    data: str | None,
) -> None:
    """Put the backup FILE into an empty data directory, or into a Redis without its namespaces.

    Its checksums are compared before anything is written. No hub may run on the store. Agents
    connect as after any restart; what was accepted after the backup is not there, and what was
    settled after it is handed out again.

    \b
    Examples:
      broker restore /backup/monday.trishula --data /var/lib/trishula
      broker restore --keys --force /backup/monday.trishula
      broker restore --redis redis://db:6379/0 /backup/monday.trishula
    """
    loaded = load_config(config, data=data, redis_url=redis_url).config
    out = Output(as_json)
    with refusing(), shown(out) as progress:
        from trishula_broker.backup import restore

        key_file = loaded.key_file if with_keys else None
        home = home_of(loaded)
        if loaded.redis.url:
            source = redis_of(loaded, 0.0)
            manifest = restore.to_redis(file, source, home, key_file, progress, force=force)
        else:
            manifest = restore.to_sqlite(file, home, key_file, progress, force=force)
    if as_json:
        out.document({"file": str(file), "manifest": manifest})
        return
    out.lines(*told(file, "restored", manifest))
    note("next: start the hub; its audit says where entries are missing (docs/backup.md)")
