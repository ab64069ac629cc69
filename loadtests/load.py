"""Locust's users against a hub of their own; the exit code says whether the marks were reached.

    python -m loadtests.load [ANYTHING FOR LOCUST ...]

The hub has a SQLite store in a temporary directory, and ends with the test. What can be set is in
``loadtests/locustfile.py``.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.hub_process import HubProcess

ROOT = Path(__file__).parents[1]


async def load(options: Sequence[str]) -> int:
    """Run it; Locust's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        async with HubProcess(Path(folder) / "data") as hub:
            locust = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py"),
                *("--headless", "--only-summary", "--host", hub.url, *options),
                cwd=ROOT,
            )
            try:
                return await locust.wait()
            finally:
                if locust.returncode is None:
                    locust.terminate()
                    await locust.wait()


if __name__ == "__main__":
    try:
        raise SystemExit(asyncio.run(load(sys.argv[1:])))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
