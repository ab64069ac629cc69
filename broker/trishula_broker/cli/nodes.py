"""``broker nodes``: the hubs that serve the agents."""

from __future__ import annotations

from typing import Any, Final

import click

from trishula_broker.cli.exits import EPILOG
from trishula_broker.cli.session import Session, note, session_options
from trishula_broker.cli.table import show_table
from trishula_broker.cli.text import moment, visible

COLUMNS: Final = ("node", "role", "alive", "leads", "agents", "since", "heard", "address")


@click.command("nodes", epilog=EPILOG)
@session_options()
def command(session: Session) -> None:
    """List the hubs: which are alive, which one leads, how many agents are with each.

    SINCE is when a hub was started, or found dead; HEARD when the store last heard of it. The one
    that leads sees to what is done once for all: expiry, dead letters, hubs that died. With --json
    a line each. A note says when agents are ordered to their shared folder.

    \b
    Examples:
      broker nodes
      broker nodes --json | jq -r 'select(.leads).node'
    """
    from trishula_protocol.bodies import Nodes

    found = session.ask(lambda agent: agent.ask(Nodes()))
    if session.out.as_json:
        for each in found["nodes"]:
            session.out.document(each)
    else:
        show_table(session.out, COLUMNS, [_row(each) for each in found["nodes"]])
        order = found.get("folder_mode")
        if order is not None:
            why = f" ({visible(order['reason'])})" if order["reason"] else ""
            since = moment(order["since"])
            note(f"note: agents are ordered to their shared folder since {since}{why}")


def _row(record: dict[str, Any]) -> list[str]:
    return [
        record["node"],
        record["role"],
        "yes" if record["alive"] else "no",
        "yes" if record["leads"] else "no",
        str(record["agents"]),
        moment(record["since"]),
        moment(record["beat_at"]),
        record["address"],
    ]
