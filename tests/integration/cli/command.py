"""The ``broker`` command in a process of its own."""

import asyncio
import json
import os
import re
import signal
import sys
from typing import Any, NamedTuple, Self

TIMEOUT_S = 240.0
"""Generous: a test fails by it instead of hanging."""


class Done(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its one document."""
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        """Its documents, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def id(self) -> str:
        """The id that ``send`` printed."""
        found = re.fullmatch(r"accepted (\S+) from \S+\n", self.out)
        assert found is not None, self
        return found[1]


class Running:
    """A command that is still at it; killed at the latest when its context ends."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._said: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.end()

    async def line(self) -> str:
        """The next line of its standard output."""
        assert self.process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            return (await self.process.stdout.readline()).decode()

    async def said(self, text: str) -> str:
        """The next line on stderr that has ``text``."""
        assert self.process.stderr is not None
        async with asyncio.timeout(TIMEOUT_S):
            while line := (await self.process.stderr.readline()).decode():
                self._said.append(line)
                if text in line:
                    return line
        raise AssertionError(f"it ended without saying {text!r}: {self._said}")

    async def end(self) -> Done:
        """Wait for it; what had not been read of it before."""
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Done(self.process.returncode, (out or b"").decode(), err.decode())

    async def interrupt(self) -> Done:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return await self.end()


class Broker:
    """Starts ``broker`` for one hub."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def start(
        self,
        *args: str,
        env: dict[str, str] | None = None,
        stdin: int = asyncio.subprocess.DEVNULL,
        stdout: int = asyncio.subprocess.PIPE,
    ) -> Running:
        """Start it; stderr is always a pipe."""
        # The size of a terminal is what the terminal says, not the one the tests run in.
        ours = ("TRISHULA_", "COLUMNS", "LINES")
        environ = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        environ["TRISHULA_URL"] = self.url
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "trishula_broker", *args),
            stdin=stdin,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
            env=environ | (env or {}),
        )
        return Running(process)

    async def __call__(
        self, *args: str, given: bytes | None = None, env: dict[str, str] | None = None
    ) -> Done:
        """Run it to its end; ``given`` is its standard input."""
        stdin = asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE
        async with await self.start(*args, env=env, stdin=stdin) as running:
            async with asyncio.timeout(TIMEOUT_S):
                out, err = await running.process.communicate(given)
            assert running.process.returncode is not None
            return Done(running.process.returncode, out.decode(), err.decode())
