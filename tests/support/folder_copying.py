"""Two directories that real ``rsync`` keeps alike, badly: late, in any order, twice, by halves."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from random import Random
from typing import Final

RSYNC: Final = shutil.which("rsync")
GONE: Final = frozenset({0, 23, 24})
"""Exit codes of rsync that say no more than that files went away meanwhile."""


class Copying:
    """Copies files between two folders, both ways, until closed.

    Args:
        seconds: between two rounds, about.
    """

    def __init__(self, one: Path, other: Path, rng: Random, seconds: float) -> None:
        assert RSYNC is not None, "rsync is not installed; `make test` does it"
        self._rng = rng
        self._seconds = seconds
        self._ways = ((one, other), (other, one))
        self._tasks: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()
        self.rounds = 0
        self.copies = 0
        """Conflict copies made."""

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._copy(*way)) for way in self._ways]

    async def close(self) -> None:
        """End after the rounds that have begun, and say what went wrong if anything did."""
        self._over.set()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _copy(self, source: Path, target: Path) -> None:
        while True:
            # A round a second or so; the pace of a copying tool is what is tested here.
            pause = self._seconds * self._rng.uniform(0.2, 1.8)
            try:
                await asyncio.wait_for(self._over.wait(), pause)
                return
            except TimeoutError:
                await self._round(source, target)
            if self._rng.random() < 0.5:
                await asyncio.to_thread(self._conflict, target)

    async def _round(self, source: Path, target: Path) -> None:
        names = await asyncio.to_thread(_files, source)
        # What is left out comes in another round: late, and behind what was written after it.
        names = [name for name in names if self._rng.random() < 0.7]
        self._rng.shuffle(names)
        options = self._rng.choice([[], ["--inplace", "--whole-file"], ["--delay-updates"]])
        process = await asyncio.create_subprocess_exec(
            *(str(RSYNC), "--times", "--files-from=-", *options, f"{source}/", f"{target}/"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate("\n".join(names).encode())
        assert process.returncode in GONE, said.decode()
        self.rounds += 1

    def _conflict(self, folder: Path) -> None:
        """What Syncthing makes of a file that it believes to be two."""
        names = [name for name in _files(folder) if "/inbox/" in name and "conflict" not in name]
        if not names:
            return
        found = folder / self._rng.choice(names)
        number = self._rng.randrange(10**6)
        copy = found.with_name(f"{found.stem}.sync-conflict-20260210-{number:06}-ABCDEFG.msg")
        try:
            shutil.copyfile(found, copy)
            self.copies += 1
        except FileNotFoundError:
            pass  # read meanwhile


def _files(folder: Path) -> list[str]:
    """What copying tools carry, relative to the folder."""
    found: list[str] = []
    for box in ("inbox", "done", "rejected"):
        for place in sorted(folder.glob(f"agents/*/{box}")):
            found += [
                str(path.relative_to(folder)) for path in place.iterdir() if path.name[0] != "."
            ]
    return found
