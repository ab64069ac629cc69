"""What the command says when it only has to read its arguments: help, and slips of the pen."""

import pytest
from click.testing import CliRunner, Result

from trishula_broker.cli import COMMANDS, main


def said(*args: str) -> Result:
    return CliRunner().invoke(main, args, prog_name="broker")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_its_exit_codes(command: str) -> None:
    done = said(command, "--help")
    assert done.exit_code == 0
    assert "Exit codes: " in done.stdout
    if command == "deadletters":
        done = said(command, "retry", "--help")
    assert "Example" in done.stdout
    no_agent = {"serve", "config", "drain", "folder", "keys", "audit", "conformance"}
    no_agent |= {"backup", "restore", "completion", "report"}
    assert "TRISHULA_TOKEN" in done.stdout or command in no_agent
    assert f"broker {command} " in done.stdout


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("keys", ["init", "rotate", "prune", "list", "public"]),
        ("token", ["create", "revoke", "list"]),
        ("audit", ["verify", "search", "show", "export"]),
    ],
)
def test_a_groups_commands_are_in_the_order_of_need_and_cut_nowhere(
    group: str, names: list[str]
) -> None:
    done = said(group, "--help")
    commands = done.stdout[done.stdout.index("Commands:") : done.stdout.index("Exit codes:")]
    assert [line.split()[0] for line in commands.splitlines()[1:] if line.strip()] == names
    assert "..." not in commands


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["recal", "x"], "No such command 'recal'. Did you mean 'recall'?"),
        (["sned"], "No such command 'sned'. Did you mean 'send'?"),
        (["fly"], "No such command 'fly'."),
        (["deadletters", "lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["send", "--priorty"], "No such option '--priorty'. Did you mean '--priority'?"),
    ],
)
def test_a_slip_of_the_pen_is_told_with_the_nearest(args: list[str], hint: str) -> None:
    done = said(*args)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(f"Error: {hint}")


def test_the_overview_names_every_command() -> None:
    done = said("--help")
    words = " ".join(done.stdout.split())
    for name, short in COMMANDS.items():
        assert f" {name} {short}" in words
