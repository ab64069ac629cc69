"""The Lua scripts: joined from the files in ``lua/``, known to Redis by their digest.

What commits is a library of Redis: it runs once, and a batch costs no more than the function it
calls. Where Redis does not take it (its user may not load one), the same text goes as a script,
which Redis runs anew for each batch.
"""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from typing import Final

_CONSTANTS: Final = re.compile(r"^local ([A-Z_, ]+) = ([0-9, ]+)  -- constants?$", re.MULTILINE)
_MAIL: Final = ("prelude", "space", "directory", "run", "runs", "hints", "mail")
_SPACE: Final = (*_MAIL, "sessions", "nodes", "duties", "trail")


def _digest(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Library:
    """A library of one function: what the last of its files, ``names``, calls like itself."""

    def __init__(self, *names: str) -> None:
        body = _joined(names)
        digest = _digest(body)[:16]
        self.name = f"trishula_{digest}"
        """Another for each version: nodes of several share a Redis during an upgrade."""
        self.function = f"trishula_{names[-1]}_{digest}"
        register = f"redis.register_function('{self.function}', {names[-1]})"
        self.text = f"#!lua name={self.name}\n{body}\n{register}\n"

    def __repr__(self) -> str:
        return f"<Library {self.name}>"


class Script:
    """A script of several files, in the order in which each needs what is before it.

    ``flags`` tell Redis when it may run: those without any not when memory is full, nor on a
    replica that may not be written to. ``calls`` is what it does, where its files make functions
    alone.
    """

    def __init__(self, *names: str, flags: str = "", calls: str = "") -> None:
        self.name = names[-1]
        self.text = f"#!lua flags={flags}\n{_joined(names)}\n{calls}\n"
        self.digest = _digest(self.text)

    def __repr__(self) -> str:
        return f"<Script {self.name} {self.digest}>"


def _joined(names: tuple[str, ...]) -> str:
    folder = files("trishula_broker.store.redis") / "lua"
    parts = [(folder / f"{name}.lua").read_text(encoding="utf-8") for name in names]
    return _without_constants("\n".join(parts))


def _without_constants(text: str) -> str:
    """``text`` with its constants written out.

    A function of Lua may use sixty locals of the text, which has two hundred at most. As a script
    it is run for each batch, and every function that uses a local costs as many steps, when it is
    made, as there are such locals behind that one.
    """
    values: dict[str, str] = {}

    def take(found: re.Match[str]) -> str:
        names, numbers = (part.split(", ") for part in found.groups())
        values.update(zip(names, numbers, strict=True))
        return ""

    text = _CONSTANTS.sub(take, text)
    return re.sub(r"\b[A-Z_]+\b", lambda word: values.get(word[0], word[0]), text)


COMMIT_LIBRARY: Final = Library(*_SPACE, "commit")
COMMIT: Final = Script(*_SPACE, "commit", calls="return commit(KEYS, ARGV)")
"""The same where Redis takes no library."""
TRIM: Final = Script(*_SPACE, "trim", flags="allow-oom", calls="return trim(KEYS, ARGV)")
"""It is what makes room again, so it must not need to be loaded while there is none."""
ANSWER: Final = Script("run", "answer", flags="no-writes")
READ: Final = Script("read", flags="no-writes")
"""For backups alone."""
