"""nginx's configuration, taken apart: directives, blocks, and what holds where.

Knows the syntax and how values are inherited, not what they should be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

DEPTH: Final = 10
"""Files that include one another at most."""
_TOKEN: Final = re.compile(
    r"""\s+|\#[^\n]*|(?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<mark>[{};])"""
    r"""|(?P<word>(?:\\.|\$\{[^}]*\}|[^\s{};"'\\])(?:\\.|\$\{[^}]*\}|[^\s{};\\])*)""",
    re.DOTALL,
)


class NginxError(Exception):
    """A file that cannot be read as nginx would; the text names it and the line."""


class Directive:
    """One, with its block if it has one.

    Attributes:
        name: such as ``proxy_pass``.
        args: its words, without quotes.
        where: file and line.
        block: what is inside; empty for a simple one.
        above: the block that it is in; None at the top.
    """

    def __init__(self, words: Sequence[str], where: str, above: Directive | None) -> None:
        self.name = words[0] if words else ""
        self.args = tuple(words[1:])
        self.where = where
        self.above = above
        self.block: list[Directive] = []

    def __repr__(self) -> str:
        return f"<Directive {self.name} {' '.join(self.args)} {self.where}>"

    def all(self, name: str) -> Iterator[Directive]:
        """Those of that name, in here at any depth."""
        for each in self.block:
            if each.name == name:
                yield each
            yield from each.all(name)

    def own(self, name: str) -> list[Directive]:
        """Those of that name that stand right in this block."""
        return [each for each in self.block if each.name == name]

    def inherited(self, name: str) -> list[Directive]:
        """Those that hold here: of the nearest block that has any, as nginx does it."""
        block: Directive | None = self
        while block is not None:
            if found := block.own(name):
                return found
            block = block.above
        return []

    def value(self, name: str) -> str | None:
        """The first word of what holds here; None when nothing is said."""
        found = self.inherited(name)
        return found[-1].args[0] if found and found[-1].args else None


def read(path: Path) -> Directive:
    """All that a file says, with the files it includes.

    Raises:
        NginxError: it cannot be read.
    """
    top = Directive((), str(path), None)
    _read(path, top, path.parent, 0)
    return top


def _read(path: Path, into: Directive, root: Path, depth: int) -> None:
    if depth > DEPTH:
        raise NginxError(f"{path}: files include one another")
    try:
        text = path.read_text("utf-8", "replace")
    except OSError as error:
        raise NginxError(f"{path}: {error.strerror}") from None
    block, begun = into, 0
    words: list[str] = []
    for word, mark, line in _tokens(text, path):
        if mark == ";":
            if not words:
                raise NginxError(f"{path}:{line}: a ; without a directive")
            found = Directive(words, f"{path.name}:{begun}", block)
            if found.name == "include" and found.args:
                for each in _included(found.args[0], root):
                    _read(each, block, root, depth + 1)
            else:
                block.block.append(found)
            words = []
        elif mark == "{":
            inner = Directive(words, f"{path.name}:{begun}", block)
            block.block.append(inner)
            block, words = inner, []
        elif mark == "}":
            if words or block is into or block.above is None:
                raise NginxError(f"{path}:{line}: a }} where none belongs")
            block = block.above
        else:
            begun = begun if words else line
            words.append(word)
    if words or block is not into:
        raise NginxError(f"{path}: it ends before what it says is complete")


def _tokens(text: str, path: Path) -> Iterator[tuple[str, str, int]]:
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise NginxError(f"{path}:{line}: a quote that does not end")
        if found["mark"]:
            yield "", found["mark"], line
        elif found["quoted"]:
            yield re.sub(r"\\(.)", r"\1", found["quoted"][1:-1]), "", line
        elif found["word"]:
            yield found["word"], "", line
        line += found[0].count("\n")
        at = found.end()


def _included(pattern: str, root: Path) -> list[Path]:
    path = Path(pattern)
    base = Path(path.anchor) if path.is_absolute() else root
    relative = str(path.relative_to(path.anchor)) if path.is_absolute() else pattern
    if not re.search(r"[*?\[]", relative):
        return [base / relative]
    return sorted(base.glob(relative))


def seconds(text: str) -> float | None:
    """A time as nginx has it: ``150s``, ``2m``, ``1h30m``, ``500ms``; None if it is none."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
    parts = re.findall(r"(\d+)(ms|s|m|h|d|)", text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        return None
    return sum(int(number) * units[unit] for number, unit in parts)


def size(text: str) -> int | None:
    """Bytes as nginx has them: ``1m``, ``512k``; None if it is none."""
    found = re.fullmatch(r"(\d+)([kKmMgG]?)", text)
    if found is None:
        return None
    return int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[found[2].lower()]
