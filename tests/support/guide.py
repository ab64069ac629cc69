"""Pages of documentation that are true: what they tell to type is typed, in a folder of its own.

A page's blocks of ``sh`` go into one shell, in order, so that what one exports the next one has.
What would hold the terminal, ``broker serve`` for one, is begun beside it instead, and the shell
goes on when it says that it serves. A block that cannot be run says so in a comment above it:
``<!-- not run: it needs root -->``. One that another test runs does: ``<!-- run by tests/… -->``.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.ports import free_port

ROOT: Final = Path(__file__).parents[2]
SHELLS: Final = frozenset({"sh", "shell"})
LONGEST_S: Final = 240.0
"""Then a page hangs."""
DEFAULT_PORT: Final = "8765"

_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL
)
_NOT_RUN: Final = re.compile(r"<!-- (?P<why>(?:not run: |run by )[^>]+?) -->\s*\Z")
_FILE_NAME: Final = re.compile(r"`(?P<name>[\w./-]+\.(?:py|toml|conf|yml))`")
_MARK: Final = "::line "

_PREAMBLE: Final = r"""
set -euo pipefail
begin() {
    local line
    exec {heard}< <(exec "$@" 2>&1)
    while read -r -u "$heard" line; do
        case $line in
            "serving ws"* | *"bridging "*)
                cat <&"$heard" >>servers.log &
                return 0
                ;;
        esac
        echo "$line" >>servers.log
    done
    cat servers.log
    return 1
}
broker() {
    case "${1-} $*" in
        *--help*) command broker "$@" ;;
        serve*|bridge*) begin broker "$@" ;;
        *) command broker "$@" ;;
    esac
}
"""


class Block(NamedTuple):
    """A fenced block."""

    page: Path
    language: str
    text: str
    line: int
    not_run: str | None
    """Why not here, as the page says."""
    before: str
    """The paragraph before it."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """As which file it is to be saved, where the paragraph before it ends by naming one."""
        names: list[str] = _FILE_NAME.findall(self.before)
        return names[-1] if names and self.before.endswith(":") else None

    @property
    def prints(self) -> list[str]:
        """What it says that it prints."""
        return re.findall(r"# prints (.+)", self.text)


class Setting(NamedTuple):
    """What a page takes for granted.

    Args:
        before: typed before its first block.
        swaps: what stands there for other machines' things, and what stands for it here. All of it
            must be there.
        ports: ports it names, each swapped for a free one.
        prepare: puts into the folder what the page supposes to be there.
        told: whether commands are told the hub's port, and agents its URL, by variables; not where
            the page does that.
    """

    before: str = ""
    swaps: Mapping[str, str] = {}
    ports: tuple[str, ...] = ()
    prepare: Callable[[Path], None] = lambda folder: None
    told: bool = True


def pages() -> list[Path]:
    """All that is documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, *languages: str) -> list[Block]:
    """A page's blocks in order, of ``languages`` if any are given."""
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()].rstrip()
        marked = _NOT_RUN.search(before)
        paragraph = _NOT_RUN.sub("", before).rstrip().rpartition("\n\n")[2]
        indent = match["indent"]
        lines = match["text"].splitlines(keepends=True)
        body = "".join(line.removeprefix(indent) for line in lines)
        line = text.count("\n", 0, match.start()) + 1
        why = marked["why"] if marked else None
        found.append(Block(page, match["language"], body, line, why, paragraph))
    return [block for block in found if not languages or block.language in languages]


async def follow(page: Path, folder: Path, setting: Setting) -> dict[int, str]:
    """Do what ``page`` says, in ``folder``, which is home; what each block printed, by its line.

    Raises:
        AssertionError: a block failed, or did not print what it says.
    """
    setting.prepare(folder)
    chosen = [block for block in blocks(page) if block.not_run is None]
    swaps = _swaps(page, chosen, folder, setting)
    ports = {port: str(free_port()) for port in (DEFAULT_PORT, *setting.ports)}
    script = [_PREAMBLE, _swapped(setting.before, swaps, ports)]
    for block in chosen:
        text = _swapped(block.text, swaps, ports)
        # What the page itself begins in the background is not begun by begin(), too.
        text = re.sub(r"^(broker serve .*&)$", r"env \1", text, flags=re.MULTILINE)
        if block.language in SHELLS:
            script.append(f"echo '{_MARK}{block.line}'\n{text}")
        elif block.file is not None:
            target = folder / _swapped(block.file, swaps, ports)
            target.parent.mkdir(parents=True, exist_ok=True)
            saved = folder / ".blocks" / str(block.line)
            saved.parent.mkdir(exist_ok=True)
            saved.write_text(text)
            script.append(f"cp {saved} {target}\n")
    port = ports[DEFAULT_PORT]
    told = {"TRISHULA_PORT": port, "TRISHULA_URL": f"ws://127.0.0.1:{port}"}
    out = await _typed("\n".join(script), folder, told if setting.told else {})
    said = {int(part.split("\n")[0]): part for part in out.split(_MARK)[1:]}
    for block in chosen:
        if block.language in SHELLS:
            for text in block.prints:
                assert text in said[block.line], f"{block}: {text!r} is not in\n{said[block.line]}"
    return said


def _swaps(page: Path, chosen: list[Block], folder: Path, setting: Setting) -> dict[str, str]:
    text = setting.before + "".join(block.text for block in chosen)
    for there in setting.swaps:
        assert there in text, f"{page.name}: {there!r} is no more in what is run"
    return {there: here.format(folder=folder) for there, here in setting.swaps.items()}


def _swapped(text: str, swaps: Mapping[str, str], ports: Mapping[str, str]) -> str:
    for there, here in swaps.items():
        text = text.replace(there, here)
    for there, here in ports.items():
        text = re.sub(rf"\b{there}\b", here, text)
    return text


async def _typed(script: str, folder: Path, told: Mapping[str, str]) -> str:
    """What a shell says to ``script``; all that it began is ended.

    Raises:
        AssertionError: it failed.
    """
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("TRISHULA_", "XDG_"))}
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin"
    environ |= {"HOME": str(folder), "PATH": programs, **told}
    said = folder / "said.log"
    with said.open("wb") as out:
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=folder,
            env=environ,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(LONGEST_S):
                code = await shell.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            await shell.wait()
    text = said.read_text()
    assert code == 0, f"exit code {code}, behind {_MARK}:\n{text}"
    return text
