"""``broker serve``: run a hub."""

from __future__ import annotations

import sys
from typing import Any

import click

from trishula_broker.cli.exits import SERVE_EPILOG
from trishula_broker.cli.options import hub_options, load_config


@click.command("serve", epilog=SERVE_EPILOG)
@hub_options
def command(**options: Any) -> None:
    """Serve a hub until SIGTERM or Ctrl-C, then let sessions finish.

    \b
    Examples:
      broker serve
      broker serve --port 9000 --data /var/lib/trishula --node hub-1
    """
    config = load_config(**options).config
    from trishula_broker.app import run  # the server's libraries, only now

    sys.exit(run(config))
