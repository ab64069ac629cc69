"""``broker drain``: have a hub of this host finish, let its agents go, and end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from trishula_broker.cli.durations import timeout_option
from trishula_broker.cli.exits import EPILOG, ExitCode, Failure, exits
from trishula_broker.cli.options import load_config
from trishula_broker.cli.output import Output, as_json_option
from trishula_broker.cli.session import note
from trishula_protocol.limits import DEFAULT_PORT

if TYPE_CHECKING:
    from trishula_broker.net.neighbour import Neighbour

ANSWER_SECONDS: Final = 10.0
"""How long the hub may take to say who it is; its store may be away."""
LOOK_SECONDS: Final = 0.05
"""Between two looks at whether it has ended."""
PROGRAMS: Final = frozenset({"broker", "trishula_broker"})
"""What is to be found in the command line of a hub, along with ``serve``."""


@click.command("drain", epilog=EPILOG)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    envvar="TRISHULA_PORT",
    show_envvar=True,
    help="The port of the hub; 8765 by default.",
)
@click.option(
    "--host",
    envvar="TRISHULA_HOST",
    show_envvar=True,
    help="The address it listens on, one of this host's; 127.0.0.1 by default.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file that the hub was started with: its port and address are taken from there.",
)
@timeout_option("How long to wait for its end; it drains for as long as its drain_s says.", 60.0)
@as_json_option
def command(
    port: int | None, host: str | None, config: Path | None, timeout: float, as_json: bool
) -> None:
    """Have a hub of this host finish what it took, let its agents go to the next hub, and end.

    It is what SIGTERM does, for whoever knows the port and not the process, and it waits for the
    end. For upgrades: drain a hub, start the new version, then do the other.

    \b
    Examples:
      broker drain
      broker drain --config /etc/trishula/broker.toml
      broker drain --port 9000 && broker serve --port 9000 --redis redis://db:6379/0
    """
    with exits():
        if config is not None:
            told = load_config(config, port=port, host=host).config
            port, host = told.port, told.host
        port, host = DEFAULT_PORT if port is None else port, host or "127.0.0.1"
        if port == 0:
            raise Failure(ExitCode.USAGE, "port 0 is any free one: name the hub's --port")
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        found = _found(host, port, where)
        if found.alone:
            note(f"note: {found.node} knows of no other hub: its agents wait until one is there")
        began = time.monotonic()
        _signal(found, where)
        _wait(found, began + timeout, timeout)
        out, took = Output(as_json), time.monotonic() - began
        if as_json:
            out.document({"node": found.node, "pid": found.pid, "agents": found.agents})
        else:
            said = f"{found.node} (pid {found.pid}) has ended after {took:.1f} s"
            out.lines(f"{said}; it had {found.agents} agent{'s' * (found.agents != 1)}")


def _found(host: str, port: int, where: str) -> Neighbour:
    from trishula_broker.net.neighbour import neighbour

    try:
        found = asyncio.run(neighbour(host, port, ANSWER_SECONDS))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "no answer"
        raise Failure(
            ExitCode.NO_HUB, f"no hub at {where}: {why}; name its --port and --host"
        ) from None
    if found is None:
        raise Failure(ExitCode.NO_HUB, f"{where} is another program, not a hub; name its --port")
    return found


def _signal(hub: Neighbour, where: str) -> None:
    if not _is_hub(hub.pid):
        raise Failure(
            ExitCode.REFUSED,
            f"{hub.node} at {where} says it is process {hub.pid}, which is no hub on this host: it "
            "runs on another one, or in a container; drain it there",
        )
    try:
        os.kill(hub.pid, signal.SIGTERM)
    except PermissionError:
        raise Failure(
            ExitCode.REFUSED,
            f"{hub.node} (pid {hub.pid}) is another user's; drain it as that user, or as root",
        ) from None
    except ProcessLookupError:
        pass  # it has just ended


def _wait(hub: Neighbour, deadline: float, timeout: float) -> None:
    while _is_hub(hub.pid):
        if time.monotonic() > deadline:
            raise Failure(
                ExitCode.TIMED_OUT,
                f"{hub.node} (pid {hub.pid}) still drains after {timeout:g} s; a second SIGTERM "
                "cuts off who is left",
            )
        time.sleep(LOOK_SECONDS)


def _is_hub(pid: int) -> bool:
    """Whether that process is here, and a hub: a number alone may be anybody's."""
    words = _command_line(pid)
    names = {Path(word).name for word in words}
    return "serve" in names and bool(names & PROGRAMS)


def _command_line(pid: int) -> list[str]:
    """Empty for a process that is not there, or has ended and was not waited for."""
    if Path("/proc/self/cmdline").exists():
        try:
            return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
        except OSError:
            return []
    ps = ("ps", "-ww", "-o", "args=", "-p", str(pid))
    return subprocess.run(ps, capture_output=True, text=True, check=False).stdout.split()
