"""deploy/Dockerfile, as far as it can be known without an engine: its instructions, and the files
that it is given."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
IGNORED: Final = ROOT / "deploy" / "Dockerfile.dockerignore"


class Instruction(NamedTuple):
    """One of them, its lines joined."""

    word: str
    rest: str

    @property
    def form(self) -> list[str]:
        """What a CMD, an ENTRYPOINT or a HEALTHCHECK runs, without a shell."""
        found: list[str] = json.loads(self.rest[self.rest.index("[") :])
        return found


def instructions() -> list[Instruction]:
    """All of them, in order."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in lines if line.strip()]


def environment() -> dict[str, str]:
    """What the last stage sets."""
    found: dict[str, str] = {}
    for each in instructions():
        if each.word == "FROM":
            found = {}
        elif each.word == "ENV":
            found |= dict(pair.split("=", 1) for pair in shlex.split(each.rest))
    return found


def context(folder: Path) -> Path:
    """What `COPY . .` copies of this checkout, in ``folder``: what git has (or would take), of that
    which the ignore file lets through."""
    lines = IGNORED.read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert (rules[0], rules[-1]) == ("*", "**/__pycache__")
    let_through = [Path(rule.removeprefix("!")) for rule in rules[1:-1]]
    assert all((ROOT / path).exists() for path in let_through), let_through
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, files.split("\0")):
        path = Path(name)
        if (ROOT / path).exists() and any(path.is_relative_to(each) for each in let_through):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, folder / path)
    return folder
