"""The Lua scripts: joined from the files in ``lua/``, known to Redis by their digest."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from typing import Final

_CONSTANTS: Final = re.compile(r"^local ([A-Z_, ]+) = ([0-9, ]+)  -- constants?$", re.MULTILINE)
_MAIL: Final = ("prelude", "space", "directory", "hints", "mail")
_SPACE: Final = (*_MAIL, "sessions", "nodes", "duties", "trail")


class Script:
    """A script of several files, in the order in which each needs what is before it.

    ``flags`` tell Redis when it may run: those without any not when memory is full, nor on a
    replica that may not be written to.
    """

    def __init__(self, *names: str, flags: str = "") -> None:
        folder = files("trishula_broker.store.redis") / "lua"
        parts = [(folder / f"{name}.lua").read_text(encoding="utf-8") for name in names]
        self.name = names[-1]
        self.text = f"#!lua flags={flags}\n" + _without_constants("\n".join(parts))
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __repr__(self) -> str:
        return f"<Script {self.name} {self.digest}>"


def _without_constants(text: str) -> str:
    """``text`` with its constants written out.

    Redis runs the whole text for each batch. Every function that uses a local of the text costs
    as many steps, when it is made, as there are such locals behind that one.
    """
    values: dict[str, str] = {}

    def take(found: re.Match[str]) -> str:
        names, numbers = (part.split(", ") for part in found.groups())
        values.update(zip(names, numbers, strict=True))
        return ""

    text = _CONSTANTS.sub(take, text)
    return re.sub(r"\b[A-Z_]+\b", lambda word: values.get(word[0], word[0]), text)


COMMIT: Final = Script(*_SPACE, "commit")
COMMIT_MAIL: Final = Script(*_MAIL, "commit")
"""The same for the operations of ``mail.lua`` alone, which most batches are: there is less to
make before it begins."""
TRIM: Final = Script(*_SPACE, "trim", flags="allow-oom")
"""It is what makes room again."""
ANSWER: Final = Script("answer", flags="no-writes")
