"""``broker conformance``: whether a hub, or what stands before it, keeps the protocol's rules."""

from __future__ import annotations

import asyncio
import fnmatch
import os
import shlex
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from trishula_broker.cli.durations import timeout_option
from trishula_broker.cli.exits import ExitCode, Failure, exits
from trishula_broker.cli.options import load_config
from trishula_broker.cli.output import Output, as_json_option
from trishula_broker.cli.text import counted, visible

if TYPE_CHECKING:
    from trishula_broker.conformance.lab import Site
    from trishula_broker.conformance.rule import Rule
    from trishula_broker.conformance.run import Result

CONFORMANCE_EPILOG: Final = (
    "Exit codes: 0 all rules that were tried hold; 1 one does not, or the hub lets nobody in; "
    "2 wrong usage; 3 no hub reached; 130 interrupted."
)
NAMESPACE: Final = "conformance"
"""Of agents whose tokens are made here: apart from everybody else."""
TOKENS_LAST_S: Final = 3600.0
TOKEN_SECONDS: Final = 30.0
"""How long a --token-command may take."""


@click.command("conformance", epilog=CONFORMANCE_EPILOG)
@click.argument("url")
@click.argument("rules", nargs=-1, metavar="[RULE]...")
@click.option("--list", "only_list", is_flag=True, help="List the rules, and try none.")
@click.option(
    "--keys",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The hub's key file: tokens are made with it, in the namespace conformance.",
)
@click.option(
    "--token-command",
    metavar="COMMAND",
    help="What prints a token for the agent that is added to it as its last word; for hubs that "
    "have no such file.",
)
@click.option(
    "--ca-file",
    metavar="FILE",
    envvar="TRISHULA_CA_FILE",
    show_envvar=True,
    help="Certificates to trust for wss://, in PEM, instead of the system's.",
)
@click.option(
    "--broadcast",
    is_flag=True,
    help="Try broadcast too, where agents of others are in the same namespace.",
)
@timeout_option("How long the hub may take for an answer.", 10.0)
@click.option(
    "--at-once",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    metavar="N",
    help="How many rules are tried at a time.",
)
@as_json_option
def command(
    url: str,
    rules: tuple[str, ...],
    only_list: bool,
    keys: Path | None,
    token_command: str | None,
    ca_file: str | None,
    broadcast: bool,
    timeout: float,
    at_once: int,
    as_json: bool,
) -> None:
    """Try the rules of docs/protocol.md at the hub of a URL, and say which hold.

    For another implementation of the hub, and for a proxy before one. Each rule is tried over raw
    WebSockets with agents of its own, called conformance-…, which are forgotten afterwards; a
    dead letter of theirs may stay. RULE is a name, may have * in it, or is a section such as §5.

    \b
    Examples:
      broker conformance ws://127.0.0.1:8765/ws
      broker conformance wss://hub.example.org/ws --keys keys.json --json
      broker conformance ws://127.0.0.1:8765/ws '§5' 'prefetch-*'
    """
    with exits():
        from trishula.options import hub_urls

        chosen = _chosen(rules)
        out = Output(as_json)
        if only_list:
            _list(out, chosen)
            return
        if keys is not None and token_command is not None:
            raise click.UsageError("--keys and --token-command: give one of them.")
        site = _site(hub_urls(url)[0], keys, token_command, ca_file, broadcast, timeout)
        results = asyncio.run(_run(out, chosen, site, at_once))
        _tell(out, url, results)


def _chosen(names: Sequence[str]) -> list[Rule]:
    from trishula_broker.conformance.rules import ALL

    if not names:
        return list(ALL)
    for name in names:
        if not any(_meant(each, name) for each in ALL):
            import difflib

            near = difflib.get_close_matches(name, [each.name for each in ALL], 2)
            hint = f"did you mean {' or '.join(near)}?" if near else "--list tells them"
            raise click.UsageError(f"no rule is called {name}; {hint}")
    return [each for each in ALL if any(_meant(each, name) for name in names)]


def _meant(rule: Rule, name: str) -> bool:
    return name == rule.section or fnmatch.fnmatchcase(rule.name, name)


def _list(out: Output, rules: Sequence[Rule]) -> None:
    if out.as_json:
        shown = [{"rule": each.name, "section": each.section, "text": each.text} for each in rules]
        out.document(shown)
    else:
        out.lines(*(f"{each.section}  {each.name}: {each.text}" for each in rules))


