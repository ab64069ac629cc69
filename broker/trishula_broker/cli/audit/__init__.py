"""``broker audit``: verifies, searches, shows and exports an archive, from its files alone."""

from __future__ import annotations

import click

from trishula_broker.cli.audit.export import export
from trishula_broker.cli.audit.place import AUDIT_EPILOG
from trishula_broker.cli.audit.search import search
from trishula_broker.cli.audit.show import show
from trishula_broker.cli.audit.verify import verify
from trishula_broker.cli.groups import InOrder


@click.group("audit", cls=InOrder, epilog=AUDIT_EPILOG)
def command() -> None:
    """Verify, search, show and export the archive of all that happened.

    Its files are read as they are, also while a hub writes them, and no hub is asked.

    \b
    Examples:
      broker audit verify
      broker audit search --from dc --since 2h
      broker audit show 0195a1f0-7b7e-7c3a-9f0e-3d2c1b0a9f8e
      broker audit export --format csv > audit.csv
    """


for each in (verify, search, show, export):
    command.add_command(each)
