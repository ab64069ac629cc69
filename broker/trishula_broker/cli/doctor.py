"""``broker doctor``: looks for what is wrong, or may go wrong, and says what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trishula_broker.cli.exits import ExitCode, Failure, exits
from trishula_broker.cli.options import hub_options, read_config
from trishula_broker.cli.output import Output, as_json_option
from trishula_broker.cli.text import visible
from trishula_broker.cli.token_file import read_token
from trishula_broker.config import ConfigError

if TYPE_CHECKING:
    from trishula_broker.doctor.examine import Asked
    from trishula_broker.doctor.finding import Finding

DOCTOR_EPILOG: Final = (
    "Exit codes: 0 nothing is bad, though there may be warnings; 1 something is; 2 wrong usage; "
    "130 interrupted."
)


@click.command("doctor", epilog=DOCTOR_EPILOG)
@hub_options
@click.option(
    "--nginx",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The configuration of nginx before the hub: deploy/nginx.conf as it was changed, or the "
    "nginx.conf that includes it.",
)
@click.option(
    "--url",
    metavar="URL[,URL...]",
    envvar="TRISHULA_URL",
    show_envvar=True,
    help="The hubs as agents reach them, all of which must be there; by default the one of this "
    "configuration, which may not run yet.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    help="A file with the token that hubs are shown; by default that of TRISHULA_TOKEN, or one "
    "made with the hub's own keys.",
)
@click.option(
    "--ca-file",
    metavar="FILE",
    envvar="TRISHULA_CA_FILE",
    show_envvar=True,
    help="Certificates to trust for wss://, in PEM, instead of the system's.",
)
@as_json_option
def command(
    as_json: bool,
    url: str | None,
    token_file: str | None,
    ca_file: str | None,
    nginx: Path | None,
    config: Path | None,
    **options: Any,
) -> None:
    """Look for what is wrong with a hub, or may go wrong, and say what to do.

    Give it the options that the hub is started with, and run it as the hub's user, before the
    first start or while the hub runs. It looks at the configuration, files and who may read them,
    keys, tokens, certificates, descriptors, the disk, Redis, the hubs and which one leads, clocks,
    the archive, and nginx where its file is given. It changes nothing.

    \b
    Examples:
      broker doctor --config broker.toml
      broker doctor --config broker.toml --nginx /etc/nginx/conf.d/trishula.conf --json
      broker doctor --url wss://hub.example.org/primary/ws,wss://hub.example.org/failover/ws
    """
    with exits():
        out = Output(as_json)
        from trishula_broker.doctor.examine import Asked

        urls: list[str] = []
        if url:
            from trishula.options import hub_urls

            urls = hub_urls(url)
        asked = Asked(urls, read_token(token_file), ca_file, nginx)
        found = list(_shown(out, _found(config, options, asked)))
        counts = {
            level: sum(each.level == level for each in found) for level in ("ok", "warning", "bad")
        }
        if as_json:
            out.document({**counts, "findings": found})
        else:
            warnings = f"{counts['warning']} warning{'s' * (counts['warning'] != 1)}"
            out.lines(f"{counts['ok']} ok, {warnings}, {counts['bad']} bad")
        if counts["bad"]:
            checks = ", ".join(dict.fromkeys(each.check for each in found if each.level == "bad"))
            raise Failure(ExitCode.REFUSED, f"something is bad: {checks}")


def _found(config: Path | None, options: dict[str, Any], asked: Asked) -> Iterator[Finding]:
    from trishula_broker.doctor.examine import examine
    from trishula_broker.doctor.finding import Finding

    try:
        loaded = read_config(config, **options)
    except ConfigError as error:
        todo = "correct it, and look again: nothing else was looked at"
        yield Finding("configuration", "bad", str(error), todo)
        return
    yield from examine(loaded, asked)


def _shown(out: Output, found: Iterable[Finding]) -> Iterator[Finding]:
    """The same, each told to people as it comes."""
    for each in found:
        if not out.as_json:
            level = each.level.upper() if each.level == "bad" else each.level
            out.lines(f"{level:<7}  {each.check}: {visible(each.found)}")
            if each.todo:
                out.lines(f"         → {visible(each.todo)}")
        yield each
