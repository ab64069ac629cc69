"""A real Redis of the tests' own, on a Unix socket or a free port of the loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.support.ports import free_port
from tests.support.reports import has_log

START_SECONDS: Final = 240.0
_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin"


def redis_command(name: str = "redis-server") -> str:
    """Where the command is; Debian keeps daemons where not every user looks."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_PATH}")
    assert found is not None, f"{name} is missing: `make test` installs it"
    return found


class RedisServer:
    """A server process with its data in ``directory``; ``options`` are lines of its file."""

    def __init__(self, directory: Path, **options: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self.options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(directory),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": '""',
            "repl-diskless-sync-delay": "0",
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None
        has_log(directory / "log", f"Redis {self.port}")

    @property
    def url(self) -> str:
        """How to reach it."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    def start(self, *arguments: str) -> None:
        """Start it, and return when it answers."""
        config = self.directory / "redis.conf"
        if not config.exists():  # Sentinels and replicas write into theirs
            lines = (f"{name} {value}\n" for name, value in self.options.items())
            config.write_text("".join(lines))
        log = (self.directory / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [redis_command(), str(config), *arguments], stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.directory / "log").read_text()[-2_000:])
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            return self.ask("PING").startswith(("+PONG", "-NOAUTH"))
        except OSError:
            return False

    def ask(self, *words: str) -> str:
        """Send a command as it would be typed; the first piece of the answer, as it comes."""
        return self.send(*(word.encode() for word in words))

    def send(self, *words: bytes) -> str:
        """The same of words that need not be text."""
        with socket.create_connection(("127.0.0.1", self.port), START_SECONDS) as link:
            parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
            link.sendall(b"*%d\r\n%s" % (len(words), b"".join(parts)))
            return link.recv(65536).decode()

    def wait_for(self, text: str, *words: str) -> None:
        """Return when a command's answer has ``text`` in it."""
        deadline = time.monotonic() + START_SECONDS
        while text not in (answer := self.ask(*words)):
            if time.monotonic() > deadline:
                raise AssertionError(f"{words} never answered {text!r} but {answer}")
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        """Stop it (SIGSTOP), go on (SIGCONT), or anything else."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it with -9; it can be started again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
