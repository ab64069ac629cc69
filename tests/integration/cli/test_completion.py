"""`broker completion`, loaded and asked by the shells themselves."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trishula_broker.cli.completion import SHELLS

PROGRAM = Path(sys.executable).with_name("broker")
BASH = """
source ./script
complete -p broker
COMP_WORDS=({words}) COMP_CWORD={last}
compopt() {{ printf 'compopt %s %s\\n' "$@"; }}  # which bash allows while it completes only
_broker_completion broker
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
autoload -U compinit && compinit -D -u
source ./script
[[ $_comps[broker] == _broker_completion ]] && echo registered
words=({words}) CURRENT={next}
_path_files() {{ print "compopt $1" }}
_describe() {{ print -l -- ${{${{(P)3}}%%:*}} }}
compadd() {{ print -l -- ${{(P)@[-1]}} }}
_broker_completion
"""
FISH = """
source ./script
complete -C {line}
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with the script of each shell."""
    found = {}
    for shell in SHELLS:
        found[shell] = folder = tmp_path_factory.mktemp(shell)
        command = (PROGRAM, "completion", shell)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        (folder / "script").write_text(done.stdout)
    return found


def said(command: list[str], folder: Path) -> list[str]:
    environ = os.environ | {"PATH": f"{PROGRAM.parent}:{os.environ['PATH']}", "HOME": str(folder)}
    done = subprocess.run(
        command, check=False, cwd=folder, env=environ, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.splitlines()


def bash(line: str, folder: Path) -> list[str]:
    words = [*shlex.split(line), *([""] if line.endswith(" ") else [])]
    text = BASH.format(words=shlex.join(words), last=len(words) - 1)
    registered, *found = said(["bash", "--norc", "--noprofile", "-c", text], folder)
    assert registered == "complete -o nosort -F _broker_completion broker"
    return [each for each in found if each]


def zsh(line: str, folder: Path) -> list[str]:
    words = [*shlex.split(line), *([""] if line.endswith(" ") else [])]
    text = ZSH.format(words=shlex.join(words), next=len(words))
    registered, *found = said(["zsh", "-f", "-c", text], folder)
    assert registered == "registered"
    return found


def fish(line: str, folder: Path) -> list[str]:
    found = said(["fish", "--no-config", "-c", FISH.format(line=shlex.quote(line))], folder)
    return [each.partition("\t")[0] for each in found]


Ask = Callable[[str, Path], list[str]]
ALL = [
    pytest.param(
        each, marks=pytest.mark.skipif(shutil.which(each.__name__) is None, reason="not here")
    )
    for each in (bash, zsh, fish)
]


@pytest.mark.parametrize("ask", ALL)
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("broker se", ["serve", "send"]),
        ("broker audit ", ["verify", "search", "show", "export"]),
        ("broker serve --role f", ["failover"]),
        ("broker send --as dc --prio", ["--priority"]),
    ],
)
def test_commands_options_and_values_are_completed(
    ask: Ask, line: str, found: list[str], scripts: dict[str, Path]
) -> None:
    assert sorted(ask(line, scripts[ask.__name__])) == sorted(found)


@pytest.mark.parametrize("ask", ALL)
@pytest.mark.parametrize(
    ("line", "kind"),
    [("broker serve --tls-key ", "file"), ("broker audit verify --data ", "dir")],
)
def test_files_are_completed_where_files_are_meant(
    ask: Ask, line: str, kind: str, scripts: dict[str, Path]
) -> None:
    folder = scripts[ask.__name__]
    (folder / "folder").mkdir(exist_ok=True)
    (folder / "broker.toml").touch()
    found = ask(line, folder)
    if ask is fish:
        assert "folder/" in found
        assert ("broker.toml" in found) == (kind == "file")
    else:
        flags = {"bash": ("-o default", "-o dirnames"), "zsh": ("-f", "-/")}[ask.__name__]
        assert found == [f"compopt {flags[kind == 'dir']}"]


def test_a_program_of_another_path_is_asked_where_it_is(scripts: dict[str, Path]) -> None:
    text = BASH.format(words="x completion f", last=2).replace(
        "_broker_completion broker", f"_broker_completion {PROGRAM}"
    )
    assert said(["bash", "--norc", "--noprofile", "-c", text], scripts["bash"])[-1] == "fish"
