"""``broker folder-mode``: all agents are ordered to their shared folder, or back."""

from __future__ import annotations

from typing import Any

import click

from trishula_broker.cli.exits import EPILOG
from trishula_broker.cli.session import Session, session_options
from trishula_broker.cli.text import counted, moment, visible


@click.command("folder-mode", epilog=EPILOG)
@click.argument("state", metavar="[on|off]", required=False, type=click.Choice(["on", "off"]))
@click.option("--reason", default="", metavar="TEXT", help="Why, for others to see.")
@session_options()
def command(session: Session, state: str | None, reason: str) -> None:
    """Order all agents that have a shared folder to it, or back to their hubs.

    The order is kept in the store: it holds on every hub, over restarts, and for agents that come
    later, until `broker folder-mode off`. Agents without a folder keep to their hub; those that are
    online are named. Without `on` or `off` it says what holds.

    \b
    Examples:
      broker folder-mode on --reason "p99 over 200 ms"
      broker folder-mode --json | jq -r '.without_folder[]'
      broker folder-mode off
    """
    from trishula_protocol.bodies import FolderMode

    if reason and state != "on":
        raise click.UsageError("--reason: it belongs to `on`; leave it out")
    on = None if state is None else state == "on"
    answer = session.ask(lambda agent: agent.ask(FolderMode(on, reason)))
    if session.out.as_json:
        session.out.document(answer)
    else:
        session.out.lines(*_told(answer))


def _told(answer: dict[str, Any]) -> list[str]:
    having = counted(answer["with_folder"], "agent")
    if not answer["on"]:
        return [
            f"folder mode is off: all agents go by their hubs; {having} online could go by files"
        ]
    why = f" ({visible(answer['reason'])})" if answer["reason"] else ""
    lines = [
        f"folder mode is on since {moment(answer['since'])}{why}: {having} online, and all that "
        "come with a folder, go by files; `broker folder-mode off` ends it"
    ]
    staying = answer["without_folder"]
    if staying:
        more = f" and {answer['more']} more" if answer["more"] else ""
        lines.append(f"without a folder, so still by hub: {', '.join(staying)}{more}")
    return lines
