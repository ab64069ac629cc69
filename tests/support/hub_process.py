"""A real hub in a process of its own, to be killed and started again by tests."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import Self

from tests.support.ports import free_port
from tests.support.reports import has_log

START_TIMEOUT_S = 240.0
"""Two busy cores have been seen to take over a minute; only a hub that hangs takes so long."""
READY = re.compile(r"serving wss?://(?P<host>.+):(?P<port>\d+)/ws ")


class HubProcess:
    """``broker serve`` with its data in ``data``; its log is beside that, in ``<data>.log``.

    Waits by reading the line that says the hub serves, never by sleeping.

    Args:
        data: the data directory.
        options: more of the command line, such as ``"--role", "failover"``.
        port: where to listen; 0 takes one that stays free while :meth:`restart` is at it.
        node: the hub's name.
        environ: variables for it; the test's own ``TRISHULA_*`` are not passed on.
        under: a command that runs the command line behind it, such as ``("nice",)``.
    """

    def __init__(
        self,
        data: Path,
        *options: str,
        port: int = 0,
        node: str = "hub",
        environ: dict[str, str] | None = None,
        under: tuple[str, ...] = (),
    ) -> None:
        self.data = data
        self.port = port or free_port()
        self.node = node
        self.log_path = data.with_name(data.name + ".log")
        self.ready_line = ""
        self.options = options
        self._environ = environ or {}
        self._under = under
        has_log(self.log_path, f"hub {node}")
        self._process: asyncio.subprocess.Process | None = None

    def __repr__(self) -> str:
        state = "stopped" if self._process is None else f"pid={self._process.pid}"
        return f"<HubProcess {self.node} {self.url} {state}>"

    @property
    def url(self) -> str:
        """Where agents connect."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def http_url(self) -> str:
        """Where ``/health`` is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process, which must have been started."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def running(self) -> bool:
        """Whether it was started and nobody has waited for its end."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has logged since the data directory was made."""
        return self.log_path.read_text()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Start it and wait until it serves.

        Raises:
            RuntimeError: it ended instead; the text is what it logged.
        """
        environ = {k: v for k, v in os.environ.items() if not k.startswith("TRISHULA_")}
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._under,
                *(sys.executable, "-m", "trishula_broker", "serve"),
                *("--port", str(self.port), "--data", str(self.data), "--node", self.node),
                *self.options,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=environ | self._environ,
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            self.ready_line = (await self._process.stdout.readline()).decode()
        found = READY.match(self.ready_line)
        if found is None:
            code = await self._process.wait()
            raise RuntimeError(f"the hub ended with {code}: {self.log}")
        self.port = int(found["port"])

    async def signal(self, number: int) -> None:
        """Send it a signal; SIGSTOP and SIGCONT freeze and thaw it."""
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        process = self.process
        code = await process.wait()
        # Read to the end, so that the pipe's transport is closed with the process.
        assert process.stdout is not None
        await process.stdout.read()
        self._process = None
        return code

    async def kill(self) -> None:
        """SIGKILL, if it runs. Workers of its own end by that, and it waits for them: they have its
        standard output too."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self.wait()

    async def terminate(self) -> int:
        """SIGTERM, which drains it; its exit code."""
        await self.signal(signal.SIGTERM)
        return await self.wait()

    async def restart(self) -> None:
        """Kill it and start it again on the same port, with the same data."""
        await self.kill()
        await self.start()
