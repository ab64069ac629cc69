"""What a broker must be able to do to be measured: a file each, with a Server and a Client.

A *topic* is what is published to; each *member* of it gets every message of its own. One sender and
one receiver are a topic with one member. The orchestrator starts servers; clients live in child
processes, with an interpreter that may have nothing but the broker's own client and msgspec, so
that clients' libraries are imported inside the methods.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias

import msgspec

Value: TypeAlias = dict[str, Any]
Take: TypeAlias = Callable[[Value], None]
"""Told each message once it has come; the client settles it after that."""

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/rabbitmq/bin"

encode: Final = msgspec.json.Encoder().encode
decode: Final = msgspec.json.Decoder().decode


class NotHere(Exception):
    """The broker, or its client, is not installed; says what is missing."""


def program(name: str) -> str:
    """Where a server's program is; Debian keeps daemons where not every user looks.

    Raises:
        NotHere: nowhere.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_PATH}")
    if found is None:
        raise NotHere(f"{name} is not installed")
    return found


def clean_environment() -> dict[str, str]:
    """The environment without what would tell hubs and agents where to go, and as whom."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TRISHULA_")}


class Server(ABC):
    """A broker's server with its data in ``folder``, on a free port of the loopback.

    Attributes:
        address: what clients are told.
        version: the server's.
    """

    address: str = ""
    version: str = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Start it, and return when it answers.

        Raises:
            NotHere: it is not installed.
        """

    def stop(self) -> None:
        """End it, with whatever it started."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(STOP_SECONDS)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process = None

    def run(self, *command: str, env: dict[str, str] | None = None, port: int) -> None:
        """Start a process group of its own, and return when something answers on ``port``.

        Raises:
            RuntimeError: it ended instead, or took too long; the text is what it logged.
        """
        log = self.folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env={**clean_environment(), **(env or {})},
                start_new_session=True,
            )
        give_up = time.monotonic() + START_SECONDS
        while not _answers(port):
            if self._process.poll() is not None or time.monotonic() > give_up:
                self.stop()
                raise RuntimeError(f"{command[0]} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.02)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def said(*command: str, env: dict[str, str] | None = None) -> str:
    """What a program prints, such as its version."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )
    return done.stdout.strip()


class Client(ABC):
    """One connection of a sender, or of a member.

    Attributes:
        DISTRIBUTIONS: what it needs from the package index, to tell the versions.
        CONFIRMS: whether ``publish`` returns only once the broker has said that it has it.
    """

    DISTRIBUTIONS: ClassVar[Sequence[str]] = ()
    CONFIRMS: ClassVar[bool] = True

    def __init__(self, address: str) -> None:
        self.address = address
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: dict[int, asyncio.Future[Value]] = {}

    @abstractmethod
    async def join(self, topic: str, member: str) -> None:
        """Connect; what is published to ``topic`` from now on is kept for ``member``.

        Empty is the name of the only one.
        """

    @abstractmethod
    async def consume(self, take: Take) -> None:
        """Take and settle what comes, until cancelled."""

    async def finish(self) -> None:
        """Return when everything that was taken is settled, as far as the broker tells."""
        await asyncio.sleep(0)

    @abstractmethod
    async def open(self, topic: str, fan_out: bool) -> None:
        """Connect, to publish to ``topic``; ``fan_out`` says that it has several members."""

    @abstractmethod
    async def publish(self, value: Value) -> None:
        """Publish to the topic; returns when the broker has confirmed it, if it does."""

    async def flush(self) -> None:
        """Return when everything that was published has reached the broker."""
        await asyncio.sleep(0)

    # --- request and reply: two topics, both legs as durable as any message ---

    async def serve(self, questions: str, answers: str) -> Coroutine[Any, Any, None]:
        """Answer every question with itself; ready when this returns, at work while awaited."""
        writer = type(self)(self.address)
        await self.join(questions, "")
        await writer.open(answers, fan_out=False)

        def take(value: Value) -> None:
            task = asyncio.ensure_future(writer.publish(value))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return self.consume(take)

    async def begin_calling(self, questions: str, answers: str) -> None:
        """Before the first :meth:`call`."""
        reader = type(self)(self.address)
        await reader.join(answers, "")
        await self.open(questions, fan_out=False)

        def take(value: Value) -> None:
            asked = self._asked.pop(value["n"], None)
            if asked is not None:
                asked.set_result(value)

        task = asyncio.ensure_future(reader.consume(take))
        self._tasks.add(task)

    async def call(self, value: Value) -> Value:
        """Ask, and wait for the answer."""
        asked: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._asked[value["n"]] = asked
        await self.publish(value)
        return await asked