def _site(
    url: str,
    keys: Path | None,
    token_command: str | None,
    ca_file: str | None,
    broadcast: bool,
    timeout: float,
) -> Site:
    from trishula_broker.conformance.lab import Site

    context: ssl.SSLContext | None = None
    if url.startswith("wss:"):
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise click.UsageError(f"--ca-file: {ca_file}: {error}") from None
    token_for: Callable[[str], str] | None = None
    if keys is not None:
        token_for = _passes(keys)
    elif token_command is not None:
        token_for = _printed(token_command)
    return Site(url, timeout, token_for, context, broadcast or keys is not None)


def _passes(keys: Path) -> Callable[[str], str]:
    from trishula_broker.auth.errors import AuthError
    from trishula_broker.benchmark.passes import Passes

    auth = load_config(None, auth_keys=str(keys)).config.auth
    try:
        return Passes(keys, TOKENS_LAST_S, auth.issuer, auth.audience, NAMESPACE).token
    except AuthError as error:
        raise Failure(ExitCode.USAGE, f"--keys: {error}") from None


def _printed(command: str) -> Callable[[str], str]:
    words = shlex.split(command)
    if not words:
        raise click.UsageError("--token-command: it is empty.")

    def token(agent: str) -> str:
        try:
            done = subprocess.run(
                [*words, agent], stdout=subprocess.PIPE, check=True, timeout=TOKEN_SECONDS
            )
        except (OSError, subprocess.SubprocessError) as error:
            why = getattr(error, "strerror", None) or f"{type(error).__name__} of {words[0]}"
            raise Failure(ExitCode.USAGE, f"--token-command: {why}") from None
        return done.stdout.decode("latin-1").strip()

    return token


async def _run(out: Output, rules: Sequence[Rule], site: Site, at_once: int) -> Sequence[Result]:
    from trishula_broker.conformance.run import run

    await _must_let_in(site)
    with _progress(out, len(rules)) as progress:
        return await run(rules, site, at_once, progress)


async def _must_let_in(site: Site) -> None:
    """That the hub is there and lets agents in, before a hundred rules say that it does not.

    Raises:
        Failure: it is not, or does not; says what to do.
    """
    from websockets.exceptions import InvalidStatus, WebSocketException

    from trishula_broker.conformance.lab import Lab

    lab = Lab(site)
    try:
        await lab.connect()
    except InvalidStatus as refused:
        status = refused.response.status_code
        todo = "see that the path is right"
        if status in (401, 403):
            todo = "give --keys, the hub's key file, or --token-command; a good one, if you did"
        raise Failure(
            ExitCode.REFUSED, f"{site.url} answers the upgrade with HTTP {status}; {todo}"
        ) from None
    except (OSError, WebSocketException) as error:
        number = getattr(error, "errno", None)
        why = (os.strerror(number) if number and number > 0 else "") or str(error)
        raise Failure(
            ExitCode.NO_HUB, f"no hub at {site.url}: {why or type(error).__name__}"
        ) from None
    finally:
        await lab.tidy()


def _tell(out: Output, url: str, results: Sequence[Result]) -> None:
    counts = {
        verdict: sum(each.verdict == verdict for each in results)
        for verdict in ("holds", "broken", "skipped")
    }
    if out.as_json:
        out.document({"url": url, **counts, "rules": results})
    else:
        for each in results:
            verdict = each.verdict.upper() if each.verdict == "broken" else each.verdict
            out.lines(f"{each.section}  {verdict:<7}  {each.rule}: {each.text}")
            if each.why:
                out.lines(f"             {visible(each.why)}")
        skipped = f", {counts['skipped']} not tried" if counts["skipped"] else ""
        out.lines(
            f"{counted(len(results), 'rule')}: {counts['holds']} hold, "
            f"{counts['broken']} broken{skipped}"
        )
    if counts["broken"]:
        names = ", ".join(each.rule for each in results if each.verdict == "broken")
        raise Failure(ExitCode.REFUSED, f"{counted(counts['broken'], 'rule')} broken: {names}")


@contextmanager
def _progress(out: Output, count: int) -> Iterator[Callable[[Result], None]]:
    if not out.terminal or out.as_json:
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = TextColumn("trying"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("rules", total=count)
        yield lambda _: bar.advance(task)
