"""The property tests with many more examples, for a time: round after round, new examples in each.

A round takes the files in an order of its own, so that the last one, which is cut off, leaves out
others than the one before. What is being tried when the time is up counts for nothing.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

END_S: Final = 60
"""What a file that is cut off has to put away what it started."""


def run(seconds: int) -> int:
    """Go on for so long; 0 when nothing was found."""
    if not seconds:
        return 0
    end = time.monotonic() + seconds
    files = property_tests(Path("tests"))
    tried = 0
    while True:
        random.shuffle(files)
        for file in files:
            left = end - time.monotonic()
            found = _try(file, random.randrange(1 << 30), left) if left > 0 else None
            if found is None:
                print(f"property tests: {tried / len(files):.1f} rounds of {len(files)} files")
                return 0
            code, out = found
            if code:
                print(f"property tests failed in {file}:\n{out}", flush=True)
                return 1
            tried += 1


def property_tests(folder: Path) -> list[Path]:
    """The files that have some."""
    files = folder.rglob("test_*.py")
    return [path for path in sorted(files) if "from hypothesis import" in path.read_text()]


def _try(file: Path, seed: int, seconds: float) -> tuple[int, str] | None:
    """Pytest's exit code and what it said of a file; None when the time was up first."""
    options = ["-q", "-x", "-m", "hypothesis and not campaign", "--timeout=3600"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, f"--hypothesis-seed={seed}", str(file)],
        env=os.environ | {"HYPOTHESIS_PROFILE": "fuzz"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        return None
    nothing = 5  # pytest's exit code for a file whose property tests are all campaigns
    return (0 if process.returncode == nothing else process.returncode), out
