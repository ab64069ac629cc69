"""``broker bridge``: agents that only know files take part."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trishula_broker.cli.exits import ExitCode, Failure, exits
from trishula_broker.cli.options import load_config, names
from trishula_broker.cli.session import note

if TYPE_CHECKING:
    from trishula_broker.bridge.settings import BridgeSettings

EPILOG: Final = (
    "Exit codes: 0 ended by a signal; 1 no agent is left to bridge, or another bridge has the "
    "folder; 2 wrong usage."
)


@click.command("bridge", epilog=EPILOG)
@click.option("--folder", "folder_path", metavar="DIR", help="The shared folder.")
@click.option(
    "--agents",
    "folder_agents",
    callback=names,
    metavar="AGENT[,AGENT...]",
    help="Agents that only know files of version 2.",
)
@click.option(
    "--v1",
    "folder_v1",
    callback=names,
    metavar="AGENT[,AGENT...]",
    help="Agents that only know files of version 1; the folder remembers them.",
)
@click.option(
    "--key", "folder_key", metavar="FILE", help="Keys: files are signed, and must be signed."
)
@click.option(
    "--unsigned",
    "folder_unsigned",
    callback=names,
    metavar="AGENT[,AGENT...]",
    help="Agents that need not sign; version 1 cannot.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A TOML file of the form that `broker config` prints; its [folder] counts.",
)
@click.option(
    "--url",
    metavar="URL[,URL...]",
    envvar="TRISHULA_URL",
    show_envvar=True,
    help="The hubs, tried in this order; by default ws://127.0.0.1:8765/ws.",
)
@click.option(
    "--tokens",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where the agents' tokens are, for a hub that has keys: AGENT.token for each, read again "
    "when one is needed. For one agent TRISHULA_TOKEN will do.",
)
def command(config: Path | None, url: str | None, tokens: Path | None, **flags: Any) -> None:
    """Join a shared folder to a hub, until SIGTERM or Ctrl-C.

    What the agents named write is accepted into the hub under their names, and what is sent to
    them is written as files. Agents that use the SDK with `shared_folder` need no bridge. One
    bridge a folder; `broker serve --shared-folder DIR` runs it inside the hub.

    \b
    Examples:
      broker bridge --folder ~/trishula --v1 mac
      broker bridge --folder ~/trishula --v1 mac --tokens ~/tokens
    """
    with exits():
        loaded = load_config(config, **flags)
        from trishula.options import hub_urls
        from trishula_broker.bridge.settings import bridge_settings
        from trishula_broker.config import ConfigError

        if not loaded.config.folder.path:
            raise Failure(ExitCode.USAGE, "--folder: name the shared folder")
        try:
            origin = loaded.values["folder.path"].origin
            settings = bridge_settings(loaded.config.folder, hub_urls(url), origin)
        except ConfigError as error:
            raise Failure(ExitCode.USAGE, str(error)) from None
        if tokens is not None:
            settings = settings._replace(token_for=_tokens(tokens, settings))
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("trishula").setLevel(logging.INFO)
        ended = asyncio.run(_bridge(settings))
    sys.exit(ExitCode.OK if ended else ExitCode.REFUSED)


def _tokens(folder: Path, settings: BridgeSettings) -> Callable[[str], str]:
    from trishula_broker.bridge.token_files import TokenFileError, TokenFiles

    files = TokenFiles(folder.expanduser())
    try:
        files.check([*settings.agents, *settings.version1])
    except TokenFileError as error:
        raise Failure(ExitCode.USAGE, f"--tokens: {error}") from None
    return files


async def _bridge(settings: BridgeSettings) -> bool:
    """Whether a signal has ended it."""
    from trishula_broker.bridge.bridge import Bridge
    from trishula_broker.bridge.lock import FolderHeld

    everyone = ", ".join([*settings.agents, *settings.version1])
    bridge = Bridge(settings, lambda: note(f"bridging {settings.folder} for {everyone}"))
    try:
        bridge.lock()
    except FolderHeld as error:
        raise Failure(ExitCode.REFUSED, str(error)) from None
    except OSError as error:
        raise Failure(ExitCode.USAGE, f"--folder: {settings.folder}: {error.strerror}") from None
    running = asyncio.create_task(bridge.run())
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        running.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await asyncio.wait([running])
    if not stopped:
        running.result()
    return stopped
