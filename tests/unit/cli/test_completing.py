"""What a shell is told, whichever it is."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from trishula_broker.cli import COMMANDS, main
from trishula_broker.cli.completion import ASKS, PROGRAM


def told(*args: str) -> list[tuple[str, str]]:
    """The values, each with its type, for the last of the words."""
    *before, begun = args
    found = BashComplete(main, {}, PROGRAM, ASKS).get_completions(before, begun)
    return [(item.type, item.value) for item in found]


def test_every_command_is_offered_with_what_it_does() -> None:
    found = BashComplete(main, {}, PROGRAM, ASKS).get_completions([], "")
    assert {item.value: item.help for item in found} == COMMANDS


def test_commands_are_offered_without_importing_any() -> None:
    code = """if True:
        import sys
        from click.shell_completion import BashComplete
        from trishula_broker.cli import main
        BashComplete(main, {}, "broker", "X").get_completions([], "se")
        print(*(name for name in sys.modules if name.startswith("trishula_broker.cli.")))
    """
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (("dead",), ["deadletters"]),
        (("deadletters", "r"), ["retry"]),
        (("--v",), ["--version"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("serve", "--role", ""), ["primary", "failover"]),
        (("send", "agni", "--until", "d"), ["delivered", "done"]),
        (("token", "create", "--role", "op"), ["operator"]),
    ],
)
def test_commands_options_and_values_are_offered(line: tuple[str, ...], values: list[str]) -> None:
    assert told(*line) == [("plain", value) for value in values]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (("serve", "--config", "b"), "file"),
        (("serve", "--tls-cert", "b"), "file"),
        (("keys", "init", "--keys", "b"), "file"),
        (("backup", "b"), "file"),
        (("restore", "b"), "file"),
        (("agents", "--token-file", "b"), "file"),
        (("serve", "--audit", "b"), "dir"),
        (("audit", "verify", "--data", "b"), "dir"),
        (("bridge", "--folder", "b"), "dir"),
    ],
)
def test_the_shell_is_asked_for_files_where_files_are_meant(
    line: tuple[str, ...], kind: str
) -> None:
    assert told(*line) == [(kind, "b")]


def test_another_shell_is_refused_with_those_that_there_are() -> None:
    done = CliRunner().invoke(main, ["completion", "tcsh"])
    assert done.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr
