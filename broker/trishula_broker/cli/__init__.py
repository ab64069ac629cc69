"""The ``broker`` command: one file a command, imported only when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

try:
    import click
except ModuleNotFoundError as error:  # the SDK alone is installed
    raise SystemExit("broker: not installed; `pip install 'trishula[broker]'` does it") from error

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS: Final = {
    "serve": "Serve a hub.",
    "drain": "Have a hub of this host let its agents go, and end.",
    "bridge": "Join a shared folder to a hub for agents that only know files.",
    "folder": "Show what lies in a shared folder, and remove what may go.",
    "config": "Show the configuration in force and where each value comes from.",
    "keys": "Make, rotate and list the keys that tokens are signed with.",
    "token": "Make, revoke and list tokens: who may come in, and do what.",
    "send": "Send a message, and wait for its answer when that is asked for.",
    "listen": "Print messages as they come.",
    "agents": "List the agents.",
    "nodes": "List the hubs that serve the agents, and which one leads.",
    "watch": "Print presence and status changes as they happen.",
    "peek": "Show what waits in a mailbox.",
    "history": "Print a thread, or all mail of an agent.",
    "trace": "Show where a message is, and what it waits for.",
    "recall": "Take a message back.",
    "deadletters": "List, show, retry and drop what was given up.",
    "pause": "Hand out no more mail to an agent.",
    "resume": "Hand out mail again to an agent that was paused.",
    "folder-mode": "Order all agents to their shared folder, or back to their hubs.",
    "forget": "Forget an agent that is no more.",
    "tap": "Print what passes between agents, as it passes.",
    "audit": "Verify, search, show and export the archive of what happened.",
    "report": "Tell the figures of a day or a week, with plots.",
    "slo": "Say whether anything calls for going back to the shared folder.",
    "doctor": "Look for what is wrong with a hub's host, files, Redis, proxy and clocks.",
    "conformance": "Try the protocol's rules at a hub, and say which hold.",
    "backup": "Put all that a store has into a file, while hubs serve.",
    "restore": "Put a backup back.",
    "bench": "Put a load on a hub, and tell how it bears it.",
    "completion": "Print what has bash, zsh or fish complete this command.",
}
"""Commands with their short help, by module name in this package; each has a ``command``."""


class LazyGroup(click.Group):
    """Imports a command's module when the command is used, so that each one starts quickly."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of :data:`COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        if ctx.resilient_parsing:  # a shell asks
            from trishula_broker.cli.completion import complete_paths

            complete_paths(command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What a shell is told: without importing any command, for it waits."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=short)
            for name, short in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command to run; one that does not exist is told with the nearest that do."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            import difflib

            near = [repr(each) for each in difflib.get_close_matches(name, COMMANDS)]
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trishula")
def main() -> None:
    """A durable message hub for agents."""
