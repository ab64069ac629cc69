"""A headless Chromium, the system's own, with the switches that keep it to this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SWITCHES = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


def chromium() -> str:
    """Its program.

    Raises:
        RuntimeError: there is none.
    """
    for name in NAMES:
        found = shutil.which(name)
        if found is not None:
            return found
    raise RuntimeError("no Chromium on the PATH; `make test` installs it")


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """One, ended with the context."""
    switches = list(SWITCHES)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        switches.append("--no-sandbox")  # its sandbox does not work for root
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=chromium(), args=switches)
        try:
            yield running
        finally:
            await running.close()


class Watched:
    """A page, and whatever it complained about.

    Attributes:
        complaints: errors of its console, exceptions, and requests that were blocked.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))

    def _said(self, message: Any) -> None:
        # A hub that was killed on purpose is reported by the browser itself, not by the page.
        if message.type == "error" and "ERR_" not in message.text:
            self.complaints.append(message.text)
