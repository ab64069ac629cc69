"""Three agents and a hub, for a person to watch: ``make demo``.

Exit code 0 when every claim of its summary is true, 1 when one is not. It takes a free port and
a temporary directory, and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a file, from anywhere

from tests.demo.acts import QUIET, Play
from tests.demo.cast import ActorLost, Cast
from tests.demo.screen import SETTLE_S, Screen
from tests.support.hub_process import HubProcess

LONGEST_S: Final = 480.0
"""A demo that is not over by then never will be."""
EXIT_TERMINATED: Final = 128 + signal.SIGTERM
EXIT_UNWATCHED: Final = 128 + signal.SIGPIPE


async def show(screen: Screen, play: Play) -> int:
    """Perform it and sum it up; the exit code."""
    began = time.monotonic()
    await play.perform()
    screen.title("What the agents logged says")
    claims = play.claims()
    for claim in claims:
        screen.result(claim.kept, claim.text)
    screen.text("")
    for line in play.latencies():
        screen.text(f"       {line}")
    broken = sum(not claim.kept for claim in claims)
    seconds = time.monotonic() - began
    verdict = f"{broken} of them not true" if broken else "all of them true"
    screen.text(f"\n{len(claims)} claims, {verdict}; {seconds:.0f} s.")
    return 1 if broken else 0


async def stage(folder: Path) -> int:
    """Set up the hub, the agents and the screen; end every process whatever happens."""
    screen = Screen(sys.stdout, QUIET)
    flushing = asyncio.create_task(keep_flushing(screen))
    async with HubProcess(folder / "data") as hub:
        cast = Cast(folder, hub.url, screen.event)
        try:
            async with asyncio.timeout(LONGEST_S):
                return await show(screen, Play(hub, cast, screen))
        except ActorLost as error:
            screen.text(f"demo: {error}")
            return 1
        except TimeoutError:
            screen.text(f"demo: not over within {LONGEST_S:.0f} s")
            return 1
        finally:
            flushing.cancel()
            await asyncio.wait([flushing])
            await cast.end()


async def keep_flushing(screen: Screen) -> None:
    """Show events soon after they come."""
    while True:
        await asyncio.sleep(SETTLE_S)
        screen.flush(time.monotonic() - SETTLE_S)


async def main() -> int:
    """The demo's exit code."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="trishula-demo-") as folder:
        return await stage(Path(folder))


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except asyncio.CancelledError:
        sys.exit(EXIT_TERMINATED)
    except BrokenPipeError:  # nobody watches any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_UNWATCHED)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
