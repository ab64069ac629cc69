"""The Lua scripts: joined from the files in ``lua/``, known to Redis by their digest."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final

_SPACE: Final = ("prelude", "space", "directory", "hints", "mail", "sessions", "nodes", "duties")


class Script:
    """A script of several files, in the order in which each needs what is before it.

    ``flags`` tell Redis when it may run: those without any not when memory is full, nor on a
    replica that may not be written to.
    """

    def __init__(self, *names: str, flags: str = "") -> None:
        folder = files("trishula_broker.store.redis") / "lua"
        parts = [(folder / f"{name}.lua").read_text(encoding="utf-8") for name in names]
        self.name = names[-1]
        self.text = "\n".join([f"#!lua flags={flags}", *parts])
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __repr__(self) -> str:
        return f"<Script {self.name} {self.digest}>"


COMMIT: Final = Script(*_SPACE, "commit")
TRIM: Final = Script(*_SPACE, "trim", flags="allow-oom")
"""It is what makes room again."""
ANSWER: Final = Script("answer", flags="no-writes")
