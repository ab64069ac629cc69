"""``broker completion``: what a shell needs to complete the command, and what it is told then."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

SHELLS: Final = ("bash", "zsh", "fish")
PROGRAM: Final = "broker"
ASKS: Final = "_BROKER_COMPLETE"
"""The variable by which a shell asks the program; click makes its name of the program's."""
PATHS: Final = {"FILE": click.Path(), "DIR": click.Path(file_okay=False)}
"""What options and arguments that are shown so take, when they say nothing else."""
COMPLETION_EPILOG: Final = "Exit codes: 0 done; 2 wrong usage."


@click.command("completion", epilog=COMPLETION_EPILOG)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print what has SHELL complete the broker command: its commands, options, values and files.

    Put it where the shell looks for it, and start a new shell. bash needs to be 4.4 or later, and
    its package bash-completion; without that, have ~/.bashrc say: eval "$(broker completion bash)"

    \b
    Examples:
      broker completion bash > ~/.local/share/bash-completion/completions/broker
      broker completion zsh > "${fpath[1]}/_broker"
      broker completion fish > ~/.config/fish/completions/broker.fish
    """
    found = get_completion_class(shell)
    assert found is not None, shell
    click.echo(found(command, {}, PROGRAM, ASKS).source(), nl=False)


def complete_paths(command: click.Command) -> None:
    """Have the options and arguments of ``command`` that are shown as FILE or DIR complete paths,
    and those of the commands in it."""
    for param in command.params:
        if param.metavar in PATHS and isinstance(param.type, click.types.StringParamType):
            param.type = PATHS[param.metavar]
    if isinstance(command, click.Group):
        for each in command.commands.values():
            complete_paths(each)
